-- $1 relations, $2 the last transaction that wrote to blue (0: none), $3 who asks: query texts of other
-- roles, and whether they are idle, are shown as pg_stat_activity shows them.
WITH sessions AS (
    SELECT a.*, pg_catalog.pg_has_role($3, a.usesysid, 'USAGE')
           OR pg_catalog.pg_has_role($3, 'pg_read_all_stats', 'USAGE') AS is_shown
      FROM pg_catalog.pg_stat_activity a
)
SELECT * FROM (
    SELECT a.pid::int4 AS pid, a.usename::text AS "user", a.application_name AS application,
           'holds ' || pg_catalog.string_agg(pg_catalog.format('%s on %s', l.mode, l.relation::regclass), ', '
               ORDER BY l.relation::regclass::text, l.mode)
               || CASE WHEN a.is_shown AND a.state LIKE 'idle%' THEN '; ' || a.state ELSE '' END AS what,
           CASE WHEN a.is_shown THEN a.query ELSE '<insufficient privilege>' END AS query, extract(epoch FROM a.xact_start)::float8 AS since
      FROM pg_catalog.pg_locks l
      JOIN sessions a ON a.pid = l.pid
     WHERE l.locktype = 'relation' AND l.granted
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                          WHERE d.datname = pg_catalog.current_database())
       AND l.relation::int8 = ANY ($1) AND l.pid <> pg_catalog.pg_backend_pid()
     GROUP BY a.pid, a.usename, a.usesysid, a.application_name, a.query, a.xact_start, a.state,
           a.is_shown
    UNION ALL
    SELECT a.pid, a.usename::text, a.application_name,
           'holds a snapshot older than the last large sync'
               || CASE WHEN a.is_shown AND a.state LIKE 'idle%' THEN '; ' || a.state ELSE '' END,
           CASE WHEN a.is_shown THEN a.query ELSE '<insufficient privilege>' END, extract(epoch FROM a.xact_start)::float8
      FROM sessions a
     WHERE $2::int8 > 0 AND a.backend_xmin IS NOT NULL
       AND a.datname = pg_catalog.current_database()
       AND pg_catalog.age(a.backend_xmin) >= pg_catalog.age(($2::int8 % 4294967296)::text::xid)
       AND a.backend_type <> 'autovacuum worker'
       AND a.pid <> pg_catalog.pg_backend_pid()
       -- Other swaps, which have announced that their snapshots read nothing (pg/snapshot.rs).
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks w
                        WHERE w.pid = a.pid AND w.locktype = 'object' AND w.objid = 0 AND w.objsubid = 1
                          AND w.granted AND w.classid = 'bluegreen.deployment'::pg_catalog.regclass)
    UNION ALL
    SELECT NULL, p.owner::text, NULL,
           pg_catalog.format('prepared transaction %L holds ', p.gid)
               || pg_catalog.string_agg(pg_catalog.format('%s on %s', l.mode, l.relation::regclass), ', '
                      ORDER BY l.relation::regclass::text, l.mode),
           NULL, extract(epoch FROM p.prepared)::float8
      FROM pg_catalog.pg_prepared_xacts p
      JOIN pg_catalog.pg_locks t ON t.locktype = 'transactionid' AND t.transactionid = p.transaction
       AND t.pid IS NULL
      JOIN pg_catalog.pg_locks l ON l.virtualtransaction = t.virtualtransaction AND l.pid IS NULL
     WHERE l.locktype = 'relation' AND l.relation::int8 = ANY ($1)
       AND p.database = pg_catalog.current_database()
     GROUP BY p.gid, p.owner, p.prepared
  ) b
 ORDER BY b.since NULLS LAST

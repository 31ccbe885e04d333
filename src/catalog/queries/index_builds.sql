-- How far each build of an index of the table is, by what the server reports: a B-tree has read and sorted the
-- rows by half of the time, others do all of it while they read. In the order
-- in which they were begun, each in a transaction of its own.
SELECT pg_catalog.array_agg((CASE
           WHEN p.phase LIKE 'building index: loading%' THEN
               0.55 + 0.45 * coalesce(p.tuples_done::float8 / nullif(p.tuples_total, 0), 0)
           WHEN p.phase LIKE 'building index: sort%' THEN 0.5
           WHEN p.phase = 'building index: scanning table' THEN
               0.5 * coalesce(p.blocks_done::float8 / nullif(p.blocks_total, 0), 0)
           WHEN p.phase LIKE 'building index%' THEN
               0.9 * coalesce(p.blocks_done::float8 / nullif(p.blocks_total, 0), 0)
           ELSE 0 END)::float8 ORDER BY a.xact_start, p.pid)
  FROM pg_catalog.pg_stat_progress_create_index p
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid
 WHERE p.relid = $1 AND p.datid = (SELECT d.oid FROM pg_catalog.pg_database d
                                    WHERE d.datname = pg_catalog.current_database())

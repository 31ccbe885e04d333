-- $1 relation, $2 its views. Their rules.
SELECT r.oid::int8 AS oid, r.rulename::text AS name, r.ev_class::int8 AS parent,
       pg_catalog.format('%I of %s', r.rulename, r.ev_class::regclass) AS title,
       r.ev_enabled::text AS enabled
  FROM pg_catalog.pg_rewrite r
 WHERE (r.ev_class = $1 OR r.ev_class = ANY ($2::oid[])) AND r.rulename <> '_RETURN'
 ORDER BY title

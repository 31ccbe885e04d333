-- $1 relation. Constraints on it and to it that cannot be carried over: of PostgreSQL 18 WITHOUT OVERLAPS and PERIOD,
-- and NOT NULL … NOT VALID.
SELECT CASE WHEN k.contype = 'n' THEN 'NOT NULL that is not valid'
            WHEN k.contype = 'f' THEN 'foreign key with PERIOD' ELSE 'key WITHOUT OVERLAPS' END AS kind,
       pg_catalog.format('%I of %s', k.conname, k.conrelid::regclass) AS name
  FROM pg_catalog.pg_constraint k
 WHERE (k.conrelid = $1 OR k.confrelid = $1)
   AND ((pg_catalog.to_jsonb(k) ->> 'conperiod')::boolean OR k.contype = 'n' AND NOT k.convalidated)
 ORDER BY 1, 2

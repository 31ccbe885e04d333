-- $1 table. Its indexes and its extended statistics, in the order in which they were made.
SELECT coalesce((SELECT pg_catalog.array_agg(c.relname::text ORDER BY i.indexrelid)
                   FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                  WHERE i.indrelid = $1), '{}') AS indexes,
       coalesce((SELECT pg_catalog.array_agg(s.stxname::text ORDER BY s.oid)
                   FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = $1), '{}') AS statistics

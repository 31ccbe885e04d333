-- $1 relations. The partitions of those that are partitioned, at every level. Read from pg_inherits, because
-- pg_partition_tree() would lock each of them.
WITH RECURSIVE tree (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1::oid[]) AND c.relkind = 'p'
    UNION
    SELECT h.inhrelid FROM tree t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid)
SELECT t.oid::int8 AS oid FROM tree t WHERE t.oid <> ALL ($1::oid[]) ORDER BY t.oid

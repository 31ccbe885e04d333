-- $1 relation. The generated columns of its replica identity, and whether the server refuses updates and deletions of
-- rows where that is not published: since 18, and then also those of FULL, where before nothing needs them.
SELECT a.attname::text AS name, a.attgenerated = 's' AS is_stored, v.is_refused
  FROM pg_catalog.pg_class c
 CROSS JOIN (SELECT pg_catalog.current_setting('server_version_num')::int4 >= 180000 AS is_refused) v
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped
 WHERE c.oid = $1
   AND (c.relreplident = 'f' AND v.is_refused OR EXISTS (
       SELECT FROM pg_catalog.pg_index i
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
          AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
          AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])))
 ORDER BY a.attnum

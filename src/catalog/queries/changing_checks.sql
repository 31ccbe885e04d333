-- $1 table: its validated CHECK constraints whose result may change without a change of the row, and what they call:
-- functions that are volatile, or stable and not the server's own, or that return the present time; and
-- CURRENT_TIMESTAMP, CURRENT_USER and the like, which are nodes of their own.
SELECT c.conname::text AS name, pg_catalog.string_agg(DISTINCT u.what, ', ' ORDER BY u.what) AS calls
  FROM pg_catalog.pg_constraint c
 CROSS JOIN LATERAL (
        SELECT p.oid::pg_catalog.regprocedure::text AS what
          FROM pg_catalog.regexp_matches(c.conbin::text, ':(?:func|opfunc)id ([0-9]+)', 'g') m
          JOIN pg_catalog.pg_proc p ON p.oid = m[1]::pg_catalog.oid
         WHERE p.provolatile = 'v'
            OR (p.provolatile = 's' AND (p.pronamespace <> 'pg_catalog'::pg_catalog.regnamespace
                OR p.proname IN ('now', 'statement_timestamp', 'transaction_timestamp')))
        UNION ALL
        SELECT 'the present time or user' WHERE c.conbin::text LIKE '%{SQLVALUEFUNCTION %') u
 WHERE c.conrelid = $1 AND c.contype = 'c' AND c.convalidated
 GROUP BY c.conname
 ORDER BY c.conname

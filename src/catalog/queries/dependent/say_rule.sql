-- $1 rule. What gives it its actions again; names as search_path shows them.
SELECT 'CREATE OR REPLACE' || pg_catalog.substr(d.definition, pg_catalog.length('CREATE') + 1) AS statement
  FROM (SELECT pg_catalog.pg_get_ruledef(r.oid, true) AS definition
          FROM pg_catalog.pg_rewrite r WHERE r.oid = $1) d
 WHERE pg_catalog.starts_with(d.definition, 'CREATE RULE ')

-- $1 relation. Indexes by which a row can be followed: unique, valid, whole, plain NOT NULL columns.
SELECT ic.relname::text AS index, i.indisprimary AS "primary", NOT i.indimmediate AS deferrable,
       (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
                   'attnum', a.attnum::int4, 'name', a.attname,
                   'operator', o.oid::int8, 'operator_class', c.oid::int8, 'collation', k.coll::int8,
                   'equals', pg_catalog.format('OPERATOR(%I.%s)', onn.nspname, o.oprname),
                   'not_null', a.attnotnull) ORDER BY k.ord)
          FROM ROWS FROM (pg_catalog.unnest(i.indkey::int2[]),
                          pg_catalog.unnest(i.indclass::oid[]),
                          pg_catalog.unnest(i.indcollation::oid[])) WITH ORDINALITY
               AS k(attnum, opclass, coll, ord)
          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
          JOIN pg_catalog.pg_opclass c ON c.oid = k.opclass
          JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
               AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
          JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
          JOIN pg_catalog.pg_namespace onn ON onn.oid = o.oprnamespace
         WHERE k.ord <= i.indnkeyatts) AS columns
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
  JOIN pg_catalog.pg_am am ON am.oid = ic.relam
 WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
   AND i.indexprs IS NULL AND am.amname = 'btree'
 ORDER BY i.indisprimary DESC, i.indimmediate DESC, i.indnkeyatts, ic.relname

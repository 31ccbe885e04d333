-- $1 the class of a lock, $2 its number: who has it, sessions and prepared transactions.
SELECT pg_catalog.string_agg(
           coalesce('pid ' || l.pid, pg_catalog.format('prepared transaction %L', p.gid)), ', ' ORDER BY l.pid)
  FROM pg_catalog.pg_locks l
  LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid'
       AND t.virtualtransaction = l.virtualtransaction
  LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid
 WHERE l.locktype = 'object' AND l.classid = $1 AND l.objid = $2::int8::oid AND l.objsubid = 0 AND l.granted
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                      WHERE d.datname = pg_catalog.current_database())

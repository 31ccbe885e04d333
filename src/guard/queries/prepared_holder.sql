-- $1 bluegreen.deployment, $2 the deployment: the prepared transaction that has its lock.
SELECT p.gid
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_locks t ON t.pid IS NULL AND t.locktype = 'transactionid'
       AND t.virtualtransaction = l.virtualtransaction
  JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid
 WHERE l.pid IS NULL AND l.locktype = 'object' AND l.classid = $1 AND l.objid = $2::int8::oid
   AND l.objsubid = 0 AND l.granted
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                      WHERE d.datname = pg_catalog.current_database())
 LIMIT 1

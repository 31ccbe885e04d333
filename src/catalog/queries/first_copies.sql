-- $1 the live table, $2 our transaction. Walsenders that copy tables as they were when a slot was made,
-- or are making the slot, if the table is published. Who waits for us will see what we did.
SELECT pg_catalog.string_agg(w.pid::text, ', ')
  FROM pg_catalog.pg_stat_get_wal_senders() w
 WHERE w.state = 'startup'
   AND EXISTS (
       SELECT FROM pg_catalog.pg_stat_get_activity(w.pid) a
        WHERE a.datid = (SELECT d.oid FROM pg_catalog.pg_database d
                          WHERE d.datname = pg_catalog.current_database())
          AND (a.backend_xmin IS NOT NULL OR EXISTS (
              SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = w.pid)))
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_locks l
        WHERE l.pid = w.pid AND NOT l.granted AND l.locktype = 'transactionid'
          AND l.transactionid = ($2::int8 % 4294967296)::text::xid)
   AND (EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prrelid = $1) OR EXISTS (
       SELECT FROM pg_catalog.pg_publication_namespace n
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.pnnspid WHERE c.oid = $1))

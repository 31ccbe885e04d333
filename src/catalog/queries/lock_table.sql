-- How many locks the server has room for at least, and how many others hold by now.
SELECT pg_catalog.current_setting('max_locks_per_transaction')::bigint
       * (pg_catalog.current_setting('max_connections')::bigint
          + pg_catalog.current_setting('max_prepared_transactions')::bigint) AS room,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l
         WHERE l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()) AS held

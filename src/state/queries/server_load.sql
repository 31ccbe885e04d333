-- What the server has to bear at this moment, for the throttle.
-- $1: names of the standbys that count; empty counts all.
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::bigint AS position,
       (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                   'name', r.application_name,
                   'replayed', pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0')::bigint,
                   'lag', extract(epoch FROM r.replay_lag))), '[]')
          FROM pg_catalog.pg_stat_replication r
         -- Those that only receive (pg_receivewal, a backup) replay nothing.
         WHERE r.replay_lsn IS NOT NULL
           AND (pg_catalog.cardinality($1) = 0 OR r.application_name = ANY ($1))) AS replicas,
       (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
                   'name', s.slot_name,
                   'behind', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint)), '[]')
          FROM pg_catalog.pg_replication_slots s
         WHERE s.restart_lsn IS NOT NULL AND NOT s.temporary) AS slots,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a
         WHERE a.state = 'active' AND a.backend_type = 'client backend'
           AND a.pid <> pg_catalog.pg_backend_pid()
           AND NOT EXISTS (SELECT FROM bluegreen.deployment d
                            WHERE d.progress->'runner'->>0 = a.pid::text)) AS active

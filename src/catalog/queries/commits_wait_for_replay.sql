-- $1 position. Whether a commit waits until standbys have replayed it, and one has not come to the position.
SELECT pg_catalog.current_setting('synchronous_commit') = 'remote_apply'
   AND EXISTS (SELECT FROM pg_catalog.pg_stat_replication r
                WHERE r.sync_state IN ('sync', 'quorum')
                  AND (r.replay_lsn IS NULL OR r.replay_lsn < $1::pg_catalog.pg_lsn))

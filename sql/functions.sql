-- The calls. Written by hand, so that names, defaults and comments are as the documentation says.
-- A function whose result or arguments become others gets another C function: a session that has loaded
-- the library of another version then has an error, and does not crash. See docs/release.md.

CREATE FUNCTION bg_check(
    source regclass, changes text DEFAULT '', target regclass DEFAULT NULL,
    forward jsonb DEFAULT '{}', reverse jsonb DEFAULT '{}', key text[] DEFAULT NULL)
RETURNS TABLE (severity text, code text, object text, message text, hint text)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_check_wrapper';
COMMENT ON FUNCTION bg_check IS
'Preflight: every reason why bg_prepare with the same arguments would refuse, lose something on revert, or surprise a client. Changes nothing. Errors: 42501 not the owner. Locks: ACCESS SHARE.';

CREATE FUNCTION bg_prepare(
    source regclass, changes text DEFAULT '', target regclass DEFAULT NULL,
    forward jsonb DEFAULT '{}', reverse jsonb DEFAULT '{}', key text[] DEFAULT NULL)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_prepare_wrapper';
COMMENT ON FUNCTION bg_prepare IS
'Makes the offline (blue) copy of a table with changes applied and starts capture. changes: what may follow ALTER TABLE name. target: a table made by hand instead. forward, reverse: {"column": "expression"}. key: columns of a unique key. Returns the phase. Locks: SHARE ROW EXCLUSIVE on the table until the transaction ends, acquired in short attempts.';

CREATE FUNCTION bg_backfill(source regclass, max_time interval DEFAULT '5 s')
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_backfill_wrapper';
COMMENT ON FUNCTION bg_backfill IS
'As many steps (copy, purge, index, sync) as fit in max_time, in the caller''s transaction; one index build may exceed it. Returns the phase. Locks: ACCESS SHARE on the live table.';

CREATE PROCEDURE bg_run(source regclass, until text DEFAULT 'ready', INOUT phase text DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_run_wrapper';
COMMENT ON PROCEDURE bg_run IS
'Drives the deployment to ready, swapped, reverted or finished, committing after each batch. Resumable. Where the phase is reached already it runs one sync. Errors: 2D000 where it cannot commit. Locks: ACCESS SHARE on the live table while copying.';

CREATE FUNCTION bg_pause(source regclass)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_pause_wrapper';
COMMENT ON FUNCTION bg_pause IS
'Lets bg_run and its workers stop after their batch and wait, and bg_backfill do nothing, until bg_resume. Capture goes on. Returns the phase. Locks: none.';

CREATE FUNCTION bg_resume(source regclass)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_resume_wrapper';
COMMENT ON FUNCTION bg_resume IS
'Ends a pause. Returns the phase. Locks: none.';

CREATE FUNCTION bg_verify(source regclass, repair boolean DEFAULT false)
RETURNS TABLE (key jsonb, problem text)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_verify_wrapper';
COMMENT ON FUNCTION bg_verify IS
'Compares the two tables, in phase ready or swapped, while others write: a row for each key of the live table under which they differ; problem is missing or extra in the offline table, or different. No rows: the same. repair: write what is right to the offline table. Holds the caller''s snapshot for as long as it takes: on a large table let CALL bg_run(table, ''swapped'') do it, in committed batches. Errors: 55000 wrong phase. Locks: ACCESS SHARE on both tables.';

CREATE FUNCTION bg_swap(
    source regclass, lock_timeout interval DEFAULT NULL, retry_for interval DEFAULT NULL)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_swap_wrapper';
COMMENT ON FUNCTION bg_swap IS
'Makes the new table the live one, in one transaction. Errors: 55P03 the locks could not be obtained (names who blocks), 55000 wrong phase, too large a backlog, or misfits. Locks: ACCESS EXCLUSIVE on both tables for milliseconds, until the transaction ends.';

CREATE FUNCTION bg_revert(
    source regclass, misfits text DEFAULT 'refuse',
    lock_timeout interval DEFAULT NULL, retry_for interval DEFAULT NULL)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_revert_wrapper';
COMMENT ON FUNCTION bg_revert IS
'Makes the old table the live one again, with every write since the swap. misfits: refuse, set_aside (those rows stay in bluegreen.misfit), or set_aside_with_children (also rows that refer to one which neither table would have). Errors and locks as bg_swap.';

CREATE FUNCTION bg_finish(source regclass)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_finish_wrapper';
COMMENT ON FUNCTION bg_finish IS
'Keeps the new table: drops the old one, capture and logs. Locks: ACCESS EXCLUSIVE on both tables, acquired in short attempts.';

CREATE FUNCTION bg_abort(source regclass)
RETURNS text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_abort_wrapper';
COMMENT ON FUNCTION bg_abort IS
'Keeps the old table: drops the new one, capture and logs, from any phase but swapped. A hand-made target is given back, emptied. A number that is no table is taken as a deployment''s id, for when the table is gone. Locks: ACCESS EXCLUSIVE on both tables, acquired in short attempts.';

CREATE FUNCTION bg_status(source regclass DEFAULT NULL)
RETURNS TABLE (
    id bigint, source text, blue text, phase text, paused boolean,
    progress double precision, rows_copied bigint, rows_estimated bigint, rows_per_second bigint,
    eta interval, pending_changes bigint, sync_lag interval, misfits bigint, not_valid bigint,
    waiting_for text, waiting_since timestamptz, worker_pid integer, copier text, restarts bigint,
    next_step text, last_error text, created_at timestamptz, updated_at timestamptz)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_status_0_2_wrapper';
COMMENT ON FUNCTION bg_status IS
'One row per open deployment of tables the caller owns; also a finished one when it is named. Locks: none on the table.';

CREATE FUNCTION bg_blockers(source regclass)
RETURNS TABLE (pid integer, "user" text, application text, what text, query text, since timestamptz)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_blockers_wrapper';
COMMENT ON FUNCTION bg_blockers IS
'Who holds a lock, an old snapshot or a prepared transaction that the swap would wait for.';

CREATE FUNCTION bg_progress(source regclass DEFAULT NULL)
RETURNS SETOF text
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_progress_wrapper';
COMMENT ON FUNCTION bg_progress IS
'A line of at most 110 columns for each open deployment that bg_status shows, for \watch: table, phase, share of the work, what it waits for, time until it is ready, and what else is worth knowing now. Locks: none on the table.';

CREATE FUNCTION bg_help()
RETURNS TABLE (statement text, purpose text)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT v.statement, v.purpose FROM (
        SELECT 'SELECT * FROM bg_check(''users'', ''ALTER COLUMN id TYPE bigint'')' AS statement,
               'what prevents a change, or surprises' AS purpose
        UNION ALL SELECT 'SELECT bg_prepare(''users'', ''ALTER COLUMN id TYPE bigint'')', 'an offline copy with the change'
        UNION ALL SELECT 'CALL bg_run(''users'')', 'copy the rows; again: bring changes in'
        UNION ALL SELECT 'SELECT bg_swap(''users'')', 'the new table goes live; CALL bg_run(''users'', ''swapped'') retries longer'
        UNION ALL SELECT 'SELECT bg_revert(''users'')', 'back to the old table, with every write since'
        UNION ALL SELECT 'SELECT bg_finish(''users'')', 'after a swap: drop the old table'
        UNION ALL SELECT 'SELECT bg_abort(''users'')', 'before a swap: drop the new table'
        UNION ALL SELECT 'SELECT bg_pause(''users'')', 'let the work rest until bg_resume'
        UNION ALL SELECT 'SELECT * FROM bg_verify(''users'')', 'compare the two tables'
        UNION ALL SELECT 'SELECT * FROM bg_status()', 'each open deployment; bg_progress() has a line of it'
        UNION ALL SELECT 'SELECT * FROM bg_blockers(''users'')', 'who holds what a swap would wait for'
        UNION ALL SELECT 'SELECT * FROM bg_history()', 'every step; bg_misfits() and bg_differences(): rows'
    ) v
    UNION ALL
    SELECT s.next_step, pg_catalog.format('the next step of %s, which is %s', s.source, s.phase)
      FROM bg_status() s;
END;
COMMENT ON FUNCTION bg_help IS
'The calls with an example each, then the next step of each open deployment of tables that you own.';

-- Owners see their own deployments. Functions, because tools that drop or compare all views of a schema take
-- a view here for one of the application's. Their bodies are parsed, so that a caller needs no right on the
-- schema bluegreen.
CREATE VIEW bluegreen.own_history WITH (security_barrier) AS
    SELECT h.id, d.source_schema::text || '.' || d.source_table::text AS source, h.deployment,
           h.step, h.phase, h.started_at, h.duration, h.count, h.detail, h.error, h.role
      FROM bluegreen.history h
      JOIN bluegreen.deployment d ON d.id = h.deployment
      JOIN pg_catalog.pg_roles r ON r.oid = d.owner AND r.rolname = d.owner_name
     WHERE pg_catalog.pg_has_role(r.oid, 'USAGE');
GRANT SELECT ON bluegreen.own_history TO PUBLIC;
COMMENT ON VIEW bluegreen.own_history IS 'What bg_history returns.';

CREATE FUNCTION bg_history()
RETURNS TABLE (
    id bigint, source text, deployment bigint, step text, phase text, started_at timestamptz,
    duration interval, count bigint, detail text, error text, role name)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT h.id, h.source, h.deployment, h.step, h.phase, h.started_at, h.duration, h.count,
           h.detail, h.error, h.role
      FROM bluegreen.own_history h;
END;
COMMENT ON FUNCTION bg_history IS 'Every step of the deployments of tables that you own.';

CREATE VIEW bluegreen.own_differences WITH (security_barrier) AS
    SELECT d.source_schema::text || '.' || d.source_table::text AS source, f.deployment,
           f.key, f.problem, f.found_at
      FROM bluegreen.difference f
      JOIN bluegreen.deployment d ON d.id = f.deployment
      JOIN pg_catalog.pg_roles r ON r.oid = d.owner AND r.rolname = d.owner_name
     WHERE pg_catalog.pg_has_role(r.oid, 'USAGE');
GRANT SELECT ON bluegreen.own_differences TO PUBLIC;
COMMENT ON VIEW bluegreen.own_differences IS 'What bg_differences returns.';

CREATE FUNCTION bg_differences()
RETURNS TABLE (source text, deployment bigint, key jsonb, problem text, found_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT f.source, f.deployment, f.key, f.problem, f.found_at FROM bluegreen.own_differences f;
END;
COMMENT ON FUNCTION bg_differences IS
    'What the last verification by bg_run found to differ, of tables that you own.';

CREATE VIEW bluegreen.own_misfits WITH (security_barrier) AS
    SELECT m.id, d.source_schema::text || '.' || d.source_table::text AS source, m.deployment,
           m.direction, m.key, m."row", m.error, m.sqlstate, m.set_aside, m.found_at,
           m.child
      FROM bluegreen.misfit m
      JOIN bluegreen.deployment d ON d.id = m.deployment
      JOIN pg_catalog.pg_roles r ON r.oid = d.owner AND r.rolname = d.owner_name
     WHERE pg_catalog.pg_has_role(r.oid, 'USAGE');
GRANT SELECT ON bluegreen.own_misfits TO PUBLIC;
COMMENT ON VIEW bluegreen.own_misfits IS 'What bg_misfits returns.';

CREATE FUNCTION bg_misfits()
RETURNS TABLE (
    id bigint, source text, deployment bigint, direction text, key jsonb, "row" jsonb, error text,
    sqlstate text, set_aside boolean, found_at timestamptz, child text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT m.id, m.source, m.deployment, m.direction, m.key, m."row", m.error, m.sqlstate, m.set_aside,
           m.found_at, m.child
      FROM bluegreen.own_misfits m;
END;
COMMENT ON FUNCTION bg_misfits IS
    'Rows that cannot be written to the other side, of tables that you own.';

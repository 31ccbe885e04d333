\echo Use "ALTER EXTENSION pg_bluegreen UPDATE TO '0.2.0'" to load this file. \quit

-- From 0.1.0 to 0.2.0. Afterwards the catalogs are those of a fresh 0.2.0.
--
-- Locks, until the transaction ends: ACCESS EXCLUSIVE on the views bg_misfits, bg_history and bg_differences and
-- on the table bluegreen.misfit. They wait for the batches of running deployments, and these for them; nothing waits
-- that only reads or writes tables under deployment. For a bound, SET lock_timeout first: after a failure
-- nothing has been changed.
--
-- What fails: a view, or a function with a parsed body, of yours that uses bg_status. DROP FUNCTION
-- refuses and names it (2BP01). Note its definition (pg_get_viewdef, pg_get_functiondef), drop it, update,
-- and create it again; the column green is gone, source has the same value.
--
-- What changes: bg_history, bg_differences and bg_misfits are functions: write bg_misfits() for bg_misfits.
-- Views of yours that use the former views stay, and read those where they are now, in the schema
-- bluegreen. Functions of yours without a parsed body fail until they are changed.
--
-- What is lost: privileges that you granted or revoked on the function bg_status.

-- The views' locks first, as a reader takes them, so that the two cannot end in a deadlock.
ALTER VIEW bg_history SET (security_barrier = true);
ALTER VIEW bg_differences SET (security_barrier = true);
ALTER VIEW bg_misfits SET (security_barrier = true);

ALTER TABLE bluegreen.misfit ADD COLUMN child text;

CREATE OR REPLACE VIEW bg_misfits WITH (security_barrier) AS
    SELECT m.id, d.source_schema::text || '.' || d.source_table::text AS source, m.deployment,
           m.direction, m.key, m."row", m.error, m.sqlstate, m.set_aside, m.found_at,
           m.child
      FROM bluegreen.misfit m
      JOIN bluegreen.deployment d ON d.id = m.deployment
      JOIN pg_catalog.pg_roles r ON r.oid = d.owner AND r.rolname = d.owner_name
     WHERE pg_catalog.pg_has_role(r.oid, 'USAGE');

-- Functions, because tools that drop or compare all views of a schema take a view for one of the application's.
ALTER VIEW bg_history SET SCHEMA bluegreen;
ALTER VIEW bluegreen.bg_history RENAME TO own_history;
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

ALTER VIEW bg_differences SET SCHEMA bluegreen;
ALTER VIEW bluegreen.bg_differences RENAME TO own_differences;
COMMENT ON VIEW bluegreen.own_differences IS 'What bg_differences returns.';
CREATE FUNCTION bg_differences()
RETURNS TABLE (source text, deployment bigint, key jsonb, problem text, found_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT f.source, f.deployment, f.key, f.problem, f.found_at FROM bluegreen.own_differences f;
END;
COMMENT ON FUNCTION bg_differences IS
    'What the last verification by bg_run found to differ, of tables that you own.';

ALTER VIEW bg_misfits SET SCHEMA bluegreen;
ALTER VIEW bluegreen.bg_misfits RENAME TO own_misfits;
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

-- It has another result: green is gone, restarts is new.
DROP FUNCTION bg_status(regclass);
CREATE FUNCTION bg_status(source regclass DEFAULT NULL)
RETURNS TABLE (
    id bigint, source text, blue text, phase text, paused boolean,
    progress double precision, rows_copied bigint, rows_estimated bigint, rows_per_second bigint,
    eta interval, pending_changes bigint, sync_lag interval, misfits bigint, not_valid bigint,
    waiting_for text, waiting_since timestamptz, worker_pid integer, copier text, restarts bigint,
    next_step text, last_error text, created_at timestamptz, updated_at timestamptz)
LANGUAGE c AS 'MODULE_PATHNAME', 'bg_status_0_2_wrapper';
COMMENT ON FUNCTION bg_status(regclass) IS
'One row per open deployment of tables the caller owns; also a finished one when it is named. Locks: none on the table.';

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

COMMENT ON FUNCTION bg_prepare(regclass, text, regclass, jsonb, jsonb, text[]) IS
'Makes the offline (blue) copy of a table with changes applied and starts capture. changes: what may follow ALTER TABLE name. target: a table made by hand instead. forward, reverse: {"column": "expression"}. key: columns of a unique key. Returns the phase. Locks: SHARE ROW EXCLUSIVE on the table until the transaction ends, acquired in short attempts.';
COMMENT ON FUNCTION bg_swap(regclass, interval, interval) IS
'Makes the new table the live one, in one transaction. Errors: 55P03 the locks could not be obtained (names who blocks), 55000 wrong phase, too large a backlog, or misfits. Locks: ACCESS EXCLUSIVE on both tables for milliseconds, until the transaction ends.';
COMMENT ON FUNCTION bg_revert(regclass, text, interval, interval) IS
'Makes the old table the live one again, with every write since the swap. misfits: refuse, set_aside (those rows stay in bluegreen.misfit), or set_aside_with_children (also rows that refer to one which neither table would have). Errors and locks as bg_swap.';
COMMENT ON FUNCTION bg_finish(regclass) IS
'Keeps the new table: drops the old one, capture and logs. Locks: ACCESS EXCLUSIVE on both tables, acquired in short attempts.';
COMMENT ON FUNCTION bg_abort(regclass) IS
'Keeps the old table: drops the new one, capture and logs, from any phase but swapped. A hand-made target is given back, emptied. A number that is no table is taken as a deployment''s id, for when the table is gone. Locks: ACCESS EXCLUSIVE on both tables, acquired in short attempts.';
COMMENT ON PROCEDURE bg_run(regclass, text, text) IS
'Drives the deployment to ready, swapped, reverted or finished, committing after each batch. Resumable. Where the phase is reached already it runs one sync. Errors: 2D000 where it cannot commit. Locks: ACCESS SHARE on the live table while copying.';

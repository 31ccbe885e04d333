-- Tables and machinery of pg_bluegreen. Nothing here is granted to PUBLIC: owners of tables see
-- their deployments through bg_status and the views of functions.sql. The database's owner may read
-- all of it, because pg_dump has to.

CREATE SCHEMA bluegreen;

CREATE TABLE bluegreen.deployment (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_schema       name NOT NULL,
    source_table        name NOT NULL,
    blue_schema         name NOT NULL,
    origin              oid NOT NULL,
    shadow              oid NOT NULL,
    owner               oid NOT NULL,
    -- In another cluster the number is another role's.
    owner_name          name NOT NULL,
    phase               text NOT NULL DEFAULT 'prepared' CHECK (phase IN
        ('prepared', 'copying', 'indexing', 'ready', 'swapped', 'finished', 'aborted')),
    paused              boolean NOT NULL DEFAULT false,
    arguments           jsonb NOT NULL,
    plan                jsonb NOT NULL,
    progress            jsonb NOT NULL,
    fingerprint_origin  jsonb NOT NULL DEFAULT '{}',
    fingerprint_shadow  jsonb NOT NULL DEFAULT '{}',
    last_error          text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE bluegreen.deployment IS
    'One blue-green change of one table each, from prepare to finish or abort.';
CREATE UNIQUE INDEX deployment_open ON bluegreen.deployment (source_schema, source_table)
    WHERE phase NOT IN ('finished', 'aborted');

-- What the capture trigger reads: the log of each table under deployment.
-- The trigger reads these columns by position: src/state/captured.rs.
CREATE TABLE bluegreen.capture (
    relation    oid PRIMARY KEY,
    log         oid NOT NULL,
    deployment  bigint NOT NULL,
    key         smallint[] NOT NULL
);
COMMENT ON TABLE bluegreen.capture IS 'The change log of each table under deployment.';

-- TRUNCATE appends a marker and returns at once; the next step that sees it empties blue.
CREATE TABLE bluegreen.truncation (
    deployment  bigint NOT NULL,
    relation    oid NOT NULL,
    position    bigint NOT NULL
);
-- A publication of all tables would refuse to delete from it.
ALTER TABLE bluegreen.truncation REPLICA IDENTITY FULL;
COMMENT ON TABLE bluegreen.truncation IS 'TRUNCATEs of live tables that blue has not followed yet.';

-- Pieces of work that a deployment's processes share.
CREATE TABLE bluegreen.piece (
    deployment  bigint NOT NULL,
    kind        "char" NOT NULL CHECK (kind IN ('b', 'i')),
    first       bigint NOT NULL,
    next        bigint NOT NULL,
    "end"       bigint NOT NULL,
    rows        bigint NOT NULL DEFAULT 0,
    weight      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (deployment, kind, first)
) WITH (fillfactor = 50);
COMMENT ON TABLE bluegreen.piece IS
    'How far the copies (b: blocks) and index builds (i) are that are under way.';

CREATE TABLE bluegreen.misfit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment  bigint NOT NULL,
    direction   text NOT NULL CHECK (direction IN ('forward', 'reverse')),
    key         jsonb,
    "row"       jsonb,
    error       text NOT NULL,
    sqlstate    text NOT NULL,
    set_aside   boolean NOT NULL DEFAULT false,
    found_at    timestamptz NOT NULL DEFAULT now(),
    -- The table whose row it is, where that is another one: it referred to a row that was set aside.
    -- Behind the others, as an upgrade adds it.
    child       text
);
COMMENT ON TABLE bluegreen.misfit IS
    'Rows of green that cannot be written to blue; retried on each sync, removed when they are gone.';

CREATE TABLE bluegreen.difference (
    deployment  bigint NOT NULL,
    key         jsonb NOT NULL,
    problem     text NOT NULL CHECK (problem IN ('missing', 'extra', 'different')),
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A publication of all tables would refuse to delete from it.
ALTER TABLE bluegreen.difference REPLICA IDENTITY FULL;
COMMENT ON TABLE bluegreen.difference IS
    'Rows under whose keys the last verification by bg_run has found the tables to differ.';

CREATE TABLE bluegreen.history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment  bigint NOT NULL,
    step        text NOT NULL,
    phase       text NOT NULL,
    started_at  timestamptz NOT NULL,
    duration    interval NOT NULL,
    count       bigint,
    detail      text,
    error       text,
    role        name NOT NULL
);
COMMENT ON TABLE bluegreen.history IS 'Every step taken: when, who, which, how long, how many, error.';

CREATE FUNCTION bluegreen.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'bluegreen_capture';
COMMENT ON FUNCTION bluegreen.capture() IS
    'Trigger on green: appends the keys of changed rows to the change log.';
REVOKE EXECUTE ON FUNCTION bluegreen.capture() FROM PUBLIC;

CREATE FUNCTION bluegreen.guard() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'bluegreen_guard';
COMMENT ON FUNCTION bluegreen.guard() IS 'Trigger on blue: refuses direct writes.';
REVOKE EXECUTE ON FUNCTION bluegreen.guard() FROM PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('bluegreen.deployment', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.deployment_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.capture', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.truncation', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.piece', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.misfit', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.misfit_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.difference', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.history', '');
SELECT pg_catalog.pg_extension_config_dump('bluegreen.history_id_seq', '');

GRANT USAGE ON SCHEMA bluegreen TO pg_database_owner;
GRANT SELECT ON ALL TABLES IN SCHEMA bluegreen TO pg_database_owner;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA bluegreen TO pg_database_owner;

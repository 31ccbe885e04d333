CREATE TABLE events_new (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seen    boolean NOT NULL,
    kind    text NOT NULL,
    payload jsonb NOT NULL,
    source  text NOT NULL DEFAULT 'unknown'
);
CREATE INDEX ON events_new (kind) WHERE NOT seen;
SELECT severity, code, message
  FROM bg_check('events', target => 'events_new', forward => '{"payload": "payload::jsonb"}',
                reverse => '{"payload": "payload::text"}');
SELECT bg_prepare('events', target => 'events_new', forward => '{"payload": "payload::jsonb"}',
                  reverse => '{"payload": "payload::text"}');
CALL bg_run('events', 'finished');

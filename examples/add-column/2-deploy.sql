SELECT bg_prepare('users', 'ADD COLUMN email_domain text NOT NULL',
                  forward => '{"email_domain": "split_part(email, ''@'', 2)"}');
CALL bg_run('users', 'swapped');
-- From now on the application writes the column.
INSERT INTO users (name, email, email_domain) VALUES ('Ada', 'ada@example.org', 'example.org');
SELECT bg_finish('users');

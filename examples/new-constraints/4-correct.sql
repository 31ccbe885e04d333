UPDATE users SET name = 'unknown' WHERE name = '';
UPDATE users SET email = 'none-' || id WHERE email IS NULL;
CALL bg_run('users', 'finished');

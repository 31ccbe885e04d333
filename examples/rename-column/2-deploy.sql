SELECT bg_prepare('users', 'RENAME COLUMN name TO full_name');
CALL bg_run('users', 'finished');

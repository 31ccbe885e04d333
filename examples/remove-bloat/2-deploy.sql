SELECT bg_prepare('users');
CALL bg_run('users', 'finished');

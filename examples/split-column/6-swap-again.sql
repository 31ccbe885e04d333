CALL bg_run('users', 'finished');

SELECT bg_prepare('users', 'ADD CHECK (length(name) > 0), ALTER email SET NOT NULL');
CALL bg_run('users');

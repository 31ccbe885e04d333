SELECT bg_prepare('users',
    'ADD COLUMN first_name text NOT NULL, ADD COLUMN last_name text NOT NULL, DROP COLUMN name',
    forward => '{"first_name": "split_part(name, '' '', 1)",
                 "last_name":  "split_part(name, '' '', 2)"}',
    reverse => '{"name": "first_name || '' '' || last_name"}');
CALL bg_run('users', 'swapped');

SELECT bg_prepare('measurements', 'ADD PRIMARY KEY (sensor, at)');
CALL bg_run('measurements', 'finished');
-- The primary key has an index of its own.
DROP INDEX measurements_sensor_at;

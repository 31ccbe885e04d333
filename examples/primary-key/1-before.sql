CREATE TABLE measurements (
    sensor int NOT NULL,
    at     timestamptz NOT NULL,
    value  float8
);
CREATE UNIQUE INDEX measurements_sensor_at ON measurements (sensor, at);
INSERT INTO measurements
    SELECT n % 10, timestamptz '2026-01-01 00:00+00' + n * interval '1 s', n
      FROM generate_series(1, 1000) n;

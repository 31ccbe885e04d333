-- No table; the role app may create some.
GRANT CREATE ON SCHEMA public TO app;

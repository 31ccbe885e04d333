//! Table-level blue-green deployment inside PostgreSQL.
::pgrx::pg_module_magic!();

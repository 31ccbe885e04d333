//! Mappings, read by a running server.

#[pgrx::pg_schema]
mod tests {
    use crate::error::Error;
    use crate::pg::parse::{
        Expression, Search, Target, Volatility, Way, cast_expression, parse_mapping,
        parse_mapping_as,
    };
    use pgrx::pg_sys::panic::CaughtError;
    use pgrx::prelude::*;
    use std::panic::AssertUnwindSafe;

    /// A table with a dropped column, and functions and types beside it.
    fn users() -> pg_sys::Oid {
        let made = Spi::run(
            r#"CREATE SCHEMA "My app";
               CREATE FUNCTION "My app".twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
               CREATE DOMAIN "My app".short AS varchar(3);
               CREATE TYPE "My app".mood AS ENUM ('sad', 'ok');
               CREATE TYPE "My app".pair AS (x int, y int);
               CREATE TABLE users (
                   gone int, id int NOT NULL, name text, "Odd, ""name" varchar(20), at timestamptz,
                   tags text[], amount numeric, pair "My app".pair);
               ALTER TABLE users DROP COLUMN gone;
               SET LOCAL search_path = "My app", public"#,
        );
        assert_eq!(made, Ok(()));
        oid("SELECT 'public.users'::regclass::oid")
    }

    fn oid(query: &str) -> pg_sys::Oid {
        match Spi::get_one(query) {
            Ok(Some(oid)) => oid,
            other => unreachable!("{query}: {other:?}"),
        }
    }

    /// A target whose type is written as SQL writes it.
    fn target(type_name: &str) -> Target<'static> {
        let typmod = Spi::get_one::<i32>(&format!(
            "CREATE TEMP TABLE t (c {type_name}) ON COMMIT DROP;
             SELECT atttypmod FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum = 1"
        ));
        let type_oid = oid("SELECT atttypid FROM pg_attribute
                             WHERE attrelid = 't'::regclass AND attnum = 1");
        assert_eq!(Spi::run("DROP TABLE t"), Ok(()));
        match typmod {
            Ok(Some(typmod)) => Target { column: "c", type_oid, typmod },
            other => unreachable!("{type_name}: {other:?}"),
        }
    }

    fn read(text: &str, relation: pg_sys::Oid) -> Expression {
        match parse_mapping(text, relation, None) {
            Ok(expression) => expression,
            Err(error) => unreachable!("{text}: {error:?}"),
        }
    }

    fn refusal(text: &str, relation: pg_sys::Oid) -> Error {
        match parse_mapping(text, relation, None) {
            Err(error) => error,
            Ok(expression) => unreachable!("{text} was taken as {expression:?}"),
        }
    }

    fn cast(column: i16, relation: pg_sys::Oid, type_name: &str) -> Option<Expression> {
        match cast_expression(relation, column, &target(type_name), Search::Then(&[])) {
            Ok(expression) => expression,
            Err(error) => unreachable!("{type_name}: {error:?}"),
        }
    }

    fn assigned(text: &str, relation: pg_sys::Oid, type_name: &str) -> Expression {
        match parse_mapping_as(text, relation, None, &target(type_name), Search::Then(&[])) {
            Ok(expression) => expression,
            Err(error) => unreachable!("{text} to {type_name}: {error:?}"),
        }
    }

    /// SQLSTATE and message of the server's own error.
    fn server_error(run: impl FnOnce() -> Result<Expression, Error>) -> (PgSqlErrorCode, String) {
        let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(run())))
            .catch_others(|error| match error {
                CaughtError::PostgresError(report) => {
                    Err((report.sql_error_code(), report.message().to_owned()))
                }
                other => other.rethrow(),
            })
            .execute();
        match result {
            Err(error) => error,
            Ok(other) => unreachable!("no error of the server's, but {other:?}"),
        }
    }

    #[pg_test]
    fn a_column_is_a_column() {
        let users = users();
        let expected = Expression {
            sql: "id".into(),
            columns: vec![2],
            type_oid: pg_sys::INT4OID,
            typmod: -1,
            volatility: Volatility::Immutable,
            is_column: Some(2),
            unnamed: Vec::new(),
            tree: read("id", users).tree,
            way: Way::Same,
        };
        for text in ["id", " ID -- x", "users.id", "public.users.id", "(/**/id)"] {
            assert_eq!(read(text, users), expected, "{text}");
        }
        let odd = read("\"Odd, \"\"name\"", users);
        assert_eq!((odd.sql.as_str(), odd.typmod), ("\"Odd, \"\"name\"", 24));
    }

    #[pg_test]
    fn names_come_out_qualified() {
        let users = users();
        assert_eq!(read("twice(id) + 1", users).sql, "(\"My app\".twice(id) + 1)");
        assert_eq!(read("'ok'::mood", users).sql, "'ok'::\"My app\".mood");
        assert_eq!(read("(pair).y", users).sql, "(pair).y");
        assert_eq!(read("lower(name) || 'x'", users).sql, "(lower(name) || 'x'::text)");
        assert_eq!(
            Spi::get_one::<String>("SHOW search_path"),
            Ok(Some("\"My app\", public".into()))
        );
    }

    #[pg_test]
    fn constants_do_not_depend_on_settings() {
        let users = users();
        assert_eq!(
            Spi::run("SET LOCAL DateStyle = 'German'; SET LOCAL extra_float_digits = -5"),
            Ok(())
        );
        assert_eq!(read("'31.01.2024'::date", users).sql, "'2024-01-31'::date");
        assert_eq!(
            read("'0.1234567890123'::float8", users).sql,
            "'0.1234567890123'::double precision"
        );
        assert_eq!(read("'a\\b''c'", users).sql, "'a\\b''c'::text");
    }

    #[pg_test]
    fn volatility_is_the_worst_of_its_functions() {
        let users = users();
        assert_eq!(read("id + 1", users).volatility, Volatility::Immutable);
        assert_eq!(read("at::date", users).volatility, Volatility::Stable);
        assert_eq!(read("CURRENT_DATE", users).volatility, Volatility::Stable);
        assert_eq!(read("id + random()", users).volatility, Volatility::Volatile);
        assert_eq!(read("twice(id)", users).volatility, Volatility::Volatile);
    }

    #[pg_test]
    fn columns_are_listed_once_and_in_order() {
        let users = users();
        assert_eq!(read("coalesce(name, id::text, name)", users).columns, [2, 3]);
        assert_eq!(read("1", users).columns, Vec::<i16>::new());
        assert_eq!(read("name::varchar", users).is_column, Some(3));
        assert_eq!(read("name || ''", users).is_column, None);
    }

    #[pg_test]
    fn common_expressions_read_back() {
        let users = users();
        for text in [
            "CASE WHEN \"Odd, \"\"name\" IN ('a', 'b') THEN 1 ELSE 2 END",
            "name LIKE 'x%' AND id BETWEEN 1 AND 3 OR name IS DISTINCT FROM 'b'",
            "tags[1] || array_to_string(tags, ',')",
            "ROW(id, name)",
            "ARRAY[id, 2]",
            "extract(year FROM at)",
            "substring(name FROM 1 FOR 3)",
            "at AT TIME ZONE 'UTC'",
            "name COLLATE \"C\" < 'a'",
            "-1",
            "id::numeric(10,2)",
            "jsonb_build_object('a', id, 'b', name)",
            "NULL",
            "'1 day'::interval day",
            "overlay(name PLACING 'x' FROM 2)",
            "name ~ '^a' IS TRUE",
            "greatest(id, 5)",
            "nullif(name, '')",
            "id = ANY ('{1,2}'::int[])",
        ] {
            read(text, users);
        }
    }

    #[pg_test]
    fn what_is_not_one_expression_is_refused() {
        let users = users();
        for text in [
            "x FROM pg_roles",
            "a, b",
            "id WHERE true",
            "id LIMIT 1",
            "id OFFSET 0",
            "id ORDER BY 1",
            "id GROUP BY id",
            "id HAVING true",
            "id WINDOW w AS ()",
            "id FOR UPDATE",
            "id INTO y",
            "DISTINCT id",
            "ALL id",
            "id UNION SELECT 1",
            "id EXCEPT SELECT 1",
            "INTO y",
            "id FETCH FIRST 1 ROW ONLY",
        ] {
            let error = refusal(text, users);
            assert_eq!(
                (error.code, error.message.as_str()),
                (PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, "mapping is not exactly one expression"),
                "{text}"
            );
        }
        for text in ["1; DELETE FROM users", "1;", ";", "(1;2)"] {
            assert_eq!(refusal(text, users).message, "mapping contains a semicolon", "{text}");
        }
        for text in ["", " ", "-- id"] {
            assert_eq!(refusal(text, users).message, "mapping is empty", "{text:?}");
        }
        for text in ["id AS b", "id b"] {
            assert_eq!(refusal(text, users).message, "mapping has an alias, b", "{text}");
        }
    }

    #[pg_test]
    fn syntax_errors_name_the_character_of_a_mapping() {
        let users = users();
        for (text, message) in [
            ("id)", "syntax error at or near \")\" at character 3 of mapping"),
            ("id) FROM (SELECT 1", "syntax error at or near \")\" at character 3 of mapping"),
            ("'ä' + + ", "syntax error at end of input at character 9 of mapping"),
            ("'x", "unterminated quoted string at or near \"'x\" at character 1 of mapping"),
            (
                "WITH a AS (SELECT 1) SELECT 1",
                "syntax error at or near \"WITH\" at character 1 of mapping",
            ),
            ("VALUES (1)", "syntax error at or near \"(\" at character 8 of mapping"),
        ] {
            let error = refusal(text, users);
            assert_eq!(
                (error.code, error.message.as_str()),
                (PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, message),
                "{text}"
            );
        }
    }

    #[pg_test]
    fn what_looks_beyond_the_row_is_refused() {
        let users = users();
        for (text, message) in [
            ("*", "mapping cannot contain *"),
            ("users.*", "mapping cannot contain *"),
            ("(pair).*", "mapping cannot contain *"),
            ("count(*)", "mapping cannot contain an aggregate function"),
            ("1 + max(id)", "mapping cannot contain an aggregate function"),
            ("rank() OVER ()", "mapping cannot contain a window function"),
            ("sum(id) OVER (ORDER BY id)", "mapping cannot contain a window function"),
            ("generate_series(1,2)", "mapping cannot contain a set-returning function"),
            ("unnest(tags) || 'x'", "mapping cannot contain a set-returning function"),
            ("(SELECT 1)", "mapping cannot contain a subquery"),
            ("EXISTS (SELECT FROM users)", "mapping cannot contain a subquery"),
            ("id IN (SELECT 1)", "mapping cannot contain a subquery"),
            ("ARRAY(SELECT 1)", "mapping cannot contain a subquery"),
            ("users", "mapping cannot read the whole row"),
            ("row_to_json(users)", "mapping cannot read the whole row"),
            ("ctid", "mapping cannot read the system column ctid"),
            ("users.xmin::text", "mapping cannot read the system column xmin"),
            ("tableoid::regclass", "mapping cannot read the system column tableoid"),
        ] {
            let error = refusal(text, users);
            assert_eq!(
                (error.code, error.message.as_str()),
                (PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message),
                "{text}"
            );
        }
    }

    #[pg_test]
    fn errors_of_the_server_pass() {
        let users = users();
        for (text, code) in [
            ("nope", PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN),
            ("gone", PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN),
            ("other.id", PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE),
            ("$1", PgSqlErrorCode::ERRCODE_UNDEFINED_PARAMETER),
            ("nope(id)", PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION),
            ("id || tags", PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION),
            ("DEFAULT", PgSqlErrorCode::ERRCODE_SYNTAX_ERROR),
            ("max(max(id))", PgSqlErrorCode::ERRCODE_GROUPING_ERROR),
        ] {
            let (found, message) = server_error(|| parse_mapping(text, users, None));
            assert_eq!(found, code, "{text}: {message}");
        }
        assert_eq!(
            server_error(|| parse_mapping("nope", users, None)).1,
            "column \"nope\" does not exist"
        );
        let deep = format!("1{}", " + 1".repeat(100_000));
        assert_eq!(
            server_error(|| parse_mapping(&deep, users, None)).0,
            PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX
        );
    }

    #[pg_test]
    fn nothing_is_evaluated() {
        let users = users();
        assert_eq!(
            Spi::run(
                "CREATE SEQUENCE s; CREATE FUNCTION f() RETURNS int IMMUTABLE LANGUAGE sql
                 AS $$SELECT 1 / 0$$"
            ),
            Ok(())
        );
        assert_eq!(read("nextval('s') + f()", users).volatility, Volatility::Volatile);
        assert_eq!(Spi::get_one::<bool>("SELECT is_called FROM s"), Ok(Some(false)));
    }

    #[pg_test]
    fn columns_have_the_names_that_the_user_knows() {
        let users = users();
        let names = [(2, "number".to_owned()), (3, "id".to_owned()), (4, String::new())];
        let read = |text: &str| parse_mapping(text, users, Some(&names)).map(|e| e.sql);
        assert_eq!(read("users.number + length(id)"), Ok("(id + length(name))".into()));
        let (code, _) = server_error(|| parse_mapping("\"Odd, \"\"name\"", users, Some(&names)));
        assert_eq!(code, PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN);
        let (code, _) = server_error(|| parse_mapping("name", users, Some(&names)));
        assert_eq!(code, PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN);
    }

    #[pg_test]
    fn an_assignment_does_not_cut_values() {
        let users = users();
        for (text, type_name, sql) in [
            ("name", "varchar(3)", "\"varchar\"((name)::character varying, 7, false)"),
            ("'abcd'", "char(3)", "bpchar('abcd'::bpchar, 7, false)"),
            ("name", "short", "(\"varchar\"(name, 7, false))::\"My app\".short"),
            ("id", "varchar(3)", "\"varchar\"((id)::character varying, 7, false)"),
            (
                "name COLLATE \"C\"",
                "varchar(3)",
                "(\"varchar\"((name)::character varying, 7, false) COLLATE \"C\")",
            ),
            ("B'1010'", "bit(3)", "\"bit\"('1010'::\"bit\", 3, false)"),
        ] {
            let expression = assigned(text, users, type_name);
            assert_eq!(expression.sql, sql, "{text} to {type_name}");
            assert_eq!(expression.type_oid, target(type_name).type_oid, "{text} to {type_name}");
            assert_eq!(expression.typmod, target(type_name).typmod, "{text} to {type_name}");
        }
    }

    #[pg_test(error = "value too long for type character varying(3)")]
    fn a_value_that_is_too_long_is_an_error() {
        let users = users();
        let sql = assigned("name", users, "varchar(3)").sql;
        assert_eq!(Spi::run("INSERT INTO public.users (id, name) VALUES (1, 'abcd')"), Ok(()));
        let _never: spi::Result<Option<String>> =
            Spi::get_one(&format!("SELECT {sql} FROM public.users"));
    }

    #[pg_test]
    fn casts_are_written_down() {
        let users = users();
        for (text, type_name, sql) in [
            ("id", "bigint", "(id)::bigint"),
            ("id", "int", "id"),
            ("id", "text", "(id)::text"),
            ("name", "varchar", "(name)::character varying"),
            ("amount", "numeric(10,2)", "(amount)::numeric(10,2)"),
            ("'ok'", "mood", "'ok'::\"My app\".mood"),
            ("'5'", "int", "5"),
            ("NULL", "int", "NULL::integer"),
            ("id + 0.5", "int", "(((id)::numeric + 0.5))::integer"),
            ("tags", "varchar[]", "(tags)::character varying[]"),
        ] {
            assert_eq!(assigned(text, users, type_name).sql, sql, "{text} to {type_name}");
        }
        assert_eq!(assigned("name", users, "varchar").is_column, Some(3));
        assert_eq!(assigned("id", users, "bigint").is_column, None);
    }

    #[pg_test]
    fn an_impossible_assignment_names_both_types() {
        let users = users();
        let error =
            parse_mapping_as("name", users, None, &target("numeric(5,1)"), Search::Then(&[]));
        assert_eq!(
            error.map_err(|error| (error.code, error.message)),
            Err((
                PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                "mapping for column \"c\" is of type text, column is of type numeric(5,1)".into()
            ))
        );
        let error =
            parse_mapping_as("tags", users, None, &target("varchar(3)[]"), Search::Then(&[]));
        assert_eq!(
            error.map_err(|error| error.code),
            Err(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED)
        );
    }

    #[pg_test]
    fn a_column_is_cast_where_an_assignment_could() {
        let users = users();
        let sql = |column, type_name| cast(column, users, type_name).map(|e| e.sql);
        assert_eq!(sql(2, "int").as_deref(), Some("id"));
        assert_eq!(sql(2, "bigint").as_deref(), Some("(id)::bigint"));
        assert_eq!(
            sql(4, "varchar(5)").as_deref(),
            Some("\"varchar\"(\"Odd, \"\"name\", 9, false)")
        );
        assert_eq!(sql(3, "int"), None);
        assert_eq!(sql(2, "mood"), None);
        let gone = cast_expression(users, 1, &target("int"), Search::Then(&[]));
        assert_eq!(gone.map_err(|e| e.code), Err(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR));
    }

    #[pg_test]
    fn expressions_survive_storage() -> Result<(), serde_json::Error> {
        let expression = read("twice(id)", users());
        let stored = serde_json::to_string(&expression)?;
        assert_eq!(serde_json::from_str::<Expression>(&stored)?, expression);
        Ok(())
    }
}

//! `changes`, read by a running server.

#[pgrx::pg_schema]
mod tests {
    use crate::error::Error;
    use crate::model::changes::{Action, Change, ConstraintKind, Generated};
    use crate::pg::parse::parse_changes;
    use pgrx::prelude::*;

    /// The only change that the text has.
    fn one(text: &str) -> Change {
        match parse_changes(text).as_deref() {
            Ok([change]) => change.clone(),
            other => unreachable!("{text}: {other:?}"),
        }
    }

    fn action(text: &str) -> Action {
        match one(text) {
            Change::Alter { action, .. } => action,
            other => unreachable!("{text}: {other:?}"),
        }
    }

    fn texts(text: &str) -> Vec<String> {
        let changes = match parse_changes(text) {
            Ok(changes) => changes,
            Err(error) => unreachable!("{text}: {error:?}"),
        };
        changes
            .into_iter()
            .map(|change| match change {
                Change::Alter { text, .. } => text,
                Change::RenameColumn { from, to } => format!("{from} > {to}"),
                Change::RenameConstraint { from, to } => format!("{from} >> {to}"),
            })
            .collect()
    }

    fn refusal(text: &str) -> Error {
        match parse_changes(text) {
            Err(error) => error,
            Ok(changes) => unreachable!("{text} was taken as {changes:?}"),
        }
    }

    fn assert_syntax_error(text: &str, message: &str) {
        let error = refusal(text);
        assert_eq!(
            (error.code, error.message.as_str()),
            (PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, message),
            "{text}"
        );
    }

    fn assert_refused(text: &str, what: &str) {
        let error = refusal(text);
        assert_eq!(error.code, PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, "{text}: {error:?}");
        assert!(
            error.message.starts_with(&format!("changes cannot contain {what}: ")),
            "{text}: {error:?}"
        );
        assert!(error.hint.is_some(), "{text}");
    }

    #[pg_test]
    fn nothing_written_is_no_change() {
        for text in ["", "  \n\t", "-- nothing", "/* a /* b */ c */ -- d\n"] {
            assert_eq!(parse_changes(text), Ok(vec![]), "{text:?}");
        }
    }

    #[pg_test]
    fn pieces_end_at_top_level_commas_only() {
        assert_eq!(
            texts(
                "ADD COLUMN a numeric(10,2) DEFAULT round(1.5, 1), /* , */ SET (fillfactor=70, \
                 autovacuum_enabled=off) -- , x\n, ADD CHECK (a = ANY (ARRAY[1, 2])), \
                 ALTER b TYPE int USING (ARRAY[b, 1])[1], rename a TO z"
            ),
            [
                "ADD COLUMN a numeric(10,2) DEFAULT round(1.5, 1)",
                "SET (fillfactor=70, autovacuum_enabled=off)",
                "ADD CHECK (a = ANY (ARRAY[1, 2]))",
                "ALTER b TYPE int USING (ARRAY[b, 1])[1]",
                "a > z",
            ]
        );
        assert_eq!(
            texts("ALTER a SET DEFAULT ARRAY[1,2], ALTER b SET DEFAULT 'x,y', DROP c"),
            ["ALTER a SET DEFAULT ARRAY[1,2]", "ALTER b SET DEFAULT 'x,y'", "DROP c"]
        );
    }

    #[pg_test]
    fn commas_and_semicolons_in_quotes_are_text() {
        assert_eq!(
            texts(
                "ADD a text DEFAULT $x$,;'--$x$, ADD \"b,;\"\"c\" text DEFAULT E'\\',;', \
                 ADD c text DEFAULT 'x;'\n  ',y', ADD d text DEFAULT U&'\\0041,' UESCAPE '\\'"
            ),
            [
                "ADD a text DEFAULT $x$,;'--$x$",
                "ADD \"b,;\"\"c\" text DEFAULT E'\\',;'",
                "ADD c text DEFAULT 'x;'\n  ',y'",
                "ADD d text DEFAULT U&'\\0041,' UESCAPE '\\'",
            ]
        );
        assert_eq!(
            one("RENAME COLUMN \"a,b\" TO c"),
            Change::RenameColumn { from: "a,b".into(), to: "c".into() }
        );
    }

    #[pg_test]
    fn a_piece_ends_with_its_last_token() {
        for text in [
            "  ADD a text DEFAULT 'x'  -- comment",
            "ADD a text DEFAULT 'x'/* comment */",
            "-- before\nADD a text DEFAULT 'x'\n",
            "ADD a text DEFAULT 'x'",
        ] {
            assert_eq!(texts(text), ["ADD a text DEFAULT 'x'"], "{text:?}");
        }
        assert_eq!(texts("ADD a int DEFAULT -1--1\n, DROP b"), ["ADD a int DEFAULT -1", "DROP b"]);
        assert_eq!(texts("ADD a text DEFAULT $$b$$ -- c"), ["ADD a text DEFAULT $$b$$"]);
        assert_eq!(texts("DROP \"é\" /* ü */"), ["DROP \"é\""]);
    }

    #[pg_test]
    fn standard_conforming_strings_decides_what_a_backslash_is() -> Result<(), spi::Error> {
        assert_eq!(texts("ADD a text DEFAULT '\\', DROP b").len(), 2);
        Spi::run("SET LOCAL standard_conforming_strings = off")?;
        assert_eq!(texts("ADD a text DEFAULT '\\', DROP b'").len(), 1);
        Ok(())
    }

    #[pg_test]
    fn names_are_read_as_the_server_reads_them() {
        let long = "ä".repeat(31) + "b";
        assert_eq!(
            one(&format!("RENAME CONSTRAINT \"{long}\" TO Größe")),
            Change::RenameConstraint { from: long.clone(), to: "größe".into() }
        );
        assert_eq!(
            one(&format!("RENAME {long}cd TO \"To\"")),
            Change::RenameColumn { from: long, to: "To".into() }
        );
    }

    #[pg_test]
    fn allowed_actions_are_told_apart() {
        let a = || "a".to_owned();
        for (text, expected) in [
            (
                "ADD a bigserial",
                Action::AddColumn {
                    column: a(),
                    serial: true,
                    generated: None,
                    if_not_exists: false,
                },
            ),
            (
                "ADD COLUMN IF NOT EXISTS a int NOT NULL PRIMARY KEY CHECK (a > 0) DEFAULT 1",
                Action::AddColumn {
                    column: a(),
                    serial: false,
                    generated: None,
                    if_not_exists: true,
                },
            ),
            (
                "ADD a int GENERATED ALWAYS AS (b + 1) STORED",
                Action::AddColumn {
                    column: a(),
                    serial: false,
                    generated: Some(Generated::Stored),
                    if_not_exists: false,
                },
            ),
            (
                "ADD a int GENERATED BY DEFAULT AS IDENTITY (START 5) UNIQUE",
                Action::AddColumn {
                    column: a(),
                    serial: false,
                    generated: None,
                    if_not_exists: false,
                },
            ),
            ("DROP COLUMN a", Action::DropColumn { column: a(), if_exists: false, cascade: false }),
            ("DROP a CASCADE", Action::DropColumn { column: a(), if_exists: false, cascade: true }),
            (
                "DROP IF EXISTS a RESTRICT",
                Action::DropColumn { column: a(), if_exists: true, cascade: false },
            ),
            (
                "ALTER a TYPE varchar(3) COLLATE \"C\"",
                Action::AlterType { column: a(), using: None },
            ),
            ("ALTER a SET NOT NULL", Action::SetNotNull { column: a() }),
            ("ALTER a DROP NOT NULL", Action::DropNotNull { column: a() }),
            ("ALTER a SET DEFAULT now()", Action::SetDefault { column: a() }),
            ("ALTER a DROP DEFAULT", Action::DropDefault { column: a() }),
            ("ALTER a SET STATISTICS 5", Action::SetStatistics { column: a() }),
            ("ALTER a SET STORAGE plain", Action::SetStorage { column: a() }),
            ("ALTER a SET COMPRESSION pglz", Action::SetCompression { column: a() }),
            ("ALTER a SET (n_distinct = 5)", Action::SetColumnOptions { column: a() }),
            ("ALTER a RESET (n_distinct)", Action::ResetColumnOptions { column: a() }),
            (
                "ALTER a ADD GENERATED ALWAYS AS IDENTITY (START 7 CACHE 2)",
                Action::AddIdentity { column: a() },
            ),
            ("ALTER a SET GENERATED ALWAYS RESTART 9", Action::SetIdentity { column: a() }),
            (
                "ALTER a DROP IDENTITY IF EXISTS",
                Action::DropIdentity { column: a(), if_exists: true },
            ),
            ("ALTER a DROP EXPRESSION", Action::DropExpression { column: a(), if_exists: false }),
            (
                "DROP CONSTRAINT a",
                Action::DropConstraint { name: a(), if_exists: false, cascade: false },
            ),
            (
                "SET (fillfactor = 70, toast.autovacuum_enabled = off)",
                Action::SetStorageParameters {
                    names: vec!["fillfactor".into(), "toast.autovacuum_enabled".into()],
                },
            ),
            (
                "RESET (fillfactor)",
                Action::ResetStorageParameters { names: vec!["fillfactor".into()] },
            ),
        ] {
            assert_eq!(action(text), expected, "{text}");
        }
    }

    #[pg_test]
    fn allowed_constraints_are_told_apart() {
        for (text, kind) in [
            ("CHECK (a > 0)", ConstraintKind::Check),
            ("UNIQUE (a, b)", ConstraintKind::Unique),
            ("FOREIGN KEY (a) REFERENCES s.t (b) ON DELETE CASCADE", ConstraintKind::ForeignKey),
            ("PRIMARY KEY (a) INCLUDE (b)", ConstraintKind::PrimaryKey),
            ("EXCLUDE USING gist (a WITH &&, b WITH =)", ConstraintKind::Exclude),
        ] {
            let named = Action::AddConstraint { name: Some("c".into()), kind, not_valid: false };
            assert_eq!(action(&format!("ADD CONSTRAINT c {text}")), named, "{text}");
            let unnamed = Action::AddConstraint { name: None, kind, not_valid: false };
            assert_eq!(action(&format!("ADD {text}")), unnamed, "{text}");
        }
        assert_eq!(
            action("ADD CHECK (a > 0) NOT VALID"),
            Action::AddConstraint { name: None, kind: ConstraintKind::Check, not_valid: true }
        );
    }

    #[pg_test]
    fn the_using_expression_is_kept_as_written() {
        for (text, using) in [
            ("ALTER a TYPE int USING  a :: int  /* x */", "a :: int"),
            ("ALTER a SET DATA TYPE \"using\" UsInG f(a, ', USING b')", "f(a, ', USING b')"),
            (
                "ALTER \"using\" TYPE int USING (SELECT 1 FROM b JOIN c USING (d))",
                "(SELECT 1 FROM b JOIN c USING (d))",
            ),
        ] {
            let Action::AlterType { using: found, .. } = action(text) else { unreachable!() };
            assert_eq!(found.as_deref(), Some(using), "{text}");
        }
    }

    #[pg_test]
    fn a_second_statement_is_refused() {
        for text in [
            "ADD a int; DROP TABLE x",
            "DROP a;;",
            "ADD a int DEFAULT (1; DROP TABLE x)",
            "; DROP TABLE x",
        ] {
            assert_syntax_error(
                text,
                if text.ends_with(";;") || !text.ends_with(';') {
                    "changes contain more than one statement"
                } else {
                    "changes end with a semicolon"
                },
            );
        }
        assert_syntax_error("DROP a;", "changes end with a semicolon");
    }

    #[pg_test]
    fn another_relation_cannot_be_named() {
        for (text, token, at) in [(".y ADD a int", ".", 1), ("* ADD a int", "*", 1)] {
            assert_syntax_error(
                text,
                &format!("syntax error at or near \"{token}\" at character {at} of changes"),
            );
        }
        assert_syntax_error(
            "y ADD a int",
            "syntax error at or near \"y\" at character 1 of changes",
        );
    }

    #[pg_test]
    fn syntax_errors_name_the_character_of_changes() {
        for (text, message) in [
            ("ADD COLUMM a int", "syntax error at or near \"int\" at character 14 of changes"),
            (
                "DROP \"ä\", ALTER é SAT x",
                "syntax error at or near \"SAT\" at character 19 of changes",
            ),
            ("DROP a,, DROP b", "syntax error at or near \",\" at character 8 of changes"),
            ("DROP a, ADD", "syntax error at end of input at character 12 of changes"),
            ("ADD b , DROP a", "syntax error at or near \",\" at character 7 of changes"),
            ("DROP a,", "syntax error at the end of changes: an action is missing"),
            (",", "syntax error at or near \",\" at character 1 of changes"),
            ("ADD a int), DROP (b", "syntax error at or near \")\" at character 10 of changes"),
            (
                "DROP a, ADD b text DEFAULT 'x",
                "unterminated quoted string at or near \"'x\" at character 28 of changes",
            ),
            (
                "DROP a /* x",
                "unterminated /* comment at or near \"/* x\" at character 8 of changes",
            ),
            (
                "ADD b text DEFAULT $a$x$b$",
                "unterminated dollar-quoted string at or near \"$a$x$b$\" at character 20 of changes",
            ),
            (
                "DROP \"\"",
                "zero-length delimited identifier at or near \"\"\"\" at character 6 of changes",
            ),
        ] {
            assert_syntax_error(text, message);
        }
    }

    #[pg_test]
    fn a_failed_text_leaves_the_parser_usable() {
        for _ in 0..200 {
            refusal("DROP 'x");
            refusal("ADD COLUMM a int");
        }
        assert_eq!(texts("DROP a"), ["DROP a"]);
        assert_eq!(Spi::get_one::<i32>("SELECT 1"), Ok(Some(1)));
    }

    #[pg_test]
    fn what_a_deployment_cannot_do_is_refused_by_name() {
        for (text, what) in [
            ("RENAME TO y", "RENAME TO"),
            ("SET SCHEMA y", "SET SCHEMA"),
            ("OWNER TO CURRENT_USER", "OWNER TO"),
            ("ATTACH PARTITION y DEFAULT", "ATTACH PARTITION"),
            ("DETACH PARTITION y CONCURRENTLY", "DETACH PARTITION"),
            ("DETACH PARTITION y FINALIZE", "DETACH PARTITION"),
            ("INHERIT y", "INHERIT"),
            ("NO INHERIT y", "NO INHERIT"),
            ("ENABLE TRIGGER ALL", "ENABLE TRIGGER"),
            ("ENABLE ALWAYS TRIGGER y", "ENABLE ALWAYS TRIGGER"),
            ("DISABLE TRIGGER USER", "DISABLE TRIGGER"),
            ("ENABLE RULE y", "ENABLE RULE"),
            ("DISABLE RULE y", "DISABLE RULE"),
            ("ENABLE ROW LEVEL SECURITY", "ENABLE ROW LEVEL SECURITY"),
            ("NO FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY"),
            ("CLUSTER ON y", "CLUSTER ON"),
            ("SET WITHOUT CLUSTER", "SET WITHOUT CLUSTER"),
            ("SET LOGGED", "SET LOGGED"),
            ("SET UNLOGGED", "SET UNLOGGED"),
            ("SET TABLESPACE y", "SET TABLESPACE"),
            ("SET ACCESS METHOD heap", "SET ACCESS METHOD"),
            ("OF y", "OF"),
            ("NOT OF", "NOT OF"),
            ("REPLICA IDENTITY FULL", "REPLICA IDENTITY"),
            ("VALIDATE CONSTRAINT y", "VALIDATE CONSTRAINT"),
            ("ALTER CONSTRAINT y DEFERRABLE", "ALTER CONSTRAINT"),
            ("OPTIONS (ADD a 'b')", "OPTIONS"),
            ("ALTER a OPTIONS (ADD a 'b')", "OPTIONS"),
            ("SET WITHOUT OIDS", "SET WITHOUT OIDS"),
            ("ADD a int REFERENCES y", "REFERENCES on column a"),
            ("ADD CONSTRAINT c UNIQUE USING INDEX y", "USING INDEX"),
            ("ADD PRIMARY KEY USING INDEX y", "USING INDEX"),
        ] {
            assert_refused(text, what);
            assert_refused(&format!("DROP b, {text}"), what);
        }
    }

    #[pg_test]
    fn a_column_changes_its_name_and_type_once() {
        assert_eq!(
            refusal("ALTER a TYPE int, RENAME a TO b, ALTER b TYPE text").message,
            "changes change the type of column b twice"
        );
        assert_eq!(
            refusal("RENAME a TO b, RENAME b TO c").message,
            "changes rename column b twice"
        );
    }

    #[pg_test]
    fn very_deep_nesting_is_an_error_of_the_server() {
        let text = format!("ADD CHECK {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        let error = refusal(&text);
        assert!(error.message.starts_with("memory exhausted at or near \"(\""), "{error:?}");
    }
}

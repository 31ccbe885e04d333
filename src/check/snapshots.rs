//! What bg_check says: every finding's severity, code, object, message and hint.
//!
//! A snapshot that changes is a sentence that users read: look at it, then accept it with
//! `INSTA_UPDATE=always`.

use serde_json::{Value, json};

use crate::catalog::dependent::{Published, UnsupportedDependent};
use crate::catalog::event_trigger::EventTrigger;
use crate::catalog::row_type::RowTypeUser;
use crate::catalog::{Column, Table};
use crate::check::facts::{Facts, Seen};
use crate::check::{refusal, run};
use crate::ident::Ident;
use crate::model::changes::{Action, Change, Generated};
use crate::model::server_load::Volume;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn table(but: Value) -> Table {
    let mut table = json!({
        "oid": 16400, "schema": "Shop", "name": "users", "schema_oid": 2200, "kind": "r",
        "persistence": "p", "owner": 10, "owner_name": "owner", "is_partition": false,
        "is_typed": false, "row_security": false, "force_row_security": false,
        "replica_identity": "d", "relfilenode": 16400, "row_estimate": 1000, "is_system": false,
        "access_method": "heap", "tablespace": null, "options": [], "toast_options": [],
        "comment": null, "blocks": 10,
    });
    for (name, value) in but.as_object().unwrap() {
        table[name] = value.clone();
    }
    read(table)
}

fn column(name: &str, not_null: bool) -> Column {
    read(json!({
        "attnum": 1, "name": name, "type_oid": 25, "typmod": -1, "type_sql": "text",
        "base_oid": 25, "base_sql": "text", "collation": 100, "collation_sql": null,
        "not_null": not_null, "has_default": false, "identity": "", "generated": "",
        "default": null, "statistics": -1, "options": [], "dimensions": 0, "comment": null,
    }))
}

/// A table of which nothing is to be said.
fn nothing() -> Facts {
    Facts {
        table: table(json!({})),
        columns: vec![column("id", true), column("name", true)],
        statistics: Vec::new(),
        strangers: Vec::new(),
        changes: Vec::new(),
        event_triggers: Vec::new(),
        row_type_users: Vec::new(),
        has_standby: false,
        publications: Vec::new(),
        seen: Seen::default(),
        changing_checks: Vec::new(),
        volumes: Vec::new(),
    }
}

/// The findings as a user reads them.
fn said(facts: &Facts) -> String {
    let findings = run(facts);
    let all = findings.iter().map(|f| {
        let severity = f.severity.as_str();
        format!("{severity} {} on {}\n  {}\n  HINT: {}\n", f.code, f.object, f.message, f.hint)
    });
    all.collect()
}

#[test]
fn nothing_is_found_on_an_ordinary_table() {
    assert_eq!(said(&nothing()), "");
    assert!(refusal(&run(&nothing())).is_none());
}

#[test]
fn relations_that_cannot_be_deployed() {
    let kinds = [
        json!({"kind": "p"}),
        json!({"kind": "v"}),
        json!({"kind": "m"}),
        json!({"kind": "f"}),
        json!({"kind": "S"}),
        json!({"kind": "i"}),
        json!({"kind": "c"}),
        json!({"is_system": true}),
        json!({"persistence": "t"}),
        json!({"is_partition": true}),
        json!({"is_typed": true}),
        json!({"access_method": "columnar"}),
    ];
    let all = kinds.map(|kind| said(&Facts { table: table(kind), ..nothing() }));
    let said = all.concat();
    insta::assert_snapshot!(said);
}

#[test]
fn objects_that_are_not_carried_over() {
    let kinds = [
        ("subscription", "feed"),
        ("extension", "postgis"),
        ("use of an extension", "index users_name"),
        ("invalid index", "\"Shop\".users_name"),
        ("publication of everything", "dbz_publication"),
        ("inheritance child", "\"Shop\".old_users"),
        ("inheritance parent", "\"Shop\".people"),
        ("column", "\"Shop\".archive.row"),
        ("foreign key with PERIOD", "users_period"),
        ("NOT NULL that is not valid", "users_name_not_null"),
        ("temporary view", "pg_temp_3.mine"),
        ("foreign key of a partitioned table", "\"Shop\".orders"),
        ("foreign key that is switched off", "orders_user_fkey"),
        ("transform", "transform for users"),
    ];
    let strangers =
        kinds.map(|(kind, name)| UnsupportedDependent { kind: kind.into(), name: name.into() });
    let facts = Facts { strangers: strangers.into(), ..nothing() };
    let said = said(&facts);
    insta::assert_snapshot!(said);
}

#[test]
fn rows_that_are_elsewhere_and_oids_that_are_kept() {
    let seen = Seen {
        read: Some(("Custom Scan".to_owned(), Some("citus".to_owned()))),
        held: vec![("partman".to_owned(), "partman.config.parent".to_owned())],
    };
    let said = said(&Facts { seen, ..nothing() });
    insta::assert_snapshot!(said);
}

#[test]
fn what_others_notice_of_a_deployment() {
    let stamp = EventTrigger {
        name: Ident::new("stamp"),
        event: "ddl_command_end".to_owned(),
        tags: Some(vec!["CREATE TABLE".to_owned()]),
        function_name: Ident::new("stamp_tables"),
    };
    let users = [("total(users)", true), ("f()", false)];
    let row_type_users = users.map(|(name, sure)| RowTypeUser { name: name.to_owned(), sure });
    let said = said(&Facts {
        table: table(json!({"persistence": "u"})),
        columns: vec![column("bluegreen.kind", false)],
        event_triggers: vec![stamp],
        row_type_users: row_type_users.into(),
        has_standby: true,
        ..nothing()
    });
    insta::assert_snapshot!(said);
}

#[test]
fn what_the_changes_mean_for_clients_subscribers_and_a_revert() {
    let alter = |action| Change::Alter { text: String::new(), action };
    let add = |column: &str, generated| {
        let column = column.to_owned();
        alter(Action::AddColumn { column, serial: false, generated, if_not_exists: false })
    };
    let changes = vec![
        add("phone", None),
        add("big", Some(Generated::Stored)),
        add("initial", Some(Generated::Virtual)),
        alter(Action::DropColumn { column: "name".to_owned(), if_exists: false, cascade: false }),
        alter(Action::DropNotNull { column: "id".to_owned() }),
        alter(Action::AlterType { column: "id".to_owned(), using: None }),
        Change::RenameColumn { from: "id".to_owned(), to: "User Id".to_owned() },
        Change::RenameColumn { from: "sum".to_owned(), to: "total".to_owned() },
        alter(Action::DropExpression { column: "sum".to_owned(), if_exists: false }),
    ];
    let everything =
        Published { name: Ident::new("feed"), columns: None, filter: None, sends_generated: false };
    let stored =
        Published { name: Ident::new("computed"), sends_generated: true, ..everything.clone() };
    let listed = Published { columns: Some(vec![Ident::new("id")]), ..everything.clone() };
    let publications = vec![everything, stored, Published { name: Ident::new("Ids"), ..listed }];
    let sum = Column { generated: "s".to_owned(), ..column("sum", false) };
    let said = said(&Facts {
        changes,
        publications,
        columns: vec![column("id", true), column("name", true), sum],
        ..nothing()
    });
    insta::assert_snapshot!(said);
}

#[test]
fn space_that_is_short() {
    let volume = |free: i64| Volume {
        name: "tablespace fast".to_owned(),
        free: free << 30,
        needed: 2 << 30,
    };
    let found = [1, 2, 8, 9].map(|free| said(&Facts { volumes: vec![volume(free)], ..nothing() }));
    assert_eq!(found[2], "");
    let said = found.concat();
    insta::assert_snapshot!(said);
}

//! Every statement that moves, compares or looks up rows, as it reads for two mappings.
//!
//! A snapshot that changes is a statement that changes: look at it, then accept it with
//! `INSTA_UPDATE=always`.

use serde_json::{Value, json};

use crate::ddl::compare::{Compare, Types};
use crate::ddl::picture::Picture;
use crate::ddl::rows::{Conflict, Rows};
use crate::ddl::{log, rights};
use crate::ident::{Ident, QualifiedName};
use crate::model::mapping::Mapping;
use crate::model::zones::ScanWindow;

/// What one side of a deployment has: the mapping that leads to the other side, and its columns.
struct Half {
    name: QualifiedName,
    mapping: Mapping,
    types: Types,
}

fn half(name: &str, mapping: Value, types: &[(&str, &str)]) -> Half {
    Half {
        name: QualifiedName::new("public", name),
        mapping: serde_json::from_value(mapping).unwrap(),
        types: types.iter().map(|(name, sql)| (Ident::new(*name), (*sql).to_owned())).collect(),
    }
}

fn key(columns: &[(&str, &str)]) -> Value {
    let column = |(n, (name, type_sql)): (usize, &(&str, &str))| {
        json!({
            "name": name, "attnum": n + 1, "type_sql": type_sql, "type_oid": 20, "collation": 0,
            "collation_sql": null, "equals": "OPERATOR(pg_catalog.=)",
        })
    };
    let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
    json!({ "index": "pkey", "columns": columns, "deferrable": false, "primary": true })
}

fn column(column: &str, expression: &str) -> Value {
    json!({ "column": column, "expression": expression, "from": null, "volatile": false })
}

/// `ADD COLUMN phone text`: a key of one column, all of green's columns taken over.
fn users() -> [Half; 2] {
    let mapping = |side_only: &[&str]| {
        json!({
            "columns": [column("id", "id"), column("name", "name")],
            "side_only": side_only, "from_key": key(&[("id", "bigint")]),
            "to_key": key(&[("id", "bigint")]), "key_expressions": ["id"], "exact": true,
            "to_deferrable": false, "to_deferred": [], "fixed": [], "upsert": true,
        })
    };
    let (id, name, phone) = (("id", "bigint"), ("name", "text"), ("phone", "text"));
    [
        half("users", mapping(&["phone"]), &[id, name]),
        half("users", mapping(&[]), &[id, name, phone]),
    ]
}

/// A key of two columns of which one is computed, a hostile name, an identity column, nothing that only blue
/// has, and a deferrable constraint.
fn visits() -> [Half; 2] {
    let there = json!({
        "columns": [
            column("Day \"of\" visit", "date_trunc('day'::text, at)"),
            column("n", "(n)::bigint"),
            column("number", "number"),
        ],
        "side_only": [],
        "from_key": key(&[("at", "timestamp without time zone"), ("n", "integer")]),
        "to_key": key(&[("Day \"of\" visit", "timestamp without time zone"), ("n", "bigint")]),
        "key_expressions": ["date_trunc('day'::text, at)", "(n)::bigint"], "exact": false,
        "to_deferrable": true, "to_deferred": [], "fixed": ["number"], "upsert": false,
    });
    let back = json!({
        "columns": [
            column("at", "\"Day \"\"of\"\" visit\""),
            column("n", "(n)::integer"),
            column("number", "number"),
        ],
        "side_only": [],
        "from_key": there["to_key"], "to_key": there["from_key"],
        "key_expressions": ["\"Day \"\"of\"\" visit\"", "(n)::integer"], "exact": true,
        "to_deferrable": false, "to_deferred": [], "fixed": [], "upsert": true,
    });
    let at = "timestamp without time zone";
    [
        half("Visits", there, &[("at", at), ("n", "integer"), ("number", "integer")]),
        half("Visits", back, &[("Day \"of\" visit", at), ("n", "bigint"), ("number", "integer")]),
    ]
}

/// Statements under their names, a clause a line, so that a change shows where it is.
fn listed(statements: &[(&str, String)]) -> String {
    let breaks = [
        " FROM ",
        " WHERE ",
        " USING ",
        " RETURNING ",
        " ON CONFLICT ",
        " CROSS JOIN ",
        " LEFT JOIN ",
    ];
    let clauses = |sql: &str| {
        breaks.iter().fold(sql.to_owned(), |sql, clause| {
            sql.replace(clause, &format!("\n    {}", clause.trim_start()))
        })
    };
    let all = statements.iter().map(|(name, sql)| format!("-- {name}\n{}\n", clauses(sql)));
    all.collect::<Vec<_>>().join("\n")
}

fn moves([green, blue]: &[Half; 2]) -> String {
    let offline = QualifiedName::new("public_blue", blue.name.name.as_str());
    let rows = Rows { mapping: &green.mapping, from: &green.name, to: &offline };
    let all: Vec<_> = blue.types.iter().map(|(name, _)| name.clone()).collect();
    let [update, insert] = rows.update_then_insert(false);
    let mut all_statements = vec![
        ("copy", rows.copy(8, 16)),
        ("copy_lines", rows.copy_lines(8, 1, 292)),
        ("key_at", rows.key_at(8, 3)),
        ("map_keys", rows.map_keys()),
        ("map_numbered_keys", rows.map_numbered_keys()),
        ("made_by", rows.made_by()),
        ("write_versions", rows.write_versions(true)),
        ("purge", rows.purge(0, 64)),
        ("take_out", rows.take_out(false, &all)),
        ("take_out, all of the batch", rows.take_out(true, &all)),
        ("write, overwriting", rows.write(Conflict::Update, true)),
        ("write, staying out", rows.write(Conflict::Skip, false)),
        ("update_then_insert, first", update),
        ("update_then_insert, second", insert),
        ("put_back_in_transit", rows.put_back_in_transit(&all, Conflict::Fail)),
        ("missing", rows.missing()),
        ("restore", rows.restore(&all)),
        ("present", rows.present()),
        ("describe, as JSON", rows.describe(Picture::Json)),
        ("describe, the row as text", rows.describe(Picture::Text)),
        ("describe, key and row as texts", rows.describe(Picture::Texts)),
        ("describe, the key only", rows.describe(Picture::KeyOnly)),
    ];
    // Rows are taken out to come back only where something would be lost with them.
    if !green.mapping.side_only.is_empty() {
        all_statements.push(("put_back", rows.put_back(&all, Conflict::Fail)));
    }
    listed(&all_statements)
}

fn comparisons([green, blue]: &[Half; 2], either_way: bool) -> String {
    let offline = QualifiedName::new("public_blue", blue.name.name.as_str());
    let compare = Compare {
        mapping: &green.mapping,
        back: &blue.mapping,
        green: &green.name,
        blue: &offline,
        blue_types: &blue.types,
        green_types: &green.types,
        either_way,
    };
    listed(&[
        ("read_green", compare.read_green(0, 32)),
        ("green_keys", compare.green_keys()),
        ("blue_keys", compare.blue_keys()),
        ("keys_of_blocks", compare.keys_of_blocks(0, 32)),
        ("strays", compare.strays(0, 32)),
        ("differ", compare.differ()),
        ("all_differ", compare.all_differ()),
        ("not_logged", compare.not_logged()),
        ("found", compare.found()),
        ("log_again", compare.log_again(&QualifiedName::new("bluegreen", "forward_7"))),
    ])
}

#[test]
fn statements_that_move_rows_where_a_column_is_added() {
    let said = moves(&users());
    insta::assert_snapshot!(said);
}

#[test]
fn statements_that_move_rows_where_the_key_is_computed() {
    let said = moves(&visits());
    insta::assert_snapshot!(said);
}

#[test]
fn statements_that_compare_where_a_column_is_added() {
    let said = comparisons(&users(), false);
    insta::assert_snapshot!(said);
}

#[test]
fn statements_that_compare_after_a_swap_where_the_key_is_computed() {
    let said = comparisons(&visits(), true);
    insta::assert_snapshot!(said);
}

#[test]
fn statements_on_a_log() {
    let name = QualifiedName::new("bluegreen", "forward_7");
    let key = &visits()[0].mapping.from_key;
    let window = ScanWindow { first: 512, end: 1024, below: 9 };
    let said = listed(&[
        ("create", log::create(&name, true, key)),
        ("grant", log::grant(&name)),
        ("events", log::events(&name, 2, true, Some(window))),
        ("has_untouched_misfit", log::has_untouched_misfit(&name, 2)),
        ("zone", log::zone(&name)),
        ("keys", log::keys(&name, 2)),
        ("count", log::count(&name)),
    ]);
    insta::assert_snapshot!(said);
}

#[test]
fn rights_that_were_recorded() {
    let rights = [(0, Some("{owner=arwdDxt/owner,o'hara=r/owner}".to_owned())), (2, None)];
    let said = rights::recorded(&rights);
    insta::assert_snapshot!(said);
}

//! What is thrown at bg_check and bg_prepare: nearly right, and mangled.

use proptest::prelude::*;
use proptest::sample::select;

/// A call's arguments besides the table.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub changes: String,
    pub forward: Vec<(String, String)>,
    pub reverse: Vec<(String, String)>,
    pub key: Option<Vec<String>>,
}

/// Would leave a trace in the canary's sequence, if it were run: no rollback takes that back.
pub const SECOND: &str =
    "DO $canary$ BEGIN PERFORM pg_catalog.nextval('public.canary'); END $canary$";

/// 63 bytes of two each, and one.
const LONG: &str = "ééééééééééééééééééééééééééééééé1";

/// Column names as they are written.
fn column() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const NAMES: &[&str] = &[
        "id", "name", "email", "created_at", "phone", "ID", "\"Name\"", "\"a\"\"b\"", "\"a.b\"",
        "\"select\"", "\" \"", "\"\"", "\"new\nline\"", "\"bluegreen.position\"",
        "\"bluegreen.x\"", "bluegreen_key", "xmin", "ctid", "tableoid", "users", "public.users.id",
        "users.id", "x.y", "u&\"d\\0061ta\"", "select", "NULL", "$1", "1", "*", "überschrift",
        "\"👍\"", "NEW", "excluded",
    ];
    prop_oneof![
        30 => select(["id", "name", "email", "created_at"].as_slice()).prop_map(str::to_owned),
        8 => select(NAMES).prop_map(str::to_owned),
        1 => new_column(),
    ]
}

/// Names for a column that is not there yet.
fn new_column() -> impl Strategy<Value = String> {
    const NAMES: &[&str] =
        &["phone", "\"Name\"", "\"a\"\"b\"", "\"a.b\"", "\"select\"", "\" \"", "\"👍\""];
    prop_oneof![
        12 => select(NAMES).prop_map(str::to_owned),
        1 => column_of_any_kind(),
        1 => Just(format!("\"{LONG}\"")),
        1 => Just(format!("\"{LONG}2\"")),
        1 => "[a-z_]{1,70}",
    ]
}

fn column_of_any_kind() -> impl Strategy<Value = String> {
    const NAMES: &[&str] =
        &["\"new\nline\"", "\"bluegreen.x\"", "xmin", "id", "\"\"", "select", "u&\"d\\0061ta\""];
    select(NAMES).prop_map(str::to_owned)
}

fn type_name() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const TYPES: &[&str] = &[
        "int", "bigint", "smallint", "text", "varchar(5)", "varchar(200)", "char(3)",
        "numeric(3,1)", "numeric", "timestamptz", "timestamp", "date", "uuid", "json", "jsonb",
        "int[]", "text[]", "users", "users[]", "name", "\"char\"", "bytea", "point", "serial",
        "bigserial", "regclass", "void", "record", "anyelement", "cstring", "trigger", "nope",
        "xml", "int4range", "bit(3)", "interval", "pg_catalog.int4", "text COLLATE \"C\"",
        "text COLLATE nope", "unknown", "float8", "SETOF int", "users.id%TYPE", "int[3][4]",
        "varchar(0)", "numeric(2000)", "mood", "pg_class", "information_schema.sql_identifier",
        "bluegreen.deployment", "tsvector", "money", "boolean",
    ];
    const COMMON: &[&str] =
        &["int", "bigint", "text", "varchar(200)", "numeric", "timestamptz", "jsonb"];
    prop_oneof![3 => select(COMMON), 2 => select(TYPES)].prop_map(str::to_owned)
}

/// An expression, or what looks like one.
pub fn expression() -> BoxedStrategy<String> {
    #[rustfmt::skip]
    const LEAVES: &[&str] = &[
        "1", "-1", "0", "NULL", "''", "'x'", "'it''s'", "E'\\n'", "$$a$$", "$q$ ' $q$", "1.5",
        "true", "now()", "random()", "clock_timestamp()", "current_user", "session_user",
        "gen_random_uuid()", "1/0", "(1)", "ROW(1, 2)", "ARRAY[1]", "ARRAY[]::int[]", "'1'::int",
        "B'101'", "X'1F'", "users.*", "users", "(users).name", "users.name", "public.users.name",
        "*", "$1", "$0", ":x", "count(*)", "max(id)", "row_number() OVER ()",
        "generate_series(1, 3)", "unnest(ARRAY[1])", "(SELECT 1)", "(SELECT count(*) FROM users)",
        "EXISTS (SELECT)", "ARRAY(SELECT 1)", "(VALUES (1))", "(TABLE users)", "id IN (SELECT 1)",
        "DEFAULT", "pg_sleep(0)", "nope(1)", "current_setting('nope')", "1; SELECT 2",
        "1 -- no more", "1 /* open", "name FROM users", "name AS alias", "name alias",
        "name WHERE true", "1, 2", "1 UNION SELECT 2", "1 LIMIT 1", "name INTO hatched",
        "name FOR UPDATE", "label(users)", "label(users.*)", "nextval('users_id_seq')",
        "'nope'::regclass", "'public.users'::regclass", "ctid", "xmin", "tableoid", "GROUPING(id)",
        "lower(name COLLATE \"C\")", "name COLLATE \"nope\"", "name IS JSON",
        "XMLPARSE(CONTENT name)", "CASE WHEN id > 0 THEN 1 END", "CURRENT OF c",
        "interval '1 day'", "date '2020-02-30'", "id::nope", "id::users", "null::users",
        "(null::users).name", "jsonb_build_object('a', id)", "name LIKE '%'",
        "id OPERATOR(pg_catalog.+) 1", "@ id", "id ! 1", "VARIADIC ARRAY[1]",
        "concat(VARIADIC ARRAY[name])", "substr(name, 1, 3)", "name || phone", "id::text::bigint",
        "upper(string => name)", "make_interval(days => 1)", "'\\'", "U&'d\\0061ta'", "U&'\\DEAD'",
        "txid_current()", "lo_creat(-1)", "pg_advisory_lock(7)", "set_config('a.b', 'c', false)",
    ];
    const PLAIN: &[&str] =
        &["1", "'x'", "id", "name", "email", "lower(name)", "id + 1", "now()", "NULL"];
    let leaf = prop_oneof![
        20 => select(PLAIN).prop_map(str::to_owned),
        12 => select(LEAVES).prop_map(str::to_owned),
        3 => column(),
        1 => Just(format!("1; {SECOND}")),
        1 => Just(format!("1); {SECOND}; SELECT (1")),
        1 => Just(format!("name FROM users; {SECOND} --")),
    ];
    let grown = leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|e| format!("({e})")),
            (inner.clone(), type_name()).prop_map(|(e, t)| format!("({e})::{t}")),
            (inner.clone(), type_name()).prop_map(|(e, t)| format!("CAST({e} AS {t})")),
            pair.clone().prop_map(|(a, b)| format!("{a} || {b}")),
            pair.clone().prop_map(|(a, b)| format!("coalesce({a}, {b})")),
            pair.clone().prop_map(|(a, b)| format!("{a} + {b}")),
            pair.clone().prop_map(|(a, b)| format!("CASE WHEN {a} IS NULL THEN {b} ELSE {a} END")),
            pair.prop_map(|(a, b)| format!("{a} /* {b} */")),
            inner.prop_map(|e| format!("upper(({e})::text)")),
        ]
    });
    let deep = (1usize..2000).prop_map(|n| format!("{}id{}", "(".repeat(n), ")".repeat(n)));
    let much = (1usize..3000).prop_map(|n| vec!["id"; n].join(" + "));
    prop_oneof![30 => grown, 1 => deep, 1 => much].boxed()
}

/// One action of ALTER TABLE, or what looks like one.
fn action() -> BoxedStrategy<String> {
    #[rustfmt::skip]
    const FIXED: &[&str] = &[
        "RENAME TO other", "SET SCHEMA other", "OWNER TO mallory", "ENABLE ROW LEVEL SECURITY",
        "DISABLE TRIGGER ALL", "ENABLE REPLICA TRIGGER bluegreen_capture", "INHERIT other",
        "NO INHERIT x", "ATTACH PARTITION x DEFAULT", "SET TABLESPACE pg_default", "SET LOGGED",
        "SET UNLOGGED", "REPLICA IDENTITY FULL", "CLUSTER ON users_pkey", "SET WITHOUT CLUSTER",
        "SET WITHOUT OIDS", "SET ACCESS METHOD heap", "OF mood", "NOT OF",
        "VALIDATE CONSTRAINT users_email_key", "SET (fillfactor = 70)", "SET (fillfactor = 7000)",
        "SET (nope = 1)", "RESET (fillfactor)",
        "SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)", "SET (a.b = c)",
        "SET ()", "ADD PRIMARY KEY USING INDEX users_pkey",
        "ALTER CONSTRAINT users_pkey DEFERRABLE", "DROP CONSTRAINT users_pkey",
        "DROP CONSTRAINT users_pkey CASCADE", "DROP CONSTRAINT nope",
        "DROP CONSTRAINT IF EXISTS nope", "RENAME CONSTRAINT users_pkey TO users_email_key",
        "RENAME CONSTRAINT users_pkey TO \"a b\"", "ADD LIKE other", "RENAME", "ALTER", "ADD",
        "DROP", "", "ADD CONSTRAINT x EXCLUDE USING gist (id WITH =)", "ADD EXCLUDE (id WITH =)",
        "ADD FOREIGN KEY (id) REFERENCES users", "ADD FOREIGN KEY (id) REFERENCES nope",
        "ADD FOREIGN KEY (id) REFERENCES public_blue.users", "ADD UNIQUE (name, email) DEFERRABLE",
        "ADD UNIQUE NULLS NOT DISTINCT (name) INCLUDE (id)", "ADD CHECK (true) NO INHERIT",
        "ADD CONSTRAINT users_pkey CHECK (true)", "ADD CONSTRAINT bluegreen_x CHECK (id > 0)",
        "ADD CONSTRAINT users_name UNIQUE (name)", "ADD CONSTRAINT users UNIQUE (name)",
    ];
    let option = select(
        [
            "",
            "NOT NULL",
            "NULL",
            "UNIQUE",
            "PRIMARY KEY",
            "DEFAULT 1",
            "DEFAULT now()",
            "GENERATED ALWAYS AS IDENTITY",
            "GENERATED BY DEFAULT AS IDENTITY (START 0 MINVALUE -5)",
            "REFERENCES users",
            "STORAGE PLAIN",
            "COMPRESSION lz4",
            "COMPRESSION nope",
            "COLLATE \"C\"",
            "CHECK (id > 0)",
            "NOT NULL NULL",
            "DEFAULT 1 DEFAULT 2",
            "DEFERRABLE",
            "CONSTRAINT c CHECK (true)",
        ]
        .as_slice(),
    );
    let exists = select(["", "IF EXISTS ", "IF NOT EXISTS "].as_slice());
    let behind = select(["", " CASCADE", " RESTRICT", " CASCADE CASCADE"].as_slice());
    let set = select(
        [
            "SET NOT NULL",
            "DROP NOT NULL",
            "DROP DEFAULT",
            "DROP IDENTITY",
            "DROP IDENTITY IF EXISTS",
            "SET STATISTICS 10",
            "SET STATISTICS -5",
            "SET STATISTICS 99999",
            "SET STORAGE PLAIN",
            "SET STORAGE nope",
            "SET COMPRESSION pglz",
            "SET (n_distinct = 5)",
            "RESET (n_distinct)",
            "ADD GENERATED ALWAYS AS IDENTITY",
            "SET GENERATED ALWAYS",
            "SET GENERATED ALWAYS RESTART 5",
            "DROP EXPRESSION",
            "DROP EXPRESSION IF EXISTS",
            "SET DATA TYPE",
            "RESTART WITH 3",
        ]
        .as_slice(),
    );
    prop_oneof![
        3 => (exists.clone(), new_column(), type_name(), option)
            .prop_map(|(e, c, t, o)| format!("ADD COLUMN {e}{c} {t} {o}")),
        1 => (new_column(), type_name()).prop_map(|(c, t)| format!("ADD {c} {t}")),
        1 => (new_column(), type_name(), expression())
            .prop_map(|(c, t, e)| format!("ADD COLUMN {c} {t} DEFAULT {e}")),
        1 => (new_column(), type_name(), expression())
            .prop_map(|(c, t, e)| format!("ADD COLUMN {c} {t} GENERATED ALWAYS AS ({e}) STORED")),
        2 => (exists, column(), behind).prop_map(|(e, c, b)| format!("DROP COLUMN {e}{c}{b}")),
        2 => (column(), new_column()).prop_map(|(a, b)| format!("RENAME COLUMN {a} TO {b}")),
        1 => (column(), new_column()).prop_map(|(a, b)| format!("RENAME {a} TO {b}")),
        2 => (column(), type_name()).prop_map(|(c, t)| format!("ALTER COLUMN {c} TYPE {t}")),
        2 => (column(), type_name(), expression())
            .prop_map(|(c, t, e)| format!("ALTER COLUMN {c} SET DATA TYPE {t} USING {e}")),
        1 => (column(), expression()).prop_map(|(c, e)| format!("ALTER {c} SET DEFAULT {e}")),
        2 => (column(), set).prop_map(|(c, s)| format!("ALTER COLUMN {c} {s}")),
        1 => expression().prop_map(|e| format!("ADD CONSTRAINT checked CHECK ({e})")),
        1 => expression().prop_map(|e| format!("ADD CHECK ({e}) NOT VALID")),
        1 => (column(), column()).prop_map(|(a, b)| format!("ADD UNIQUE ({a}, {b})")),
        1 => column().prop_map(|c| format!("ADD PRIMARY KEY ({c})")),
        3 => select(FIXED).prop_map(str::to_owned),
    ]
    .boxed()
}

/// What is put anywhere.
fn junk() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        ";", ",", "--", "/*", "*/", "(", ")", "[", "]", "'", "\"", "$$", "$a$", "\\", "\n", "\r\n",
        "\t", "\u{0b}", "\u{a0}", "\u{feff}", "\u{200b}", "ä", "👍", "\u{301}", "E'", "U&\"", "::",
        ":=", "=>", "..", ".", "$1", "@", "#", "?", "%", "\u{1}", "\u{7f}", "CASCADE", "USING",
        "RENAME", "--\n", "/* /* */", "$$;$$", "';'", "\";\"", "UESCAPE '!'", "N'", "0x1", "1e",
        "1_000", "||", "<", "=",
    ];
    prop_oneof![
        6 => select(PIECES).prop_map(str::to_owned),
        1 => Just(format!("; {SECOND}")),
        1 => Just(format!("; {SECOND}; --")),
        1 => (1usize..4000).prop_map(|n| "(".repeat(n)),
        1 => (1usize..20_000).prop_map(|n| "x".repeat(n)),
        1 => any::<char>().prop_map(String::from),
    ]
}

#[derive(Debug, Clone)]
enum Cut {
    Insert(f64, String),
    Delete(f64, usize),
    Double(f64, usize),
    Truncate(f64),
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        4 => (0.0..=1.0, junk()).prop_map(|(at, what)| Cut::Insert(at, what)),
        2 => (0.0..1.0, 1usize..6).prop_map(|(at, length)| Cut::Delete(at, length)),
        1 => (0.0..1.0, 1usize..9).prop_map(|(at, length)| Cut::Double(at, length)),
        1 => (0.1..1.0).prop_map(Cut::Truncate),
    ]
}

/// Mangles a text; NUL cannot be in a text of the server's.
fn mangled(text: String, cuts: Vec<Cut>) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for cut in cuts {
        let place = |at: f64| ((chars.len() as f64) * at) as usize;
        match cut {
            Cut::Insert(at, what) => {
                let at = place(at).min(chars.len());
                chars.splice(at..at, what.chars());
            }
            Cut::Delete(at, length) => {
                let at = place(at);
                chars.drain(at..(at + length).min(chars.len()));
            }
            Cut::Double(at, length) => {
                let at = place(at);
                let piece = chars[at..(at + length).min(chars.len())].to_vec();
                chars.splice(at..at, piece);
            }
            Cut::Truncate(at) => chars.truncate(place(at)),
        }
    }
    chars.into_iter().filter(|c| *c != '\0').collect()
}

fn perhaps_mangled(text: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        3 => text.clone(),
        1 => (text, prop::collection::vec(cut(), 1..4)).prop_map(|(text, cuts)| mangled(text, cuts)),
    ]
    .boxed()
}

/// `changes`.
pub fn changes() -> BoxedStrategy<String> {
    let list =
        (prop::collection::vec(action(), 1..4), select([", ", ",", ",\n", " , -- x\n"].as_slice()));
    perhaps_mangled(list.prop_map(|(actions, glue)| actions.join(glue)).boxed())
}

/// What is hardly ever a list of changes or an expression: nearly all of it ends in the parser.
pub fn mangled_text() -> BoxedStrategy<String> {
    let text = prop_oneof![4 => action(), 1 => expression(), 1 => junk()];
    let list = prop::collection::vec(text, 1..3).prop_map(|texts| texts.join(", "));
    (list, prop::collection::vec(cut(), 2..12)).prop_map(|(text, cuts)| mangled(text, cuts)).boxed()
}

/// A name as it is in a catalog, for the keys of a mapping.
fn bare_name() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const NAMES: &[&str] = &[
        "id", "name", "email", "created_at", "phone", "ID", "", " ", "a\"b", "nope", "id ",
        "name\n", "*", "bluegreen.position", "ctid", "users.name", "\"name\"", "名前",
    ];
    select(NAMES).prop_map(str::to_owned)
}

fn mapping(columns: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![9 => select(columns).prop_map(str::to_owned), 1 => bare_name()];
    prop::collection::vec((name, perhaps_mangled(expression())), 0..3)
}

/// A call with mappings over changes that are right.
pub fn mapped() -> BoxedStrategy<Call> {
    #[rustfmt::skip]
    const CHANGES: &[&str] = &[
        "", "ALTER COLUMN name TYPE int USING length(name)", "RENAME COLUMN name TO phone",
        "DROP COLUMN name", "ALTER COLUMN id TYPE int", "ALTER COLUMN id TYPE text",
        "ADD COLUMN phone int GENERATED ALWAYS AS (id * 2) STORED", "ADD COLUMN phone jsonb",
    ];
    let changes = prop_oneof![2 => Just("ADD COLUMN phone text"), 1 => select(CHANGES)];
    let key = prop::option::weighted(0.2, prop::collection::vec(bare_name(), 0..3));
    (changes, mapping(&["phone", "phone", "name", "email"]), mapping(&["name", "email"]), key)
        .prop_map(|(changes, forward, reverse, key)| Call {
            changes: changes.to_owned(),
            forward,
            reverse,
            key,
        })
        .boxed()
}

/// Names as they are in a catalog, of everything that has one.
#[derive(Debug, Clone)]
pub struct Names {
    pub schema: String,
    pub table: String,
    pub key: String,
    pub column: String,
    pub index: String,
    pub constraint: String,
    pub view: String,
    pub added: String,
}

fn object_name() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const NAMES: &[&str] = &[
        "a", "A", "a b", " ", "a.b", "\"", "a\"b", "'", "it's", "select", "user", "table", "all",
        "*", "%s", "$1", "{}", "\\", "a\nb", "\t", "--", "/*", ";", "; DROP TABLE canary", "$$",
        "ä", "👍", "名前", "1", "_", "bluegreen", "bluegreen_1", "bluegreen.x", "bluegreen_capture",
        "pg_x", "public", "public_blue", "x_blue", "id", "new", "old", "excluded", "t", "g", "b",
        "true", "null", "regclass", "u&\"", "\u{feff}", "bluegreen_log_1", "blue", "green", "key",
        "ordinal", "op", "place", "snapshot", "m", "batch",
    ];
    prop_oneof![
        12 => select(NAMES).prop_map(str::to_owned),
        1 => Just(LONG.to_owned()),
        1 => Just("é".repeat(31)),
        1 => Just("x".repeat(63)),
        1 => (50usize..=63).prop_map(|n| "y".repeat(n)),
        2 => "[ -~]{1,12}",
        1 => "\\PC{1,8}",
    ]
    .prop_map(|name| name.chars().filter(|c| *c != '\0').collect())
}

/// Names of everything.
pub fn names() -> BoxedStrategy<Names> {
    let strategies = (
        object_name(),
        object_name(),
        object_name(),
        object_name(),
        object_name(),
        object_name(),
        object_name(),
        object_name(),
    );
    strategies
        .prop_map(|(schema, table, key, column, index, constraint, view, added)| Names {
            schema,
            table,
            key,
            column,
            index,
            constraint,
            view,
            added,
        })
        .boxed()
}

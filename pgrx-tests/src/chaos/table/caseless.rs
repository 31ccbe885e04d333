//! A column whose type has an equality of its own, which the same words mean only where its operators
//! are found, and what depends on it: `IS DISTINCT FROM`, `NULLIF`, `CASE … WHEN` and comparisons of
//! rows name no operator when the server prints them.

use rand::Rng;
use rand::rngs::StdRng;

use super::kind::Kind;
use crate::journal::Shape;

/// The column.
pub const COLUMN: &str = "handle";
/// The generated column over it.
pub const GENERATED: &str = "ci_admin";
/// The column that a mapping computes from it.
pub const MAPPED: &str = "ci_mapped";

/// Over `{name}` and `{email}`: a third of the rows are admins, in letters other than those that
/// are asked for.
macro_rules! value {
    () => {
        "(CASE abs(hashtext({email}) % 3) WHEN 0 THEN 'Admin' WHEN 1 THEN 'guest'
              ELSE left({name}, 40) END)"
    };
}

/// The column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// citext in `public`.
    Citext,
    /// citext in a schema that is in nobody's search_path.
    CitextApart,
    /// A composite type with operators of its own, without any extension.
    Own,
}

const CITEXT: Kind = Kind {
    name: COLUMN,
    definition: "public.citext",
    value: concat!(value!(), "::public.citext"),
    types: &[],
    as_text: false,
};
const CITEXT_APART: Kind =
    Kind { definition: "ci.citext", value: concat!(value!(), "::ci.citext"), ..CITEXT };
const OWN: Kind = Kind {
    definition: "public.caseless",
    value: concat!("ROW(", value!(), ")::public.caseless"),
    ..CITEXT
};

/// What depends on the column.
#[derive(Debug, Clone)]
pub struct Caseless {
    pub(super) type_: Type,
    /// A view of the admins.
    pub view: bool,
    /// A policy that shows admins, and those without a value, to the role `reader`.
    pub policy: bool,
    index: bool,
    check: bool,
    trigger: bool,
    /// A stored column that says who is admin.
    pub generated: bool,
    /// A mapping that says the same.
    pub mapped: bool,
}

impl Caseless {
    /// Draws one or none; citext where the server has it.
    pub(super) fn draw(random: &mut StdRng, citext: bool) -> Option<Self> {
        let there = random.random_ratio(1, 3);
        let type_ = match random.random_range(0..3) {
            0 if citext => Type::Citext,
            1 if citext => Type::CitextApart,
            _ => Type::Own,
        };
        let [view, policy, index, check, trigger, generated, mapped] =
            std::array::from_fn(|_| random.random_bool(0.5));
        there.then_some(Self { type_, view, policy, index, check, trigger, generated, mapped })
    }

    /// The column.
    pub(super) fn kind(&self) -> &'static Kind {
        match self.type_ {
            Type::Citext => &CITEXT,
            Type::CitextApart => &CITEXT_APART,
            Type::Own => &OWN,
        }
    }

    /// A literal of the type.
    fn literal(&self, word: &str) -> String {
        match self.type_ {
            Type::Own => format!("ROW('{word}')::public.caseless"),
            Type::Citext => format!("'{word}'::public.citext"),
            Type::CitextApart => format!("'{word}'::ci.citext"),
        }
    }

    /// Makes the type.
    pub(super) fn make_type(&self) -> Vec<String> {
        match self.type_ {
            Type::Citext => vec!["CREATE EXTENSION citext SCHEMA public".to_owned()],
            Type::CitextApart => vec![
                "CREATE SCHEMA ci; GRANT USAGE ON SCHEMA ci TO app, owner, reader".to_owned(),
                "CREATE EXTENSION citext SCHEMA ci".to_owned(),
            ],
            Type::Own => own_type(),
        }
    }

    /// The generated column.
    pub(super) fn add_columns(&self, table: &str) -> Vec<String> {
        let add = format!(
            "ALTER TABLE {table} ADD {GENERATED} boolean
                 GENERATED ALWAYS AS ({COLUMN} IS NOT DISTINCT FROM {}) STORED",
            self.literal("ADMIN")
        );
        if self.generated { self.found(vec![add]) } else { Vec::new() }
    }

    /// What else depends on it.
    pub(super) fn dependents(&self, table: &str) -> Vec<String> {
        let (admin, nobody) = (self.literal("ADMIN"), self.literal("NOBODY"));
        let all = [
            (
                self.view,
                format!(
                    "CREATE VIEW public.ci_view AS SELECT {COLUMN} FROM {table}
                         WHERE {COLUMN} IS NOT DISTINCT FROM {admin};
                     ALTER VIEW public.ci_view OWNER TO owner"
                ),
            ),
            (
                self.policy,
                format!(
                    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
                     CREATE POLICY ci_all ON {table} TO app USING (true) WITH CHECK (true);
                     CREATE POLICY ci_few ON {table} FOR SELECT TO reader
                         USING (NULLIF({COLUMN}, {admin}) IS NULL);
                     GRANT SELECT ON {table} TO reader"
                ),
            ),
            (
                self.index,
                format!(
                    "CREATE INDEX ci_index ON {table} (email)
                         WHERE CASE {COLUMN} WHEN {admin} THEN true ELSE false END"
                ),
            ),
            (
                self.check,
                format!(
                    "ALTER TABLE {table} ADD CONSTRAINT ci_check
                         CHECK (({COLUMN}, 1) IS DISTINCT FROM ({nobody}, 1)) NOT VALID"
                ),
            ),
            (
                self.trigger,
                format!(
                    "CREATE TRIGGER ci_trigger AFTER UPDATE ON {table} FOR EACH ROW
                         WHEN (OLD.{COLUMN} IS DISTINCT FROM NEW.{COLUMN})
                         EXECUTE FUNCTION public.note()"
                ),
            ),
        ];
        self.found(all.into_iter().filter(|(drawn, _)| *drawn).map(|(_, sql)| sql).collect())
    }

    /// The same where the type's operators are found.
    fn found(&self, mut statements: Vec<String>) -> Vec<String> {
        statements.insert(0, "SET search_path = public, ci".to_owned());
        statements.push("RESET search_path".to_owned());
        statements
    }

    /// The mapping that computes [`MAPPED`], within a literal.
    pub(super) fn mapping(&self) -> String {
        let admin = self.literal("ADMIN").replace('\'', "''");
        format!("{COLUMN} IS NOT DISTINCT FROM {admin}")
    }

    /// Whether a row is an admin's, over a table of that shape, in words that mean one thing only.
    pub fn is_admin(&self, shape: &Shape) -> String {
        is_admin_over(&self.word(shape))
    }

    /// The column's value as text, computed.
    pub fn word(&self, shape: &Shape) -> String {
        value!().replace("{name}", &shape.name).replace("{email}", &shape.email)
    }
}

/// [`GENERATED`] and [`MAPPED`], over `{name}` and `{email}`.
pub(super) fn is_admin() -> String {
    is_admin_over(value!())
}

fn is_admin_over(word: &str) -> String {
    format!("(lower({word}) IS NOT DISTINCT FROM 'admin')")
}

/// A composite type that compares as citext does.
fn own_type() -> Vec<String> {
    let mut make = vec![
        "CREATE TYPE public.caseless AS (word text)".to_owned(),
        "CREATE FUNCTION public.caseless_cmp(public.caseless, public.caseless)
             RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS
             $$SELECT pg_catalog.bttextcmp(pg_catalog.lower(coalesce(($1).word, '')),
                                           pg_catalog.lower(coalesce(($2).word, '')))$$"
            .to_owned(),
    ];
    for (name, operator, negator) in [
        ("lt", "<", ">="),
        ("le", "<=", ">"),
        ("eq", "=", "<>"),
        ("ne", "<>", "="),
        ("ge", ">=", "<"),
        ("gt", ">", "<="),
    ] {
        make.push(format!(
            "CREATE FUNCTION public.caseless_{name}(public.caseless, public.caseless)
                 RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS
                 $$SELECT public.caseless_cmp($1, $2) OPERATOR(pg_catalog.{operator}) 0$$;
             CREATE OPERATOR public.{operator} (
                 LEFTARG = public.caseless, RIGHTARG = public.caseless,
                 FUNCTION = public.caseless_{name}, NEGATOR = OPERATOR(public.{negator}))"
        ));
    }
    make.push(
        "CREATE OPERATOR CLASS public.caseless_ops DEFAULT FOR TYPE public.caseless USING btree AS
             OPERATOR 1 public.<, OPERATOR 2 public.<=, OPERATOR 3 public.=, OPERATOR 4 public.>=,
             OPERATOR 5 public.>, FUNCTION 1 public.caseless_cmp(public.caseless, public.caseless)"
            .to_owned(),
    );
    make
}

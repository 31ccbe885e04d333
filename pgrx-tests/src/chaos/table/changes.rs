//! What is to be changed, by chance.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::Draft;
use super::caseless::{self, MAPPED};
use super::key::Key;

/// What has been drawn to be changed.
#[derive(Default)]
pub struct Changes {
    /// In order.
    pub actions: Vec<String>,
    /// The key's new name.
    pub id: Option<&'static str>,
    /// The new name of the name's column.
    pub name: Option<&'static str>,
    /// The new name of the email address's column.
    pub email: Option<&'static str>,
    /// Columns that get `_new` behind their name.
    pub renamed: Vec<&'static str>,
    /// Columns that go.
    pub dropped: Vec<&'static str>,
    /// Columns of the new table with their expressions over the old one.
    pub forward: Vec<(&'static str, String)>,
    /// The other way round.
    pub reverse: Vec<(&'static str, String)>,
}

impl Changes {
    /// The mappings, as arguments of bg_prepare behind others.
    pub fn mappings(&self) -> String {
        let argument = |name: &str, mapping: &[(&str, String)]| {
            let pairs: Vec<String> = mapping
                .iter()
                .map(|(column, value)| format!("\"{column}\": \"{value}\""))
                .collect();
            if pairs.is_empty() {
                String::new()
            } else {
                format!(", {name} => '{{{}}}'", pairs.join(", "))
            }
        };
        argument("forward", &self.forward) + &argument("reverse", &self.reverse)
    }
}

impl Draft<'_> {
    /// Some actions, at most one for each column.
    pub(super) fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for kind in self.kinds.clone() {
            let name = kind.name;
            match self.random.random_range(0..8) {
                // What depends on the other one would have to go with it.
                0 if name != caseless::COLUMN => {
                    changes.actions.push(format!("DROP COLUMN {name}"));
                    changes.dropped.push(name);
                }
                1 => {
                    changes.actions.push(format!("RENAME COLUMN {name} TO {name}_new"));
                    changes.renamed.push(name);
                }
                2 | 3 if kind.as_text => {
                    changes
                        .actions
                        .push(format!("ALTER COLUMN {name} TYPE text USING {name}::text"));
                    changes.reverse.push((name, format!("{name}::{}", kind.definition)));
                }
                2 | 3 => {
                    if let Some(to) = kind.types.choose(self.random) {
                        changes.actions.push(format!("ALTER COLUMN {name} TYPE {to}"));
                    }
                }
                _ => {}
            }
        }
        if self.random.random_ratio(1, 4) {
            changes.name = Some("\"Full name\"");
            changes.actions.push("RENAME COLUMN name TO \"Full name\"".to_owned());
        }
        if self.random.random_ratio(1, 8) {
            changes.email = Some("mail");
            changes.actions.push("RENAME COLUMN email TO mail".to_owned());
        }
        match (self.random.random_range(0..6), self.key) {
            (0, _) => {
                changes.id = Some("ident");
                changes.actions.push("RENAME COLUMN id TO ident".to_owned());
            }
            (1..=3, Key::Serial) => {
                changes.actions.push("ALTER COLUMN id TYPE bigint".to_owned());
            }
            _ => {}
        }
        let mut others = vec![
            "ADD COLUMN extra text",
            "ADD COLUMN extra_number integer NOT NULL DEFAULT 7",
            "ADD COLUMN extra_time timestamptz DEFAULT now()",
            "SET (fillfactor = 60)",
        ];
        // What mentions columns comes before they are renamed.
        let mut first = vec![
            "ADD CONSTRAINT some_email CHECK (email <> '')",
            "ADD CONSTRAINT by_email_and_id UNIQUE (email, id)",
            "ADD COLUMN extra_length integer GENERATED ALWAYS AS (length(email)) STORED",
        ];
        if self.random.random_ratio(1, 12) {
            // Few of them: each sync tries every misfit again, up to twenty times over.
            first.push("ADD CONSTRAINT not_all_fit CHECK (hashtext(email) % 4000 <> 0)");
        }
        if self.random.random_ratio(1, 12) {
            // An expression that fails for some rows.
            first.push("ADD COLUMN extra_quotient numeric");
            let quotient = "1.0 / (hashtext(email) % 3000)";
            changes.forward.push(("extra_quotient", quotient.to_owned()));
        }
        if let Some(caseless) = self.caseless.as_ref().filter(|caseless| caseless.mapped) {
            first.push("ADD COLUMN ci_mapped boolean");
            changes.forward.push((MAPPED, caseless.mapping()));
        }
        if self.generated {
            others.push("DROP COLUMN small_email");
        }
        changes.actions.shuffle(self.random);
        for action in others {
            if self.random.random_ratio(1, 4) {
                changes.actions.push(action.to_owned());
            }
        }
        for action in first {
            let mapped = changes.forward.iter().any(|(column, _)| action.contains(column));
            if mapped || self.random.random_ratio(1, 4) {
                changes.actions.insert(0, action.to_owned());
            }
        }
        changes
    }
}

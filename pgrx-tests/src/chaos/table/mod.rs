//! The table of an episode and the changes to it, by chance.
//!
//! To the writers a row is a number, a name and an email address. Here the number becomes a key of
//! some type, and further columns of many types are computed from name and email address by whoever
//! writes: so each row tells by itself whether its columns belong together.

pub mod caseless;
mod changes;
pub mod children;
mod key;
mod kind;
mod make;
pub mod note;
mod trespasser;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::journal::{Column, Schema, Shape};
use caseless::Caseless;
use changes::Changes;
use children::Children;
use key::Key;
use kind::{KINDS, Kind};
use trespasser::Trespasser;

/// Rows of a large table before most of them are deleted.
const LARGE: u32 = 40_000;

/// A column whose values follow from its row's name and email address, on both sides.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Before the change.
    pub before: String,
    /// After it.
    pub after: String,
    /// Over `{name}` and `{email}`.
    pub value: String,
}

/// The table, what fills it, and what is to be changed.
#[derive(Debug, Clone)]
pub struct Table {
    /// The table's name without a schema, quoted.
    pub name: String,
    /// The statements that make and fill it, as superuser in an empty database.
    pub make: Vec<String>,
    /// What is made when the writers' own tables are there.
    pub afterwards: Option<String>,
    /// As the writers see it.
    pub schema: Schema,
    /// What each row can be checked by.
    pub derived: Vec<Derived>,
    /// The same of rows that were copied and synced; the writers do not know these columns.
    pub mapped: Vec<Derived>,
    /// What depends on the column whose type has an equality of its own.
    pub caseless: Option<Caseless>,
    /// An event trigger that does something to each new table.
    pub trespasser: Option<Trespasser>,
    /// The arguments of bg_prepare behind the table.
    pub arguments: String,
    /// Whether a publication names it.
    pub published: bool,
    /// Whether rows of another table point to it, so that it cannot be truncated, and how.
    pub children: Option<Children>,
    /// Whether the new table was made by hand.
    pub by_hand: bool,
    /// Rows at the beginning, about.
    pub rows: u32,
}

/// The table while it is drawn.
struct Draft<'a> {
    random: &'a mut StdRng,
    key: Key,
    kinds: Vec<&'static Kind>,
    deferrable: bool,
    generated: bool,
    caseless: Option<Caseless>,
    children: Option<Children>,
    published: bool,
    large: bool,
}

impl Table {
    /// Draws one; a large one has blocks enough for workers, though not more rows. Its columns may be
    /// of the type citext, where the server has it.
    pub fn draw(random: &mut StdRng, large: bool, citext: bool) -> Self {
        let mut kinds: Vec<&Kind> = KINDS.iter().collect();
        kinds.shuffle(random);
        kinds.truncate(random.random_range(2..=8));
        let caseless = Caseless::draw(random, citext);
        kinds.extend(caseless.iter().map(Caseless::kind));
        let trespasser = Trespasser::draw(random);
        let children = Children::draw(random);
        let deferrable = random.random_ratio(1, 5);
        let mut draft = Draft {
            key: *Key::ALL.choose(random).unwrap_or(&Key::Identity),
            kinds,
            deferrable,
            generated: random.random_bool(0.5),
            caseless,
            children: (!deferrable && random.random_ratio(1, 3)).then_some(children),
            published: random.random_ratio(1, 3),
            large,
            random,
        };
        let name = if draft.random.random_ratio(1, 4) { "\"Odd Things\"" } else { "things" };
        let rows = draft.random.random_range(2_000..=20_000);
        let changes = draft.changes();
        let before = draft.shape("before", &Changes::default());
        let after = draft.shape("after", &changes);
        let changed = Shape { label: before.label.clone(), ..after.clone() } != before;
        let mut make = draft.make(name, rows, &before);
        // By hand: a table that somebody made with the new definition. It says nothing of renames.
        let renames = changes.actions.iter().any(|action| action.starts_with("RENAME"));
        let by_hand = !renames && draft.random.random_ratio(1, 4);
        let arguments = if by_hand {
            make.extend(make::by_hand(name, &changes.actions));
            // Under its own name, or where a deployment has put it.
            let blue = format!("public_blue.{name}");
            format!(
                "target => coalesce(to_regclass('{}'), to_regclass('{blue}')){}",
                make::BY_HAND,
                changes.mappings()
            )
        } else {
            let actions = changes.actions.join(", ").replace('\'', "''");
            format!("'{actions}'{}", changes.mappings())
        };
        let derived = draft.derived(&changes);
        let mapped = draft.caseless.iter().filter(|caseless| caseless.mapped);
        Self {
            name: name.to_owned(),
            make,
            schema: Schema {
                table: format!("public.{name}"),
                before,
                after: changed.then_some(after),
                deferrable,
            },
            derived,
            mapped: mapped.map(|_| Derived::admin(caseless::MAPPED)).collect(),
            caseless: draft.caseless,
            afterwards: trespasser.map(Trespasser::make),
            trespasser,
            arguments,
            published: draft.published,
            children: draft.children,
            by_hand,
            rows,
        }
    }

    /// The table's name as a literal for the verbs.
    pub fn literal(&self) -> String {
        format!("'{}'", self.name)
    }

    /// The other table's name.
    pub fn blue(&self) -> String {
        format!("public_blue.{}", self.name)
    }
}

impl Derived {
    /// A column that says who is admin.
    fn admin(column: &str) -> Self {
        Self { before: column.to_owned(), after: column.to_owned(), value: caseless::is_admin() }
    }
}

impl Draft<'_> {
    fn shape(&self, label: &str, changes: &Changes) -> Shape {
        let id = changes.id.unwrap_or("id");
        let name = changes.name.unwrap_or("name");
        let email = changes.email.unwrap_or("email");
        let mut columns = vec![Column::new(name, "{name}"), Column::new(email, "{email}")];
        for kind in &self.kinds {
            if changes.dropped.contains(&kind.name) {
                continue;
            }
            let renamed = format!("{}_new", kind.name);
            let column = if changes.renamed.contains(&kind.name) { &renamed } else { kind.name };
            columns.push(Column::new(column, kind.value));
        }
        Shape {
            label: label.to_owned(),
            key: self.key.number(id),
            identity: self.key.values(id),
            name: name.to_owned(),
            email: email.to_owned(),
            columns,
        }
    }

    fn derived(&self, changes: &Changes) -> Vec<Derived> {
        let derived = |kind: &&Kind| Derived {
            before: kind.name.to_owned(),
            after: if changes.renamed.contains(&kind.name) {
                format!("{}_new", kind.name)
            } else {
                kind.name.to_owned()
            },
            value: kind.value.to_owned(),
        };
        // A dropped column does not follow what is written after the swap.
        let kept = self.kinds.iter().filter(|k| !changes.dropped.contains(&k.name));
        let generated = self.caseless.iter().filter(|caseless| caseless.generated);
        let generated = generated.map(|_| Derived::admin(caseless::GENERATED));
        kept.map(derived).chain(generated).collect()
    }
}

//! The statements that make a table and fill it.

use rand::Rng;
use rand::seq::SliceRandom;

use super::{Draft, LARGE, note};
use crate::journal::Shape;

/// A table that is given to bg_prepare as it is.
pub(super) const BY_HAND: &str = "public.by_hand";

/// The statements that make it.
pub(super) fn by_hand(name: &str, actions: &[String]) -> Vec<String> {
    let mut make = vec![format!("CREATE TABLE {BY_HAND} (LIKE public.{name} INCLUDING ALL)")];
    make.extend(actions.iter().map(|action| format!("ALTER TABLE {BY_HAND} {action}")));
    make.push(format!("ALTER TABLE {BY_HAND} OWNER TO owner"));
    make
}

impl Draft<'_> {
    /// The statements that make the table and fill it.
    pub(super) fn make(&mut self, name: &str, rows: u32, shape: &Shape) -> Vec<String> {
        let mut columns = vec![self.key.definition().to_owned(), "name text".to_owned()];
        let unique = if self.deferrable { "UNIQUE DEFERRABLE" } else { "UNIQUE" };
        columns.push(format!("email text NOT NULL {unique}"));
        for kind in &self.kinds {
            columns.push(format!("{} {}", kind.name, kind.definition));
        }
        columns.shuffle(self.random);
        if self.generated {
            columns.push("small_email text GENERATED ALWAYS AS (lower(email)) STORED".to_owned());
        }
        let key = self.key.columns();
        if self.random.random_ratio(3, 4) {
            columns.push(format!("PRIMARY KEY ({key})"));
        } else {
            for column in key.split(", ") {
                columns.push(format!("CHECK ({column} IS NOT NULL)"));
            }
            columns.push(format!("UNIQUE ({key})"));
        }
        let mut make = vec![
            "CREATE SEQUENCE public.number; CREATE TYPE public.mood AS ENUM ('happy', 'sad')"
                .to_owned(),
            note::make(),
        ];
        let caseless = self.caseless.clone();
        make.extend(caseless.iter().flat_map(|caseless| caseless.make_type()));
        make.push(format!("CREATE TABLE public.{name} ({})", columns.join(", ")));
        let table = format!("public.{name}");
        make.extend(caseless.iter().flat_map(|caseless| caseless.add_columns(&table)));
        for column in key.split(", ") {
            make.push(format!("ALTER TABLE public.{name} ALTER COLUMN {column} SET NOT NULL"));
        }
        if self.kinds.iter().any(|kind| kind.name == "body") {
            make.push(format!("ALTER TABLE public.{name} ALTER body SET STORAGE EXTERNAL"));
        }
        if self.large {
            make.push(format!("ALTER TABLE public.{name} SET (fillfactor = 10)"));
            make.push(fill(name, LARGE, shape));
            let share = LARGE / rows;
            make.push(format!("DELETE FROM public.{name} WHERE hashtext(email) % {share} <> 0"));
        } else {
            make.push(fill(name, rows, shape));
        }
        make.extend(self.indexes(name, shape));
        make.push(format!("ANALYZE public.{name}"));
        make.push(format!(
            "ALTER TABLE public.{name} OWNER TO owner;
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.{name} TO app;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app, owner"
        ));
        make.extend(self.dependents(name));
        make.extend(caseless.iter().flat_map(|caseless| caseless.dependents(&table)));
        make
    }

    fn indexes(&mut self, name: &str, shape: &Shape) -> Vec<String> {
        let mut indexes =
            vec![format!("CREATE INDEX by_number ON public.{name} (({}))", shape.key)];
        let has = |column: &str| self.kinds.iter().any(|kind| kind.name == column);
        let mut some = vec!["INDEX by_name ON {} (name)"];
        if !self.deferrable {
            some.push("UNIQUE INDEX by_lower_email ON {} (lower(email))");
        }
        // Where two rows exchange their addresses in one statement, nothing else may be unique.
        if has("amount") && !self.deferrable {
            some.push("UNIQUE INDEX by_amount ON {} (amount, email) WHERE amount > 0");
        }
        if has("tags") {
            some.push("INDEX by_tags ON {} USING gin (tags)");
        }
        if has("seen") {
            some.push("INDEX by_seen ON {} USING brin (seen)");
        }
        if has("span") {
            some.push("INDEX by_span ON {} USING gist (span)");
        }
        for index in some {
            if self.random.random_bool(0.5) {
                let table = format!("public.{name}");
                indexes.push(format!("CREATE {}", index.replace("{}", &table)));
            }
        }
        indexes
    }

    /// A view, a publication, and a table that points to this one.
    fn dependents(&mut self, name: &str) -> Vec<String> {
        let mut dependents = Vec::new();
        if self.random.random_ratio(1, 3) {
            dependents.push(format!(
                "CREATE VIEW public.addresses AS SELECT email, name FROM public.{name};
                 ALTER VIEW public.addresses OWNER TO owner"
            ));
        }
        if self.published {
            // What identifies a row in it, where there is no primary key.
            dependents.push(format!("ALTER TABLE public.{name} REPLICA IDENTITY FULL"));
            let which = ["", " (email, name)", " WHERE (email <> '')"];
            let which = which[self.random.random_range(0..which.len())];
            // Updates of part of a row cannot be told by the whole of it.
            let what = if which.is_empty() { "" } else { " WITH (publish = 'insert')" };
            dependents
                .push(format!("CREATE PUBLICATION feed FOR TABLE public.{name}{which}{what}"));
        }
        if let Some(children) = self.children {
            dependents.push(children.make(&format!("public.{name}")));
        }
        dependents
    }
}

fn fill(name: &str, rows: u32, shape: &Shape) -> String {
    let names: Vec<&str> = shape.columns.iter().map(|c| c.name.as_str()).collect();
    let values: Vec<String> = shape
        .columns
        .iter()
        .map(|c| c.value.replace("{name}", "f.name").replace("{email}", "f.email"))
        .collect();
    format!(
        "INSERT INTO public.{name} ({}) SELECT {} FROM (
             SELECT CASE WHEN n % 10 <> 0 THEN 'First Last' || n END AS name,
                    'user' || n || '@example.org' AS email
             FROM generate_series(1, {rows}) n) f",
        names.join(", "),
        values.join(", ")
    )
}

//! A table that points to the one under deployment, whose rows others move.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What happens to a child when its parent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Children {
    on_delete: &'static str,
}

/// The table.
pub const TABLE: &str = "public.letters";

const ALL: [Children; 4] = [
    Children { on_delete: "CASCADE" },
    Children { on_delete: "SET NULL" },
    Children { on_delete: "RESTRICT" },
    Children { on_delete: "NO ACTION" },
];

impl Children {
    /// Draws one.
    pub(super) fn draw(random: &mut StdRng) -> Self {
        ALL.choose(random).copied().unwrap_or(ALL[0])
    }

    /// Whether a parent with children cannot be deleted, which the writers have to bear.
    pub fn forbid(self) -> bool {
        ["RESTRICT", "NO ACTION"].contains(&self.on_delete)
    }

    /// The statements that make the table. Whoever deletes from it or changes it is noted.
    pub(super) fn make(self, parent: &str) -> String {
        format!(
            "CREATE TABLE {TABLE} (
                 id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 email text REFERENCES {parent} (email) ON UPDATE CASCADE ON DELETE {});
             CREATE INDEX ON {TABLE} (email);
             INSERT INTO {TABLE} (email) SELECT email FROM {parent} ORDER BY email LIMIT 300;
             CREATE TRIGGER note AFTER UPDATE OR DELETE ON {TABLE}
                 FOR EACH ROW EXECUTE FUNCTION public.note();
             ALTER TABLE {TABLE} OWNER TO owner;
             GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO app;
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app",
            self.on_delete
        )
    }
}

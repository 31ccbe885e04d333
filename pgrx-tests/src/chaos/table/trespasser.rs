//! An event trigger that does something to each new table, as those of platforms and of tools for
//! row security do. It must not come to the table in silence.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What it does, and how that is seen of a table `c` of pg_class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trespasser {
    action: &'static str,
    seen: &'static str,
}

const ALL: [Trespasser; 9] = [
    Trespasser {
        action: "ALTER TABLE %s ADD COLUMN trespass text",
        seen: "EXISTS (SELECT FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attname = 'trespass')",
    },
    Trespasser {
        action: "ALTER TABLE %s ADD COLUMN trespass text NOT NULL DEFAULT ''nobody''",
        seen: "EXISTS (SELECT FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attname = 'trespass')",
    },
    Trespasser {
        action: "ALTER TABLE %s ENABLE ROW LEVEL SECURITY",
        // Blue has row security before its policies, if green has.
        seen: "c.relrowsecurity AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p
                                                 WHERE p.polrelid IN (SELECT pair.oid FROM pair))",
    },
    Trespasser { action: "ALTER TABLE %s FORCE ROW LEVEL SECURITY", seen: "c.relforcerowsecurity" },
    Trespasser { action: "ALTER TABLE %s OWNER TO reader", seen: "c.relowner = 'reader'::regrole" },
    Trespasser {
        action: "CREATE TRIGGER trespass BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW \
                 EXECUTE FUNCTION public.note()",
        seen: "EXISTS (SELECT FROM pg_catalog.pg_trigger t
                       WHERE t.tgrelid = c.oid AND t.tgname = 'trespass')",
    },
    Trespasser {
        action: "CREATE INDEX ON %s ((2))",
        seen: "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
                       AND pg_catalog.pg_get_indexdef(i.indexrelid) LIKE '%((2))')",
    },
    Trespasser { action: "ALTER TABLE %s REPLICA IDENTITY NOTHING", seen: "c.relreplident = 'n'" },
    Trespasser {
        action: "GRANT SELECT ON %s TO PUBLIC",
        seen: "EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee = 0)",
    },
];

impl Trespasser {
    /// Draws one or none.
    pub(super) fn draw(random: &mut StdRng) -> Option<Self> {
        let there = random.random_ratio(1, 8);
        ALL.choose(random).copied().filter(|_| there)
    }

    /// The statements that make it, as superuser, when all else is there.
    pub(super) fn make(self) -> String {
        format!(
            "CREATE FUNCTION public.trespass() RETURNS event_trigger LANGUAGE plpgsql
                 SECURITY DEFINER SET search_path = pg_catalog AS $trespass$
             DECLARE
                 made record;
             BEGIN
                 FOR made IN SELECT * FROM pg_event_trigger_ddl_commands()
                             WHERE object_type = 'table' AND command_tag LIKE 'CREATE TABLE%'
                 LOOP
                     EXECUTE format('{}', made.object_identity);
                 END LOOP;
             END
             $trespass$;
             CREATE EVENT TRIGGER trespass ON ddl_command_end
                 WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS') EXECUTE FUNCTION public.trespass()",
            self.action
        )
    }

    /// Whether it has been at a table `c` of pg_class.
    pub fn seen(self) -> &'static str {
        self.seen
    }
}

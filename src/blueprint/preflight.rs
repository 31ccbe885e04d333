//! What the checks have to know of a table, and names that are taken.

use crate::blueprint::elsewhere;
use crate::catalog::{self, Table};
use crate::check;
use crate::check::facts::Facts;
use crate::check::needs::Needs;
use crate::dependent;
use crate::error::Result;
use crate::ident::Ident;
use crate::model::changes::Change;
use crate::model::finding::Finding;
use crate::model::member::Member;
use crate::model::plan::SequencePair;
use crate::model::server_load::Volume;
use crate::oid::{RelationId, SchemaId};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// What is known of the table.
pub(crate) fn facts(table: Table, changes: Vec<Change>) -> Result<Facts> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: Ident,
    }
    let seen = elsewhere::look(&table)?;
    let _us = Identity::extension()?;
    let names = |sql: &str| -> Result<Vec<Ident>> {
        Ok(spi::rows::<Named>(sql, &[])?.into_iter().map(|n| n.name).collect())
    };
    Ok(Facts {
        columns: catalog::columns(table.oid)?,
        statistics: catalog::statistics(table.oid)?,
        strangers: dependent::strangers(table.oid)?,
        changes,
        event_triggers: catalog::event_trigger::event_triggers()?,
        changing_checks: catalog::changing_checks(table.oid)?,
        volumes: catalog::directory::needs(&[table.oid])?,
        row_type_users: catalog::row_type::row_type_users(table.oid)?,
        has_standby: !names(
            "SELECT 'standby' AS name FROM pg_catalog.pg_stat_replication LIMIT 1",
        )?
        .is_empty(),
        publications: [
            catalog::dependent::publications(table.oid)?,
            catalog::dependent::schema_publications(table.oid)?,
        ]
        .concat(),
        seen,
        table,
    })
}

/// What a deployment will need, of which `member` is what was tried.
pub(crate) fn needs(table: &Table, member: &Member, volumes: &[Volume]) -> Result<Vec<Finding>> {
    let _us = Identity::extension()?;
    Ok(check::needs::findings(&Needs {
        member,
        live_indexes: catalog::indexes(table.oid)?.len(),
        partitions: dependent::partitions(member)?.len(),
        is_logged: table.persistence != "u",
        volumes,
        sizes: catalog::directory::sizes(table.oid)?,
        lock_table: catalog::directory::lock_table()?,
    }))
}

/// Names of the shadow's indexes and sequences that others have where it goes in the swap, and of the old
/// table's that the sequences have which stay in the blue schema.
///
/// `pairs` are the sequences whose tables change and whose schemas do not.
pub(crate) fn collisions(
    shadow: RelationId,
    green: RelationId,
    live_schema: SchemaId,
    pairs: &[SequencePair],
) -> Result<Vec<Ident>> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: Ident,
    }
    let sql = "WITH parts AS (
            SELECT i.indexrelid AS oid, i.indrelid AS owner FROM pg_catalog.pg_index i
             WHERE i.indrelid IN ($1, $2)
            UNION ALL
            SELECT d.objid, d.refobjid FROM pg_catalog.pg_depend d
             WHERE d.classid = 'pg_catalog.pg_class'::regclass
               AND d.refclassid = 'pg_catalog.pg_class'::regclass
               AND d.refobjid IN ($1, $2) AND d.deptype IN ('a', 'i')
               AND d.objid <> ALL ($4::oid[]))
        SELECT DISTINCT c.relname::text AS name
          FROM parts p JOIN pg_catalog.pg_class c ON c.oid = p.oid
          JOIN pg_catalog.pg_class o ON o.relname = c.relname AND o.oid <> c.oid
         WHERE c.relkind IN ('i', 'S')
           AND CASE p.owner WHEN $1 THEN o.relnamespace = $3
                    AND o.oid NOT IN (SELECT g.oid FROM parts g WHERE g.owner = $2)
               ELSE o.oid = ANY ($4::oid[]) AND o.relnamespace <> $3 END";
    let stay = pairs.iter().flat_map(|p| [Some(p.live), p.spare]).flatten();
    let stay: Vec<i64> = stay.map(i64::from).collect();
    let args = [Arg::oid(shadow), Arg::oid(green), Arg::oid(live_schema), Arg::Ints(&stay)];
    Ok(spi::rows::<Named>(sql, &args)?.into_iter().map(|n| n.name).collect())
}

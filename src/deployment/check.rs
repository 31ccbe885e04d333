//! bg_check: the checks, and a dry run of prepare that is rolled back.

use crate::catalog::{self, Table};
use crate::check::{self, Facts};
use crate::ddl::rows::Rows;
use crate::dependent;
use crate::deployment::prepare::{self, Request};
use crate::deployment::{elsewhere, gone, guard, intrusion, kept, restored, store};
use crate::error::Result;
use crate::ident::Ident;
use crate::model::changes::Change;
use crate::model::deployment::{Deployment, SequencePair};
use crate::model::finding::Finding;
use crate::model::settings::Settings;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::witness::Witness;
use crate::pg::xact;
use crate::pg::{generated, parse};
use crate::shadow::schema;

/// What is known of the table.
pub fn facts(table: Table, changes: Vec<Change>, blue_schema: Ident) -> Result<Facts> {
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
        strangers: dependent::strangers(table.oid)?,
        changes,
        blue_schema,
        event_triggers: catalog::event_trigger::event_triggers()?,
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

/// All findings for a call of bg_prepare. Changes nothing: what it tries is rolled back.
pub fn check(request: &Request, settings: &Settings) -> Result<Vec<Finding>> {
    let table = {
        let _us = Identity::extension()?;
        catalog::existing_table(request.source)?
    };
    let name = table.qualified().plain();
    guard::require_owner(request.caller, table.owner, &name)?;
    let known = match store::find(table.oid)?.filter(|d| d.phase.is_open()) {
        None => store::open_by_name(&table.qualified())?,
        known => known,
    };
    if let Some(open) = known {
        let mut what = format!("{name} has a deployment in phase {}", open.phase);
        let possible = match gone::look(&open)? {
            _ if open.restored => restored::next_step(&open),
            Some(gone) => {
                what = gone.refusal(&open).message;
                gone.next_step(&open)
            }
            None => open.phase.possible().to_owned(),
        };
        return Ok(vec![Finding::note("deployment", &name, what, possible)]);
    }
    let parsed = xact::subtransaction(|| {
        let changes = parse::parse_changes(&request.arguments.changes)?;
        Ok((changes, schema::blue_name(&table.schema, &settings.schema_suffix)?))
    });
    let (changes, blue) = match parsed {
        Ok(parsed) => parsed,
        Err(caught) => return Ok(vec![as_finding(&name, caught)?]),
    };
    let mut findings = check::run(&facts(table.clone(), changes.clone(), blue.clone())?);
    if check::refusal(&findings).is_some() {
        return Ok(findings);
    }
    findings.extend(kept::findings(table.oid)?);
    // An Err rolls the subtransaction back, so that nothing of the trial stays.
    let witness = Witness::stand();
    let trial: std::result::Result<(), _> = xact::subtransaction(|| {
        let d = prepare::build(&table, request, &changes, &blue, 0, settings)?;
        findings.extend(about_mapping(&d));
        try_first_block(&d)?;
        {
            let _us = Identity::extension()?;
            prepare::make_logs(&d, &table)?;
        }
        Err(crate::error::Error::internal(ROLLED_BACK))
    });
    if let Err(caught) = trial
        && caught.error.message != ROLLED_BACK
    {
        let error = intrusion::blame_caught(caught.error, &witness);
        findings.push(as_finding(&name, xact::Caught { error })?);
    }
    Ok(findings)
}

/// Expressions that may give another value the next time, and columns whose values end with a
/// hand-made target.
fn about_mapping(d: &Deployment) -> Vec<Finding> {
    let mut found = Vec::new();
    for (way, mapping) in [("forward", &d.plan.forward), ("reverse", &d.plan.reverse)] {
        for column in mapping.columns.iter().filter(|c| c.volatile) {
            let name = crate::ident::plain(column.column.as_str());
            found.push(Finding::warning(
                "not_immutable",
                &name,
                format!(
                    "the {way} mapping of {name} is not IMMUTABLE: {}",
                    column.expression
                ),
                "Its value depends on the time or on settings; those of bg_prepare's caller are used. Give an IMMUTABLE expression if you can.",
            ));
        }
    }
    if d.plan.forward.from_key.deferrable {
        found.push(Finding::warning(
            "deferrable_key",
            &d.plan.forward.from_key.index,
            "rows are followed by a deferrable key: columns that only one table has may be reset by an update of the key",
            "Give another unique key with key => ARRAY['column'], or make this one NOT DEFERRABLE.",
        ));
    }
    if d.plan.target.is_some() {
        for column in &d.plan.reverse.side_only {
            let name = crate::ident::plain(column.as_str());
            found.push(Finding::warning(
                "dropped_column",
                &name,
                format!("the target has no column {name}: its values go with the old table"),
                "Add the column to the target, if that is not meant.",
            ));
        }
    }
    found
}

/// Runs the mapping over the first block as the copy will. Rows that do not fit are for the copy to
/// tell; an expression that cannot run at all is told here.
fn try_first_block(d: &Deployment) -> Result<()> {
    let blue = d.blue_name();
    let rows = Rows { mapping: &d.plan.forward, from: &d.source, to: &blue };
    let tried = generated::written(d.shadow, &d.plan.forward.stored(), || {
        let _owner = Identity::table_owner(d.owner, &d.plan.session)?;
        spi::run(&rows.copy(0, 1), &[])
    });
    match tried {
        Err(caught) if !caught.is_data_error() => caught.raise(),
        Ok(_) | Err(_) => Ok(()),
    }
}

const ROLLED_BACK: &str = "the trial of bg_check was rolled back";

/// An error of the trial as a row; what is not about the request goes on failing.
fn as_finding(name: &str, caught: xact::Caught) -> Result<Finding> {
    let state = xact::sqlstate(caught.error.code);
    if matches!(&state[..2], "57" | "53" | "58" | "XX" | "25") {
        return caught.raise();
    }
    let error = caught.error;
    Ok(Finding::error(
        "refused",
        error.code,
        name,
        match &error.detail {
            Some(detail) => format!("{} ({detail})", error.message),
            None => error.message.clone(),
        },
        error.hint.unwrap_or_else(|| "bg_prepare would fail with this error.".to_owned()),
    ))
}

/// Names of the shadow's indexes and sequences that others have where it goes in the swap, and of the old
/// table's that the sequences have which stay in the blue schema.
///
/// `pairs` are the sequences whose tables change and whose schemas do not.
pub fn collisions(
    shadow: u32,
    green: u32,
    live_schema: u32,
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
    let args = [Arg::Oid(shadow), Arg::Oid(green), Arg::Oid(live_schema), Arg::Ints(&stay)];
    Ok(spi::rows::<Named>(sql, &args)?.into_iter().map(|n| n.name).collect())
}

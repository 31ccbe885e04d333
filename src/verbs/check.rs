//! bg_check: the checks, and a dry run of bg_prepare that is rolled back.

use crate::blueprint::build::{self, Order, Request};
use crate::blueprint::oid_kept;
use crate::blueprint::plain_alter;
use crate::blueprint::preflight::{facts, needs};
use crate::catalog::{self, Table};
use crate::check;
use crate::ddl::rows::Rows;
use crate::error::{Error, Result};
use crate::guard::access;
use crate::guard::gone;
use crate::guard::intrusion;
use crate::heap::generated;
use crate::model::finding::Finding;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::pg::parse;
use crate::pg::reasons::Reasons;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::witness::Witness;
use crate::pg::xact;
use crate::shadow::schema;
use crate::state::restored;
use crate::state::store;

/// All findings for a call of bg_prepare. Changes nothing: what it tries is rolled back.
pub(crate) fn check(request: &Request, settings: &Settings) -> Result<Vec<Finding>> {
    let table = {
        let _us = Identity::extension()?;
        catalog::existing_table(request.source)?
    };
    let name = table.qualified().plain();
    access::require_owner(request.caller, table.owner, &name)?;
    let known = match store::find(table.oid)?.filter(|member| member.phase.is_open()) {
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
    every_finding(request, &table, settings)
}

fn every_finding(request: &Request, table: &Table, settings: &Settings) -> Result<Vec<Finding>> {
    let name = table.qualified().plain();
    let witness = Witness::stand();
    let reasons = Reasons::all(|error| intrusion::blame_caught(error, &witness));
    let changes = reasons.part(|| parse::read_changes(&request.arguments.changes, &reasons))?;
    let blue = reasons.part(|| schema::blue_name(&table.schema, &settings.schema_suffix))?;
    let known = facts(table.clone(), changes.clone().unwrap_or_default())?;
    let mut findings = check::run(&known);
    if check::can_be_tried(&findings) {
        findings.extend(oid_kept::findings(table.oid)?);
        if let (Some(changes), Some(blue)) = (&changes, &blue) {
            let order = Order { table, request, changes, blue, id: 0, reasons: &reasons };
            if let Some(member) = try_out(&order, settings, &mut findings)?
                && check::refusal(&findings).is_none()
            {
                findings.extend(needs(table, &member, &known.volumes)?);
                findings.extend(plain_alter::finding(&order, settings, &member)?);
            }
        }
    }
    findings.extend(reasons.into_gathered().into_iter().map(|error| as_finding(&name, error)));
    Ok(findings)
}

/// What bg_prepare would make, rolled back; None where there are reasons against it, which the order has then.
fn try_out(
    order: &Order<'_>,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) -> Result<Option<Member>> {
    let tried = xact::trial(|| {
        let member = build::build(order, settings)?;
        findings.extend(about_mapping(&member));
        if check::refusal(findings).is_none() {
            try_first_block(&member)?;
            let _us = Identity::extension()?;
            build::make_logs(&member, order.table)?;
        }
        Ok(member)
    });
    match tried {
        Ok(member) => Ok(Some(member)),
        Err(caught) => order.reasons.refuse(caught.error).map(|()| None),
    }
}

/// Expressions that may give another value the next time, and columns whose values end with a
/// hand-made target.
fn about_mapping(member: &Member) -> Vec<Finding> {
    let mut found = Vec::new();
    for (way, mapping) in [("forward", &member.plan.forward), ("reverse", &member.plan.reverse)] {
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
    if member.plan.forward.from_key.deferrable {
        found.push(Finding::warning(
            "deferrable_key",
            &member.plan.forward.from_key.index,
            "rows are followed by a deferrable key: columns that only one table has may be reset by an update of the key",
            "Give another unique key with key => ARRAY['column'], or make this one NOT DEFERRABLE.",
        ));
    }
    if member.plan.target.is_some() {
        for column in &member.plan.reverse.side_only {
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
fn try_first_block(member: &Member) -> Result<()> {
    let blue = member.blue_name();
    let rows = Rows { mapping: &member.plan.forward, from: &member.source, to: &blue };
    let tried = generated::written(member.shadow.root, &member.plan.forward.stored(), || {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        spi::run(&rows.copy(0, 1), &[])
    });
    match tried {
        Err(caught) if !caught.is_data_error() => caught.raise(),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A reason as a row.
fn as_finding(name: &str, error: Error) -> Finding {
    Finding::error(
        "refused",
        error.code,
        name,
        match &error.detail {
            Some(detail) => format!("{} ({detail})", error.message),
            None => error.message.clone(),
        },
        error.hint.unwrap_or_else(|| "bg_prepare would fail with this error.".to_owned()),
    )
}

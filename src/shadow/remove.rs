//! Taking the offline table and the deployment's schemas away. Runs as the extension, with the
//! tables locked. RESTRICT, never CASCADE: what others made on blue is theirs.

use crate::catalog;
use crate::ddl;
use crate::error::Result;
use crate::ident::{QualifiedName, literal};
use crate::model::deployment::Deployment;
use crate::pg::acl;
use crate::pg::relation;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::shadow::schema;

/// Gives a hand-made target back as it came: empty, with its indexes, under its own name.
pub fn give_back(deployment: &Deployment, given: &QualifiedName) -> Result<()> {
    let blue = deployment.blue_name();
    let plan = &deployment.plan;
    {
        // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
        let _owner = Identity::table_owner(deployment.owner, &plan.session)?;
        spi::run(&format!("TRUNCATE TABLE ONLY {blue}"), &[])?;
    }
    for index in plan.indexes.iter().skip(deployment.progress.indexes_built) {
        let statements = ddl::shadow::build_index(&blue, index);
        // It may be built already, and only lack its constraint.
        let name = QualifiedName { schema: blue.schema.clone(), name: index.name.clone() };
        if catalog::relation_oid(&name)?.is_none() {
            statements.build.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
        }
        statements.exclusive.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
    }
    if !deployment.progress.constraints_added {
        for constraint in &plan.not_valid {
            for statement in ddl::shadow::add_constraint(&blue, constraint) {
                spi::run(&statement, &[])?;
            }
        }
    }
    for pair in &plan.sequences {
        // Its serial called a sequence of its own before it was pointed to the live one.
        let own = match (&pair.given_default, pair.spare) {
            (Some(_), Some(spare)) => catalog::table(spare)?,
            _ => None,
        };
        if let Some(own) = own {
            let column = &pair.shadow_column;
            let sequence = literal(&own.qualified().to_string());
            spi::run(
                &format!(
                    "ALTER TABLE {blue} ALTER COLUMN {column} SET DEFAULT pg_catalog.nextval({sequence}::pg_catalog.regclass)"
                ),
                &[],
            )?;
        }
    }
    for statement in ddl::shadow::unmark(&blue) {
        spi::run(&statement, &[])?;
    }
    restore_autovacuum(deployment, &blue)?;
    let rights: Vec<_> = plan
        .given_rights
        .iter()
        .map(|(attnum, acl)| {
            let acl = acl.as_ref().map_or("NULL".to_owned(), |a| literal(a));
            format!("SELECT {attnum}::int2 AS attnum, {acl}::pg_catalog.aclitem[] AS acl")
        })
        .collect();
    if !rights.is_empty() {
        acl::replace(deployment.shadow, deployment.owner, &rights.join(" UNION ALL "), &[])?;
    }
    // The crossing schema is free, and its only tenant may have any name.
    move_to(deployment.shadow, &deployment.crossing_schema())?;
    let crossing = QualifiedName {
        schema: deployment.crossing_schema(),
        name: deployment.source.name.clone(),
    };
    if given.name != crossing.name {
        spi::run(&format!("ALTER TABLE {crossing} RENAME TO {}", given.name), &[])?;
    }
    move_to(deployment.shadow, &given.schema)?;
    for statistics in catalog::statistics(deployment.shadow)? {
        if statistics.schema == deployment.blue_schema {
            spi::run(
                &format!(
                    "ALTER STATISTICS {}.{} SET SCHEMA {}",
                    statistics.schema, statistics.name, given.schema
                ),
                &[],
            )?;
        }
    }
    Ok(())
}

/// Sets autovacuum of the shadow as it was made.
pub fn restore_autovacuum(deployment: &Deployment, table: &QualifiedName) -> Result<()> {
    let sql = match &deployment.plan.autovacuum_enabled {
        Some(value) => {
            format!("ALTER TABLE {table} SET (autovacuum_enabled = {})", literal(value))
        }
        None => format!("ALTER TABLE {table} RESET (autovacuum_enabled)"),
    };
    spi::run(&sql, &[])?;
    Ok(())
}

/// Moves a table with what belongs to it to another schema.
pub fn move_to(table: u32, schema: &crate::ident::Ident) -> Result<()> {
    let from = catalog::existing_table(table)?.schema_oid;
    if let Some(to) = catalog::schema_oid(schema)?
        && from != to
    {
        relation::set_schema(table, from, to);
    }
    Ok(())
}

/// Drops the deployment's own schema, and the blue schema if nothing is left in it.
pub fn drop_schemas(deployment: &Deployment, lock_table: u32) -> Result<()> {
    spi::run(&ddl::schema::drop_if_exists(&deployment.crossing_schema()), &[])?;
    for twin in &deployment.progress.twins {
        if twin.blue_schema != deployment.blue_schema {
            schema::drop_blue_if_empty(&twin.blue_schema, lock_table)?;
        }
    }
    schema::drop_blue_if_empty(&deployment.blue_schema, lock_table)
}

/// Drops misfits that no longer mean anything; those set aside stay.
pub fn forget_misfits(deployment: &Deployment) -> Result<()> {
    spi::run(
        "DELETE FROM bluegreen.misfit WHERE deployment = $1 AND NOT set_aside",
        &[Arg::Int(deployment.id)],
    )?;
    Ok(())
}

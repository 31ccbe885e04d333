//! Taking the offline table and the deployment's schemas away. Runs as the extension, with the
//! tables locked. RESTRICT, never CASCADE: what others made on blue is theirs.

use crate::catalog;
use crate::ddl::{self, rights};
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::deployment::Deployment;
use crate::pg::acl;
use crate::pg::relation;
use crate::pg::security::{self, Identity};
use crate::pg::spi;
use crate::shadow::{meaning, schema};

/// Gives a hand-made target back as it came: empty, with its indexes, under its own name.
pub(crate) fn give_back(deployment: &Deployment, given: &QualifiedName) -> Result<()> {
    let blue = deployment.blue_name();
    let plan = &deployment.plan;
    {
        // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
        let _owner = Identity::table_owner(deployment.owner, &plan.session)?;
        spi::run(&ddl::table::truncate(&blue), &[])?;
    }
    for index in plan.indexes.iter().skip(deployment.progress.indexes_built) {
        let statements = ddl::shadow::build_index(&blue, index);
        let _path = security::search(&index.meaning.path)?;
        // It may be built already, and only lack its constraint.
        let name = QualifiedName { schema: blue.schema.clone(), name: index.name.clone() };
        if catalog::relation_oid(&name)?.is_none() {
            statements.build.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
        }
        statements.exclusive.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
    }
    if !deployment.progress.constraints_added {
        for constraint in &plan.not_valid {
            meaning::add_check(&blue, constraint)?;
        }
    }
    for pair in &plan.sequences {
        // Its serial called a sequence of its own before it was pointed to the live one.
        let own = match (&pair.given_default, pair.spare) {
            (Some(_), Some(spare)) => catalog::table(spare)?,
            _ => None,
        };
        if let Some(own) = own {
            spi::run(&ddl::sequence::feed(&blue, &pair.shadow_column, &own.qualified()), &[])?;
        }
    }
    for statement in ddl::shadow::unmark(&blue) {
        spi::run(&statement, &[])?;
    }
    restore_autovacuum(deployment, &blue)?;
    if !plan.given_rights.is_empty() {
        let given = rights::recorded(&plan.given_rights);
        acl::replace(deployment.shadow, deployment.owner, &given, &[])?;
    }
    // The crossing schema is free, and its only tenant may have any name.
    move_to(deployment.shadow, &deployment.crossing_schema())?;
    let crossing = QualifiedName {
        schema: deployment.crossing_schema(),
        name: deployment.source.name.clone(),
    };
    if given.name != crossing.name {
        spi::run(&ddl::object::rename("TABLE", &crossing, &given.name), &[])?;
    }
    move_to(deployment.shadow, &given.schema)?;
    for statistics in catalog::statistics(deployment.shadow)? {
        if statistics.schema == deployment.blue_schema {
            let sql = ddl::statistics::set_schema(&statistics.qualified(), &given.schema);
            spi::run(&sql, &[])?;
        }
    }
    Ok(())
}

/// Sets autovacuum of the shadow as it was made.
pub(crate) fn restore_autovacuum(deployment: &Deployment, table: &QualifiedName) -> Result<()> {
    let enabled = deployment.plan.autovacuum_enabled.as_deref();
    spi::run(&ddl::table::set_autovacuum(table, enabled), &[])?;
    Ok(())
}

/// Moves a table with what belongs to it to another schema.
pub(crate) fn move_to(table: u32, schema: &crate::ident::Ident) -> Result<()> {
    let from = catalog::existing_table(table)?.schema_oid;
    if let Some(to) = catalog::schema_oid(schema)?
        && from != to
    {
        relation::set_schema(table, from, to);
    }
    Ok(())
}

/// Drops the deployment's own schema, and the blue schema if nothing is left in it.
pub(crate) fn drop_schemas(deployment: &Deployment, lock_table: u32) -> Result<()> {
    spi::run(&ddl::schema::drop_if_exists(&deployment.crossing_schema()), &[])?;
    for twin in &deployment.progress.twins {
        if twin.blue_schema != deployment.blue_schema {
            schema::drop_blue_if_empty(&twin.blue_schema, lock_table)?;
        }
    }
    schema::drop_blue_if_empty(&deployment.blue_schema, lock_table)
}

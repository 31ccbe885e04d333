//! Taking the offline table and the deployment's schemas away. Runs as the extension, with the
//! tables locked. RESTRICT, never CASCADE: what others made on blue is theirs.

use crate::catalog;
use crate::ddl::{self, rights};
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::member::Member;
use crate::oid::RelationId;
use crate::pg::acl;
use crate::pg::relation;
use crate::pg::security::{self, Identity};
use crate::pg::spi;
use crate::shadow::{meaning, schema};

/// Gives a hand-made target back as it came: empty, with its indexes, under its own name.
pub(crate) fn give_back(member: &Member, given: &QualifiedName) -> Result<()> {
    let blue = member.blue_name();
    let plan = &member.plan;
    {
        // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
        let _owner = Identity::table_owner(member.owner, &plan.session)?;
        spi::run(&ddl::table::truncate(&blue), &[])?;
    }
    for index in plan.indexes.iter().skip(member.progress.indexes_built) {
        let statements = ddl::shadow::build_index(&blue, index);
        let _path = security::search(&index.meaning.path)?;
        // It may be built already, and only lack its constraint.
        let name = QualifiedName { schema: blue.schema.clone(), name: index.name.clone() };
        if catalog::relation_oid(&name)?.is_none() {
            statements.build.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
        }
        statements.exclusive.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
    }
    if !member.progress.constraints_added {
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
    restore_autovacuum(member, &blue)?;
    if !plan.given_rights.is_empty() {
        let given = rights::recorded(&plan.given_rights);
        acl::replace(member.shadow.root, member.owner, &given, &[])?;
    }
    // The staging schema is free, and its only tenant may have any name.
    move_to(member.shadow.root, &member.staging_schema())?;
    let staging =
        QualifiedName { schema: member.staging_schema(), name: member.source.name.clone() };
    if given.name != staging.name {
        spi::run(&ddl::object::rename("TABLE", &staging, &given.name), &[])?;
    }
    move_to(member.shadow.root, &given.schema)?;
    for statistics in catalog::statistics(member.shadow.root)? {
        if statistics.schema == member.blue_schema {
            let sql = ddl::statistics::set_schema(&statistics.qualified(), &given.schema);
            spi::run(&sql, &[])?;
        }
    }
    Ok(())
}

/// Sets autovacuum of the shadow as it was made.
pub(crate) fn restore_autovacuum(member: &Member, table: &QualifiedName) -> Result<()> {
    let enabled = member.plan.autovacuum_enabled.as_deref();
    spi::run(&ddl::table::set_autovacuum(table, enabled), &[])?;
    Ok(())
}

/// Moves a table with what belongs to it to another schema.
pub(crate) fn move_to(table: RelationId, schema: &crate::ident::Ident) -> Result<()> {
    let from = catalog::existing_table(table)?.schema_oid;
    if let Some(to) = catalog::schema_oid(schema)?
        && from != to
    {
        relation::set_schema(table, from, to);
    }
    Ok(())
}

/// Drops the deployment's own schema, and the blue schema if nothing is left in it.
pub(crate) fn drop_schemas(member: &Member, lock_table: RelationId) -> Result<()> {
    spi::run(&ddl::schema::drop_if_exists(&member.staging_schema()), &[])?;
    for twin in &member.progress.twins {
        if twin.blue_schema != member.blue_schema {
            schema::drop_blue_if_empty(&twin.blue_schema, lock_table)?;
        }
    }
    schema::drop_blue_if_empty(&member.blue_schema, lock_table)
}

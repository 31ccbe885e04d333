//! The list of actions that `changes` may contain, and a name for every other.

use super::piece::Piece;
use super::raw;
use crate::error::{Error, Result};
use crate::ident::plain;
use crate::model::changes::{Action, ConstraintKind, Generated};
use pgrx::pg_sys::{self, AlterTableType as Kind, ConstrType};

/// A refusal of an action that a user would have to do beside the deployment.
pub(super) fn refused(what: &str, why: &str) -> Error {
    Error::unsupported(format!("changes cannot contain {what}: {why}")).hint(format!(
        "Run ALTER TABLE with {what} by itself, before bg_prepare or after bg_finish."
    ))
}

/// What a command of ALTER TABLE is.
///
/// # Safety
/// The command is a tree of the parser's.
pub(super) unsafe fn admit(cmd: &pg_sys::AlterTableCmd, piece: &Piece<'_>) -> Result<Action> {
    if let Some((what, why)) = refusal(cmd.subtype) {
        return Err(refused(what, why));
    }
    let cascade = cmd.behavior == pg_sys::DropBehavior::DROP_CASCADE;
    if cascade && !matches!(cmd.subtype, Kind::AT_DropColumn | Kind::AT_DropConstraint) {
        return Err(refused("CASCADE", "other objects are not dropped with the table's parts")
            .hint("Drop what depends on it by itself, before bg_prepare."));
    }
    // SAFETY: the caller's promise; `def` is of the type that the grammar gives the subtype, and
    // is checked by its tag.
    unsafe {
        let name = raw::name(cmd.name);
        let column = || {
            name.clone().ok_or_else(|| {
                Error::unsupported("changes cannot name columns by number")
                    .hint("Write the column's name.")
            })
        };
        Ok(match cmd.subtype {
            Kind::AT_AddColumn => add_column(raw::cast(cmd.def), cmd.missing_ok)?,
            Kind::AT_DropColumn => {
                Action::DropColumn { column: column()?, if_exists: cmd.missing_ok, cascade }
            }
            Kind::AT_AlterColumnType => {
                Action::AlterType { column: column()?, using: using(raw::cast(cmd.def), piece)? }
            }
            Kind::AT_SetNotNull => Action::SetNotNull { column: column()? },
            Kind::AT_DropNotNull => Action::DropNotNull { column: column()? },
            Kind::AT_ColumnDefault if cmd.def.is_null() => {
                Action::DropDefault { column: column()? }
            }
            Kind::AT_ColumnDefault => Action::SetDefault { column: column()? },
            Kind::AT_SetStatistics => Action::SetStatistics { column: column()? },
            Kind::AT_SetStorage => Action::SetStorage { column: column()? },
            Kind::AT_SetCompression => Action::SetCompression { column: column()? },
            Kind::AT_SetOptions => Action::SetColumnOptions { column: column()? },
            Kind::AT_ResetOptions => Action::ResetColumnOptions { column: column()? },
            Kind::AT_AddIdentity => Action::AddIdentity { column: column()? },
            Kind::AT_SetIdentity => Action::SetIdentity { column: column()? },
            Kind::AT_DropIdentity => {
                Action::DropIdentity { column: column()?, if_exists: cmd.missing_ok }
            }
            Kind::AT_DropExpression => {
                Action::DropExpression { column: column()?, if_exists: cmd.missing_ok }
            }
            Kind::AT_AddConstraint => add_constraint(raw::cast(cmd.def))?,
            Kind::AT_DropConstraint => {
                Action::DropConstraint { name: column()?, if_exists: cmd.missing_ok, cascade }
            }
            Kind::AT_SetRelOptions => {
                Action::SetStorageParameters { names: parameters(cmd.def.cast()) }
            }
            Kind::AT_ResetRelOptions => {
                Action::ResetStorageParameters { names: parameters(cmd.def.cast()) }
            }
            _ => return Err(refused(piece.text, "a deployment does not know this action")),
        })
    }
}

fn broken() -> Error {
    Error::internal("the parser's tree of an action has not the form that is known")
}

/// # Safety
/// The definition is the parser's.
unsafe fn add_column(def: Option<&pg_sys::ColumnDef>, missing_ok: bool) -> Result<Action> {
    let def = def.ok_or_else(broken)?;
    // SAFETY: the caller's promise.
    unsafe {
        let column = raw::name(def.colname).ok_or_else(broken)?;
        if !def.fdwoptions.is_null() {
            return Err(refused("OPTIONS", "only foreign tables have them"));
        }
        let constraints = raw::members(def.constraints)
            .filter_map(|node| raw::cast::<pg_sys::Constraint, _>(node));
        let mut generated = None;
        for constraint in constraints {
            match constraint.contype {
                ConstrType::CONSTR_FOREIGN => return Err(references(&column)),
                ConstrType::CONSTR_GENERATED => generated = Some(how_generated(constraint)),
                _ => {}
            }
        }
        let serial = def.typeName.as_ref().is_some_and(|name| is_serial(name));
        Ok(Action::AddColumn { column, serial, generated, if_not_exists: missing_ok })
    }
}

/// Before 18 all generated columns are stored.
fn how_generated(constraint: &pg_sys::Constraint) -> Generated {
    #[cfg(feature = "pg18")]
    if constraint.generated_kind as u8 == pg_sys::ATTRIBUTE_GENERATED_VIRTUAL {
        return Generated::Virtual;
    }
    let _ = constraint;
    Generated::Stored
}

/// Whether the server will make a sequence for a column of this type.
///
/// # Safety
/// The type's name is the parser's.
unsafe fn is_serial(name: &pg_sys::TypeName) -> bool {
    const SERIALS: [&str; 6] =
        ["smallserial", "serial2", "serial", "serial4", "bigserial", "serial8"];
    // SAFETY: the caller's promise.
    unsafe {
        raw::only(name.names)
            .and_then(|node| raw::cast::<pg_sys::String, _>(node))
            .and_then(|word| raw::name(word.sval))
            .is_some_and(|word| SERIALS.contains(&word.as_str()))
            && !name.pct_type
    }
}

/// The expression behind USING, as written.
///
/// # Safety
/// The definition is the parser's.
unsafe fn using(def: Option<&pg_sys::ColumnDef>, piece: &Piece<'_>) -> Result<Option<String>> {
    if def.ok_or_else(broken)?.raw_default.is_null() {
        return Ok(None);
    }
    // USING is a reserved word, and the grammar has it once outside of parentheses.
    let mut depth = 0_i32;
    for (at, token) in piece.tokens.iter().enumerate() {
        if token.is('(') || token.is('[') {
            depth += 1;
        } else if token.is(')') || token.is(']') {
            depth -= 1;
        } else if depth == 0 && token.is_keyword(piece.whole, "using") {
            let (Some(first), Some(last)) = (piece.tokens.get(at + 1), piece.tokens.last()) else {
                return Err(broken());
            };
            let text = piece.whole.get(first.start..last.end).ok_or_else(broken)?;
            return Ok(Some(text.to_owned()));
        }
    }
    Err(broken())
}

/// # Safety
/// The definition is the parser's.
unsafe fn add_constraint(def: Option<&pg_sys::Constraint>) -> Result<Action> {
    let def = def.ok_or_else(broken)?;
    let kind = match def.contype {
        ConstrType::CONSTR_CHECK => ConstraintKind::Check,
        ConstrType::CONSTR_UNIQUE => ConstraintKind::Unique,
        ConstrType::CONSTR_PRIMARY => ConstraintKind::PrimaryKey,
        ConstrType::CONSTR_EXCLUSION => ConstraintKind::Exclude,
        ConstrType::CONSTR_NOTNULL => ConstraintKind::NotNull,
        ConstrType::CONSTR_FOREIGN => ConstraintKind::ForeignKey,
        _ => return Err(refused("this constraint", "a deployment does not know its kind")),
    };
    if !def.indexname.is_null() {
        return Err(refused(
            "USING INDEX",
            "an index of the live table cannot be given to its copy",
        )
        .hint("Write the columns instead; the index is built after the copy."));
    }
    // SAFETY: the caller's promise.
    let name = unsafe { raw::name(def.conname) };
    Ok(Action::AddConstraint { name, kind, not_valid: def.skip_validation })
}

/// A foreign key is made in the swap, and so has to be an action of its own.
fn references(column: &str) -> Error {
    let column = plain(column);
    Error::unsupported(format!(
        "changes cannot contain REFERENCES on column {column}: the foreign key is made in the swap"
    ))
    .hint(format!("Write it as an action of its own: ADD FOREIGN KEY ({column}) REFERENCES …"))
}

/// The names in `SET (…)` or `RESET (…)`.
///
/// # Safety
/// The list is the parser's.
unsafe fn parameters(list: *const pg_sys::List) -> Vec<String> {
    // SAFETY: the caller's promise.
    unsafe {
        raw::members(list)
            .filter_map(|node| raw::cast::<pg_sys::DefElem, _>(node))
            .filter_map(|option| {
                let name = raw::name(option.defname)?;
                Some(match raw::name(option.defnamespace) {
                    Some(space) => format!("{space}.{name}"),
                    None => name,
                })
            })
            .collect()
    }
}

/// The actions that are refused, each by its name and with the reason.
fn refusal(kind: Kind::Type) -> Option<(&'static str, &'static str)> {
    const TRIGGERS: &str = "the table keeps its triggers as they are";
    const RULES: &str = "the table keeps its rules as they are";
    const SECURITY: &str = "the table keeps its row security as it is";
    const HIERARCHY: &str = "the table keeps its place among its parents and children";
    const TYPE: &str = "the table keeps its type";
    Some(match kind {
        Kind::AT_ChangeOwner => ("OWNER TO", "the table keeps its owner"),
        Kind::AT_EnableTrig | Kind::AT_EnableTrigAll | Kind::AT_EnableTrigUser => {
            ("ENABLE TRIGGER", TRIGGERS)
        }
        Kind::AT_EnableAlwaysTrig => ("ENABLE ALWAYS TRIGGER", TRIGGERS),
        Kind::AT_EnableReplicaTrig => ("ENABLE REPLICA TRIGGER", TRIGGERS),
        Kind::AT_DisableTrig | Kind::AT_DisableTrigAll | Kind::AT_DisableTrigUser => {
            ("DISABLE TRIGGER", TRIGGERS)
        }
        Kind::AT_EnableRule => ("ENABLE RULE", RULES),
        Kind::AT_EnableAlwaysRule => ("ENABLE ALWAYS RULE", RULES),
        Kind::AT_EnableReplicaRule => ("ENABLE REPLICA RULE", RULES),
        Kind::AT_DisableRule => ("DISABLE RULE", RULES),
        Kind::AT_EnableRowSecurity => ("ENABLE ROW LEVEL SECURITY", SECURITY),
        Kind::AT_DisableRowSecurity => ("DISABLE ROW LEVEL SECURITY", SECURITY),
        Kind::AT_ForceRowSecurity => ("FORCE ROW LEVEL SECURITY", SECURITY),
        Kind::AT_NoForceRowSecurity => ("NO FORCE ROW LEVEL SECURITY", SECURITY),
        Kind::AT_AddInherit => ("INHERIT", HIERARCHY),
        Kind::AT_DropInherit => ("NO INHERIT", HIERARCHY),
        Kind::AT_AttachPartition => ("ATTACH PARTITION", HIERARCHY),
        Kind::AT_DetachPartition | Kind::AT_DetachPartitionFinalize => {
            ("DETACH PARTITION", HIERARCHY)
        }
        Kind::AT_AddOf => ("OF", TYPE),
        Kind::AT_DropOf => ("NOT OF", TYPE),
        Kind::AT_ClusterOn => ("CLUSTER ON", "the table keeps its clustering mark"),
        Kind::AT_DropCluster => ("SET WITHOUT CLUSTER", "the table keeps its clustering mark"),
        Kind::AT_SetLogged => ("SET LOGGED", "the table keeps its persistence"),
        Kind::AT_SetUnLogged => ("SET UNLOGGED", "the table keeps its persistence"),
        Kind::AT_DropOids => ("SET WITHOUT OIDS", "no table has OIDs"),
        Kind::AT_SetAccessMethod => ("SET ACCESS METHOD", "the table keeps its access method"),
        Kind::AT_SetTableSpace => ("SET TABLESPACE", "the table keeps its tablespace"),
        Kind::AT_ReplicaIdentity => {
            ("REPLICA IDENTITY", "the table keeps what it gives to replication")
        }
        Kind::AT_ValidateConstraint => {
            ("VALIDATE CONSTRAINT", "every row is checked as it is copied")
        }
        Kind::AT_AlterConstraint => {
            ("ALTER CONSTRAINT", "constraints of the new table are made as they are written")
        }
        Kind::AT_GenericOptions | Kind::AT_AlterColumnGenericOptions => {
            ("OPTIONS", "only foreign tables have them")
        }
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        Kind::AT_SetExpression => {
            ("SET EXPRESSION", "the values of a generated column follow its expression")
        }
        _ => return None,
    })
}

//! The new table with everything decided, made in the blue schema; needs no lock on the live table
//! beyond ACCESS SHARE.

use std::collections::BTreeMap;

use pgrx::PgSqlErrorCode;

use crate::blueprint::elsewhere;
use crate::blueprint::preflight::collisions;
use crate::blueprint::statistics_names;
use crate::blueprint::target::take_target;
use crate::capture;
use crate::catalog::storage::{self, Stored};
use crate::catalog::{self, Table};
use crate::ddl::{self, rights};
use crate::dependent::{self, DependentPlan, Recorded};
use crate::error::{Error, Result};
use crate::guard::intrusion;
use crate::guard::lock as guard_lock;
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::changes::Change;
use crate::model::dependent::{Dependents, ReattachedObject};
use crate::model::member::{Member, TableTree};
use crate::model::phase::Phase;
use crate::model::plan::{Arguments, Plan, RecordedConstraint, RecordedIndex};
use crate::model::progress::Progress;
use crate::model::settings::Settings;
use crate::model::version::StateVersion;
use crate::oid::{ObjectId, RelationId, RoleId};
use crate::pg::reasons::Reasons;
use crate::pg::security::{self, Identity};
use crate::pg::spi;
use crate::pg::{acl, xact};
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::mapped::Sides;
use crate::shadow::{create, mapping, obstacle, remove, schema, sequences, sift};
use crate::state::store;

/// A call of bg_prepare or bg_check.
pub(crate) struct Request {
    /// The table.
    pub source: RelationId,
    /// A hand-made target.
    pub target: Option<RelationId>,
    /// The arguments as text.
    pub arguments: Arguments,
    /// Who calls.
    pub caller: RoleId,
    /// The caller's settings that names and expressions depend on, search_path included.
    pub session: BTreeMap<String, String>,
}

/// Makes both logs, with nothing of others on them. Runs as the extension.
pub(crate) fn make_logs(member: &Member, table: &Table) -> Result<()> {
    let unlogged = table.persistence == "u";
    capture::make_logs(member, unlogged, |oid, name, key| {
        intrusion::settle(oid, name, &intrusion::wanted_log(key, unlogged)?)
    })
}

pub(crate) fn definition(table: RelationId) -> Result<serde_json::Value> {
    let _us = Identity::extension()?;
    catalog::fingerprint(table)
}

/// What the changes have made must not depend on the row type of the table that is to be replaced.
fn refuse_own_row_type(
    table: &Table,
    before: &serde_json::Value,
    reasons: &Reasons<'_>,
) -> Result<()> {
    let now = definition(table.oid)?;
    let used = now.as_object().into_iter().flatten().filter_map(|(part, _)| {
        part.strip_prefix(difference::ROW_TYPE).filter(|_| before.get(part).is_none())
    });
    for what in used {
        let table = table.qualified().plain();
        let message = format!("the changes use the row type of {table} in {what}");
        reasons.refuse(Error::unsupported(message).hint(
            "The new table has a row type of its own. Use a composite type made with CREATE TYPE instead.",
        ))?;
    }
    Ok(())
}

/// What is to be built.
pub(crate) struct Order<'a> {
    /// The live table.
    pub table: &'a Table,
    /// The call.
    pub request: &'a Request,
    /// Its changes, parsed.
    pub changes: &'a [Change],
    /// The schema that the new table comes to.
    pub blue: &'a Ident,
    /// The deployment's number.
    pub id: i64,
    /// What becomes of the reasons against it.
    pub reasons: &'a Reasons<'a>,
}

/// The new table while it is built, in a schema of its own.
struct Made {
    shadow: RelationId,
    name: QualifiedName,
    given_rights: Vec<(i16, Option<String>)>,
    watch: Watch,
    /// A hand-made target on which nothing else hangs.
    bare: bool,
}

/// The table with its changes, empty, and what was stored before them.
pub(super) struct ChangedCopy {
    pub shadow: RelationId,
    pub name: QualifiedName,
    pub before: Vec<Stored>,
}

/// What the plan has of the table as it was laid out.
struct Laid {
    meant: serde_json::Value,
    not_valid: Vec<RecordedConstraint>,
    autovacuum_enabled: Option<String>,
    indexes: Vec<RecordedIndex>,
}

/// Makes the shadow in the blue schema with everything decided. Nothing of it needs a lock on green
/// beyond ACCESS SHARE, so bg_check uses it for its trial.
///
/// Where reasons are gathered, it goes on without what was refused as long as that tells more, and then
/// ends with [`Reasons::require_none`].
// Long: the member, field by field.
pub(crate) fn build(order: &Order<'_>, settings: &Settings) -> Result<Member> {
    let &Order { table, request, blue, id, reasons, .. } = order;
    let class = guard_lock::lock_table()?;
    let of_its_type = definition(table.oid)?;
    let (mut made, mut adapted) = order.make(settings)?;
    order.change(&mut made, &mut adapted)?;
    refuse_own_row_type(table, &of_its_type, reasons)?;
    let pairs = order.with_sides(made.shadow, mapping::pairs)?;
    let mappings = reasons.part(|| order.with_sides(made.shadow, mapping::decide))?;
    let _us = Identity::extension()?;
    if request.arguments.target.is_none() {
        // A table made by hand gets it in the swap: it may have to go back to where it was.
        dependent::array_type::same_names(&[(made.shadow.into(), table.oid.into())])?;
    }
    dependent::require_supported(made.shadow, reasons)?;
    let sequences = sequences::decide(table.oid, made.shadow, &made.name, &pairs)?;
    statistics_names::require_free(table, made.shadow, (blue, id), reasons)?;
    let taken = collisions(made.shadow, table.oid, table.schema_oid, &sequences)?;
    refuse_taken_names(table, &taken, reasons)?;
    schema::require_own(&order.staging(), made.shadow)?;
    refuse_indexes_of_others(&catalog::indexes(made.shadow)?, blue, id, reasons)?;
    if !made.bare {
        // What hangs on the target would be in the way of what is carried over to it.
        reasons.require_none()?;
    }
    let dependents = order.adapt(adapted, &made, &pairs, settings)?;
    reasons.require_none()?;
    let mappings = mappings.ok_or_else(|| Error::internal("there is no mapping"))?;
    let laid = order.lay_out(&mut made, &pairs, class, settings)?;
    let mut session = request.session.clone();
    session.remove("search_path");
    if !mappings.path.is_empty() {
        session.insert("search_path".to_owned(), security::search_path(&mappings.path));
    }
    Ok(Member {
        id,
        source: table.qualified(),
        blue_schema: blue.clone(),
        origin: TableTree::plain(table.oid),
        shadow: TableTree::plain(made.shadow),
        owner: table.owner,
        phase: Phase::Prepared,
        paused: false,
        arguments: request.arguments.clone(),
        plan: Plan {
            version: StateVersion::CURRENT,
            forward: mappings.forward,
            reverse: mappings.reverse,
            indexes: laid.indexes,
            not_valid: laid.not_valid,
            pairs,
            target: request.arguments.target.clone(),
            given_rights: made.given_rights,
            sequences,
            autovacuum_enabled: laid.autovacuum_enabled,
            session,
            dependents,
            meant: laid.meant,
        },
        progress: Progress { prepared_xid: xact::current_xid(), ..Progress::default() },
        fingerprint_origin: serde_json::Value::Null,
        fingerprint_shadow: made.watch.seen,
        last_error: None,
        restored: false,
    })
}

impl Order<'_> {
    /// The schema in which the table is built.
    fn staging(&self) -> Ident {
        Ident::new(format!("bluegreen_{}", self.id))
    }

    /// Makes no more than the table with its changes, empty.
    pub(super) fn changed_copy(&self, settings: &Settings) -> Result<ChangedCopy> {
        let (mut made, mut adapted) = self.make(settings)?;
        let before = {
            let _us = Identity::extension()?;
            storage::stored(made.shadow)?
        };
        self.change(&mut made, &mut adapted)?;
        Ok(ChangedCopy { shadow: made.shadow, name: made.name, before })
    }

    /// The table as it is now, empty, or the target; with what will hang on it.
    fn make(&self, settings: &Settings) -> Result<(Made, DependentPlan)> {
        let &Self { table, request, changes, blue, id, reasons } = self;
        let staging = self.staging();
        let name = QualifiedName { schema: staging.clone(), name: table.name.clone() };
        let _us = Identity::extension()?;
        reasons.part(|| {
            if schema::check_blue(blue)? {
                schema::require_free(blue, &table.name, request.target)?;
            }
            Ok(())
        })?;
        spi::run(&ddl::schema::create(&staging), &[])?;
        catalog::require_own_schema(&staging)?;
        schema::revoke_all(&staging)?;
        spi::run(&ddl::schema::grant_create(&staging, &table.owner_name), &[])?;
        let (shadow, given_rights, bare) = match request.target {
            None => (like(table, &staging)?, Vec::new(), true),
            Some(target) => take_target(table, target, &staging, settings, reasons)?,
        };
        let mut adapted = dependent::discover(table, &staging, changes, request.target.is_some())?;
        require_alone(&mut adapted, id, reasons)?;
        let mut watch = Watch::begin(shadow, &name)?;
        adapted.mark(reasons)?;
        watch.end(&Step::Marked)?;
        if request.target.is_none() {
            reasons.part(|| create::require_same(table, shadow))?;
        }
        Ok((Made { shadow, name, given_rights, watch, bare }, adapted))
    }

    /// Applies the changes, as the owner.
    fn change(&self, made: &mut Made, adapted: &mut DependentPlan) -> Result<()> {
        for mut step in create::steps(self.changes, adapted.skipped()) {
            {
                let _us = Identity::extension()?;
                schema::require_own(&self.staging(), made.shadow)?;
            }
            let apply = |changes: &[&Change]| {
                create::apply(&made.name, changes, self.table.owner, &self.request.session)
            };
            if self.reasons.are_gathered() {
                sift::sift(&mut step, self.reasons, |changes| {
                    obstacle::applied(made.shadow, &made.name, || apply(changes))
                })?;
            }
            if step.renames {
                let _us = Identity::extension()?;
                adapted.through(made.shadow, self.reasons, || apply(&step.changes))?;
            } else {
                obstacle::applied(made.shadow, &made.name, || apply(&step.changes))?;
            }
            let _us = Identity::extension()?;
            made.watch.end(&Step::Changed(self.changes))?;
        }
        Ok(())
    }

    /// Asks, as the owner, which column gets its values from where.
    fn with_sides<T>(
        &self,
        shadow: RelationId,
        ask: impl FnOnce(&Sides<'_>) -> Result<T>,
    ) -> Result<T> {
        let &Self { table, request, changes, reasons, .. } = self;
        let _owner = Identity::table_owner(table.owner, &request.session)?;
        ask(&Sides {
            name: &table.qualified().plain(),
            origin: table.oid,
            shadow,
            changes,
            by_hand: request.target.is_some(),
            forward: &request.arguments.forward,
            reverse: &request.arguments.reverse,
            key: request.arguments.key.as_deref(),
            reasons,
        })
    }

    /// Tries out what hangs on the table, and records how it is made on the new one.
    fn adapt(
        &self,
        mut adapted: DependentPlan,
        made: &Made,
        pairs: &[(Ident, Ident)],
        settings: &Settings,
    ) -> Result<Dependents> {
        let &Made { shadow, ref name, .. } = made;
        let (reasons, session) = (self.reasons, &self.request.session);
        adapted.require_columns(pairs, reasons)?;
        adapted.try_out(shadow, reasons)?;
        adapted.require_identity(shadow, pairs, settings.lock_timeout, reasons)?;
        let blue_of = |live: &Ident| {
            let blue = schema::blue_name(live, &settings.schema_suffix)?;
            schema::check_blue(&blue)?;
            Ok(blue)
        };
        let onto = Recorded { shadow, name, pairs, session };
        let dependents = adapted.record(&onto, blue_of, reasons)?;
        // Foreign keys that the changes add; those that were there before are their owners' business.
        let added = |m: &&ReattachedObject| m.validate.is_some() && m.origin.on.is_empty();
        for moved in dependents.moves.iter().filter(added) {
            let table = moved.table.as_ref().map(catalog::relation_oid).transpose()?.flatten();
            if let Some(oid) = table {
                reasons.part(|| elsewhere::require_here(&catalog::existing_table(oid)?))?;
            }
        }
        Ok(dependents)
    }

    /// Moves the table to its schema, and takes off what comes back when it is filled.
    fn lay_out(
        &self,
        made: &mut Made,
        pairs: &[(Ident, Ident)],
        class: RelationId,
        settings: &Settings,
    ) -> Result<Laid> {
        let &Self { table, blue, .. } = self;
        let shadow = made.shadow;
        let meant = create::properties_of(shadow)?;
        let not_valid = create::take_off_not_valid(shadow, &made.name)?;
        let as_it_is = catalog::existing_table(shadow)?;
        let autovacuum_enabled = create::switch_autovacuum_off(&as_it_is, &made.name)?;
        schema::ensure_blue(blue, &table.schema, class, settings.retry_for)?;
        remove::move_to(shadow, blue)?;
        for statistics in catalog::statistics(shadow)? {
            spi::run(&ddl::statistics::set_schema(&statistics.qualified(), blue), &[])?;
        }
        spi::run(&ddl::schema::revoke(&self.staging(), &table.owner_name), &[])?;
        let name = QualifiedName { schema: blue.clone(), name: table.name.clone() };
        let indexes = create::take_off_indexes(shadow, &name)?;
        let like_green = rights::arguments(table.oid, pairs);
        acl::replace(shadow, table.owner, rights::READ_ONLY, &like_green)?;
        made.watch.name = name;
        made.watch.end(&Step::Laid)?;
        Ok(Laid { meant, not_valid, autovacuum_enabled, indexes })
    }
}

/// Refuses names of the new table's indexes and sequences that the live table's schema has already.
fn refuse_taken_names(table: &Table, taken: &[Ident], reasons: &Reasons<'_>) -> Result<()> {
    for name in taken {
        let error = Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
            format!(
                "the new table has an index or sequence {} and schema {} has a relation of that name already",
                plain(name.as_str()),
                plain(table.schema.as_str())
            ),
        )
        .hint("Give the new index, constraint or sequence another name.");
        reasons.refuse(error)?;
    }
    Ok(())
}

/// Refuses names of indexes that another deployment is going to build in the same blue schema: whichever comes
/// second would fail when its rows are copied.
fn refuse_indexes_of_others(
    indexes: &[catalog::Index],
    blue: &Ident,
    id: i64,
    reasons: &Reasons<'_>,
) -> Result<()> {
    for other in store::open()?.iter().filter(|other| other.id != id && other.blue_schema == *blue)
    {
        let taken =
            |index: &&RecordedIndex| other.plan.indexes.iter().any(|o| o.name == index.name);
        for index in indexes.iter().map(|index| &index.recorded).filter(taken) {
            let error = Error::new(
                PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
                format!(
                    "the new table has an index {} and so has the new table of {}, which has an open deployment",
                    plain(index.name.as_str()),
                    other.source.plain()
                ),
            )
            .hint("Give the new index or constraint another name, or finish or abort that deployment first.");
            reasons.refuse(error)?;
        }
    }
    Ok(())
}

/// The empty copy, with nothing of others on it.
fn like(table: &Table, staging: &Ident) -> Result<RelationId> {
    let wanted = intrusion::wanted_copy(table)?;
    let shadow = create::like(table, staging, |oid, name| intrusion::settle(oid, name, &wanted))?;
    dependent::carry_row_type(table.oid, shadow)?;
    Ok(shadow)
}

/// The new table from step to step: each does to it what it is meant to, and nothing else happens to it.
struct Watch {
    shadow: RelationId,
    name: QualifiedName,
    seen: serde_json::Value,
}

impl Watch {
    fn begin(shadow: RelationId, name: &QualifiedName) -> Result<Self> {
        Ok(Self { shadow, name: name.clone(), seen: catalog::fingerprint(shadow)? })
    }

    fn end(&mut self, step: &Step<'_>) -> Result<()> {
        let now = catalog::fingerprint(self.shadow)?;
        intrusion::require_meant(&self.name.plain(), &self.seen, &now, step)?;
        self.seen = now;
        Ok(())
    }
}

/// Refuses what two deployments would both carry, or what one would carry while the other swaps the
/// table under it. Foreign keys between them are no hindrance.
fn require_alone(adapted: &mut DependentPlan, id: i64, reasons: &Reasons<'_>) -> Result<()> {
    let touches = adapted.touches()?;
    if touches.is_empty() {
        return Ok(());
    }
    for other in store::open()?.iter().filter(|member| member.id != id) {
        let copies = other.plan.dependents.copies.iter().map(|c| c.origin);
        let twins = other.progress.twins.iter().flat_map(|t| [Some(t.origin), t.shadow]);
        let theirs: Vec<ObjectId> =
            copies.chain(twins.flatten()).chain(other.relations().map(ObjectId::from)).collect();
        for (title, _) in touches.iter().filter(|(_, oid)| theirs.contains(oid)) {
            let error = Error::state(format!(
                "{title} also belongs to {}, which has an open deployment",
                other.source.plain()
            ))
            .hint("Finish or abort that deployment first; see bg_status().");
            reasons.refuse(error)?;
            adapted.leave_out(title);
        }
    }
    Ok(())
}

/*
 * What src/pg and src/heap declare by hand of the server, compared with its headers. build.rs lets the compiler read
 * this for the version that is built; nothing of it is linked. A declaration that does not agree is an error here
 * before it is a crash there.
 */
#include "postgres.h"

#include "access/nbtxlog.h"
#include "catalog/toasting.h"
#include "executor/nodeModifyTable.h"
#include "storage/predicate_internals.h"
#include "tcop/tcopprot.h"
#include "utils/datum.h"

/* Each function can be called as it is declared there. */
bool		(*const of_datum_rs) (Datum, Datum, bool, int) = datum_image_eq;
void		(*const of_worker_rs) (int) = die;
PredicateLockData *(*const of_lock_rs) (void) = GetPredicateLockStatusData;
void		(*const of_bulk_rs) (ResultRelInfo *, EState *, TupleTableSlot *, CmdType) = ExecComputeStoredGenerated;
void		(*const of_toast_table_rs) (Oid, Datum, LOCKMODE) = AlterTableCreateToastTable;

/* lock.rs: PredicateLocks. */
StaticAssertDecl(offsetof(PredicateLockData, nelements) == 0, "PredicateLocks.count");
StaticAssertDecl(sizeof(((PredicateLockData *) NULL)->nelements) == sizeof(int), "PredicateLocks.count");
StaticAssertDecl(offsetof(PredicateLockData, locktags) == sizeof(void *), "PredicateLocks.targets");
StaticAssertDecl(sizeof(PREDICATELOCKTARGETTAG) == 4 * sizeof(uint32), "PredicateLocks.targets");
StaticAssertDecl(offsetof(PREDICATELOCKTARGETTAG, locktag_field1) == 0, "the database of a predicate lock");
StaticAssertDecl(offsetof(PREDICATELOCKTARGETTAG, locktag_field2) == 4, "the relation of a predicate lock");

/* snapshot.rs: ReusedPage, REUSE_PAGE. */
StaticAssertDecl(XLOG_BTREE_REUSE_PAGE == 0xD0, "REUSE_PAGE");
StaticAssertDecl(offsetof(xl_btree_reuse_page, block) == 12, "ReusedPage.block");
#if PG_VERSION_NUM >= 160000
StaticAssertDecl(offsetof(xl_btree_reuse_page, locator) == 0, "ReusedPage.space");
StaticAssertDecl(offsetof(RelFileLocator, spcOid) == 0, "ReusedPage.space");
StaticAssertDecl(offsetof(RelFileLocator, dbOid) == 4, "ReusedPage.database");
StaticAssertDecl(offsetof(RelFileLocator, relNumber) == 8, "ReusedPage.table");
StaticAssertDecl(offsetof(xl_btree_reuse_page, snapshotConflictHorizon) == 16, "ReusedPage.horizon");
StaticAssertDecl(offsetof(xl_btree_reuse_page, isCatalogRel) == 24, "ReusedPage.is_catalog");
StaticAssertDecl(SizeOfBtreeReusePage == 25, "the length of ReusedPage");
#else
StaticAssertDecl(offsetof(xl_btree_reuse_page, node) == 0, "ReusedPage.space");
StaticAssertDecl(offsetof(RelFileNode, spcNode) == 0, "ReusedPage.space");
StaticAssertDecl(offsetof(RelFileNode, dbNode) == 4, "ReusedPage.database");
StaticAssertDecl(offsetof(RelFileNode, relNode) == 8, "ReusedPage.table");
StaticAssertDecl(offsetof(xl_btree_reuse_page, latestRemovedFullXid) == 16, "ReusedPage.horizon");
StaticAssertDecl(SizeOfBtreeReusePage == 24, "the length of ReusedPage");
#endif

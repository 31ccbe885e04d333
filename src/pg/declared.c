/*
 * What src/pg, src/heap and src/model declare by hand of the server, compared with its headers. build.rs lets the
 * compiler read this for the version that is built; nothing of it is linked. A declaration that does not agree is an
 * error here before it is a crash there.
 */
#include "postgres.h"

#include <signal.h>

#include "access/hio.h"
#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "access/transam.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "catalog/toasting.h"
#include "common/keywords.h"
#include "executor/nodeModifyTable.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
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

/* buffer_strategy.rs: the ring is put where a bulk insert's state begins. */
StaticAssertDecl(offsetof(BulkInsertStateData, strategy) == 0, "the strategy of a bulk insert");
StaticAssertDecl(sizeof(((BulkInsertStateData *) NULL)->strategy) == sizeof(void *), "the strategy of a bulk insert");

/* opclass.rs: EQUAL_IMAGE. */
StaticAssertDecl(BTEQUALIMAGE_PROC == 4, "EQUAL_IMAGE");

/* names.rs: RESERVED, a byte for each key word. */
StaticAssertDecl(RESERVED_KEYWORD == 3, "RESERVED");
StaticAssertDecl(sizeof(ScanKeywordCategories[0]) == 1, "the category of a key word");

/* witness.rs: CLASS, and the classes that are no errors. */
StaticAssertDecl(ERRCODE_TO_CATEGORY(~0U) == (1 << 12) - 1, "CLASS");
StaticAssertDecl(ERRCODE_TO_CATEGORY(ERRCODE_SUCCESSFUL_COMPLETION) == 0, "NO_ERROR");
StaticAssertDecl(ERRCODE_TO_CATEGORY(ERRCODE_WARNING) == 1 << 6, "WARNING");
StaticAssertDecl(ERRCODE_TO_CATEGORY(ERRCODE_NO_DATA) == 2 << 6, "NO_DATA");

/* worker.rs, xact.rs: the signals. */
StaticAssertDecl(SIGTERM == 15, "SIGTERM");
StaticAssertDecl(SIGKILL == 9, "SIGKILL");

/* item.rs: numbers that stand in stored trees. */
StaticAssertDecl(RTE_RELATION == 0, "the rtekind of a relation");
StaticAssertDecl(RTE_FUNCTION == 3, "FUNCTION");
StaticAssertDecl(COERCE_EXPLICIT_CAST == 1 && COERCE_IMPLICIT_CAST == 2, "the funcformat of a cast");
StaticAssertDecl(PARAM_SUBLINK == 2, "the paramkind of a sublink");
StaticAssertDecl(REGCLASSOID == 2205, "REGCLASS");
StaticAssertDecl(REGPROCOID == 24 && REGPROCEDUREOID == 2202, "REGPROC");
StaticAssertDecl(REGTYPEOID == 2206, "REGTYPE");
StaticAssertDecl(FirstNormalObjectId == 16384, "FIRST_OF_USERS");

/*
 * row.rs, generated.rs: the columns of a descriptor. No constant can tell that in 18 the attributes follow as many
 * compact ones as there are columns (TupleDescAttrAddress of tupdesc.h): their number is known only when it runs.
 */
StaticAssertDecl(sizeof(((TupleDesc) NULL)->natts) == sizeof(int), "natts");
#if PG_VERSION_NUM >= 180000
StaticAssertDecl(offsetof(TupleDescData, compact_attrs) == sizeof(TupleDescData), "compact_attrs are the last");
StaticAssertDecl(sizeof(((TupleDesc) NULL)->compact_attrs[0]) == sizeof(CompactAttribute), "compact_attrs");
StaticAssertDecl(_Alignof(FormData_pg_attribute) <= _Alignof(CompactAttribute), "no gap behind compact_attrs");
StaticAssertDecl(sizeof(((CompactAttribute *) NULL)->attgenerated) == sizeof(bool), "attgenerated of compact_attrs");
FormData_pg_attribute *(*const of_row_rs) (TupleDesc, int) = TupleDescAttr;
#else
StaticAssertDecl(offsetof(TupleDescData, attrs) == sizeof(TupleDescData), "attrs are the last");
StaticAssertDecl(sizeof(((TupleDesc) NULL)->attrs[0]) == sizeof(FormData_pg_attribute), "attrs");
#endif

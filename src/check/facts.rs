//! What is known of the table before anything is made.

use crate::catalog::dependent::{Published, UnsupportedDependent};
use crate::catalog::event_trigger::EventTrigger;
use crate::catalog::row_type::RowTypeUser;
use crate::catalog::{ChangingCheck, Column, Statistics, Table};
use crate::model::changes::Change;
use crate::model::server_load::Volume;

/// What is known of the table before anything is made.
pub(crate) struct Facts {
    /// The table.
    pub table: Table,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its extended statistics.
    pub statistics: Vec<Statistics>,
    /// What hangs on it and cannot be carried over.
    pub strangers: Vec<UnsupportedDependent>,
    /// The changes asked for.
    pub changes: Vec<Change>,
    /// Event triggers that our DDL would fire.
    pub event_triggers: Vec<EventTrigger>,
    /// Functions that use its row type.
    pub row_type_users: Vec<RowTypeUser>,
    /// Standbys are connected, or may be.
    pub has_standby: bool,
    /// Publications that send the table, by its own name or by its schema's.
    pub publications: Vec<Published>,
    /// Where its rows are, and who else knows it.
    pub seen: Seen,
    /// CHECK constraints whose result may change by itself.
    pub changing_checks: Vec<ChangingCheck>,
    /// The volumes to which the copy will write.
    pub volumes: Vec<Volume>,
}

/// What was seen of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// What the server reads instead of the table, and whose that is.
    pub read: Option<(String, Option<String>)>,
    /// Tables of extensions that hold its OID: the extension, the table with the column.
    pub held: Vec<(String, String)>,
}

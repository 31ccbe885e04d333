//! Writers that account for what they do.
//!
//! Client threads work on a table, in random transactions, while something is done to it. Each
//! transaction enters its effect on the table's sums (how many rows, sums over keys and over hashes
//! of the columns and of whole rows) in a ledger, in the same transaction. So whatever happened, to
//! clients and to the server, `initial + sum(ledger) = the table`, or a committed write was lost,
//! doubled or mixed up. A transaction whose commit was not answered needs no special care: it
//! counts when its ledger entry is there.
//!
//! ```no_run
//! use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER};
//! use bluegreen_tests::journal::{self, Schema, Workload, Writers};
//!
//! # fn main() -> anyhow::Result<()> {
//! # let cluster = Cluster::start(&Options::default())?;
//! let mut admin = cluster.connect(SUPERUSER, "postgres")?;
//! let schema = Schema::users();              // what the writers write; a table that is there
//! journal::open(&mut admin, &schema, "app")?; // ledger with the table's sums, functions, grants
//! let writers = Writers::start(
//!     &cluster.config("app", "postgres"),
//!     &schema,
//!     &Workload { writers: 8, ..Workload::default() },
//! )?;
//! writers.phase("swap");                     // from here on stalls are counted under this name
//! // … bg_swap …
//! writers.pause();                           // nobody is in a transaction when it returns
//! journal::balance(&mut admin, &schema)?.check()?;
//! writers.go_on();
//! let report = writers.stop();
//! report.check()?;                           // no client had an error
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! No client may get an error, so the transactions are made so that none comes from themselves: row
//! locks are taken in one order and values of unique columns are moved only between rows that are
//! locked ([`transaction`] has the rules). TRUNCATE is entered as the negative of everything that
//! the ledger holds once the lock is there: see [`ledger`].

pub mod ledger;
pub mod random;
pub mod report;
pub mod schema;
pub mod session;
pub mod sums;
pub mod transaction;
pub mod voice;
mod writer;
pub mod writers;

pub use ledger::{Balance, balance, open};
pub use report::{Problem, Report, Stall};
pub use schema::{Column, Schema, Shape};
pub use sums::Sums;
pub use voice::Voice;
pub use writers::{Errors, Isolation, Workload, Writers};

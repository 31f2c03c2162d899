//! Conveyor's tasks in a SQLite file: durable, with nothing to install, for several processes on one
//! machine.
//!
//! ```
//! # futures::executor::block_on(async {
//! use conveyor_sqlite::SqliteStore;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tasks.db");
//! let store = SqliteStore::open(path).await?;
//! // Manager::builder().store(Arc::new(store))
//! # drop(store);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! There is no runtime in here, and no engine: each call goes to a thread of the store's own, which
//! makes all calls that wait in one transaction. How much a commit survives is [`Synchronous`]'s to
//! choose, and the store tells it as it is.
//!
//! The tables' names begin with `conveyor_`, so they may lie in a database of your own. Its disk
//! must be the machine's: SQLite's locks do not work over a network.

#![forbid(unsafe_code)]

mod claim;
mod columns;
mod connect;
mod counts;
mod enqueue;
mod entry;
mod error;
mod inspect;
#[cfg(feature = "sqlx")]
mod lent;
mod look;
mod maintain;
mod migrate;
mod options;
mod plant;
mod queue;
mod reader;
mod schedule;
mod settle;
mod sql;
mod step;
mod store;
mod wake;
mod watch;
mod writer;

pub use options::{SqliteOptions, Synchronous};
pub use store::SqliteStore;

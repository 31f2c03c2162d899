//! [`PostgresStore`]: Conveyor's tasks in PostgreSQL.
#![forbid(unsafe_code)]

mod claim;
mod connection;
mod convert;
mod driver;
mod durability;
mod enqueue;
mod error;
mod inspect;
mod lanes;
mod maintain;
mod migrate;
mod options;
mod schedule;
mod settle;
mod sql;
mod store;
mod transaction;
mod wake;
mod worker;

pub use options::PostgresOptions;
pub use store::PostgresStore;

//! The suite that every [`Store`](conveyor_core::Store) must pass:
//! [`store_suite!`](crate::store_suite!).
//!
//! A case knows a store only by its contract, and its [`StoreHarness`]. It lets time pass in steps
//! of the harness's choice and waits for nothing else, so it is the same for a store with a clock
//! that is moved by hand and for a server's.
//!
//! `docs/writing_a_store.md` tells how to use it.

#[doc(hidden)]
pub mod cases;
mod harness;
mod list;
#[doc(hidden)]
pub mod model;
#[cfg(conveyor_plant)]
#[doc(hidden)]
pub mod plants;
mod run;
mod setup;
mod task;
#[cfg(test)]
mod tests;
mod transaction;
mod verdict;

pub use harness::{ManualClock, StoreHarness, StoreOptions};
#[doc(hidden)]
pub use run::{Case, Suite, check_list, run};
pub use transaction::SuiteTransaction;

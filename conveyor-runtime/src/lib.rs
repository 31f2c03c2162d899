//! The engine of Conveyor: it claims tasks from a store, executes them, and settles how they ended.
//!
//! It is written once over [`conveyor_core::Runtime`]: nothing here spawns a thread, reads a clock
//! or names an executor, but the implementations in `runtimes`, behind a feature each. Depend on
//! the facade crate `conveyor` instead of this one.
//!
//! The life of a task is a module each: `enqueue`, `claim`, `execute`, `settle`, and `maintain`
//! beside them.
#![forbid(unsafe_code)]

mod build_error;
mod builder;
mod claim;
mod consumer;
mod door;
mod engine;
mod enqueue;
mod execute;
mod explain;
mod idle;
mod inspect;
mod lease;
mod line;
#[cfg(all(loom, test))]
mod loom_tests;
mod maintain;
mod manager;
mod metrics;
mod permits;
mod phase;
mod pool;
mod producer;
mod quarantine;
mod register;
mod registry;
mod restart;
pub mod runtimes;
mod seat;
mod settle;
mod shutdown;
mod signals;
mod sync;
mod verdict;
mod wait;
mod waiters;

pub use build_error::BuildError;
pub use builder::{ManagerBuilder, PoolSize};
pub use explain::{ExplainError, Explanation, Reason};
pub use inspect::{Cursor, CursorError, Inspect, InspectError, TaskPage};
pub use manager::{ControlError, Manager, RunError, ShutdownError, StartError};
pub use metrics::Metrics;
pub use shutdown::ShutdownReport;

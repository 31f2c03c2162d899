//! The contracts and data structures of Conveyor.
//!
//! This crate has no runtime, does no I/O, reads no clock and has no unsafe code; a check in the
//! project's test command keeps it so. It is what the author of a [`Store`] or a [`Runtime`]
//! depends on; users depend on the facade crate `conveyor`.
//!
//! - **Contracts**: [`Worker`] and [`worker::Handler`], [`Store`], [`Runtime`], [`codec::Codec`].
//! - **Values**: [`Task`], [`Outcome`], [`End`], [`TaskState`] with the one table of legal moves,
//!   [`Fence`], [`Schedule`], [`Backoff`], [`Timestamp`].
//! - **Data structures**: [`lanes`], [`delay`], [`dedup`], and the [`MemoryStore`] made of them.
#![forbid(unsafe_code)]

pub mod codec;
pub mod context;
pub mod dedup;
pub mod delay;
pub mod error;
pub mod id;
pub mod lanes;
pub mod memory;
pub mod metrics;
pub mod name;
pub mod outcome;
pub mod payload;
#[doc(hidden)]
pub mod plant;
pub mod priority;
pub mod receipt;
pub mod retention;
pub mod retry;
pub mod runtime;
pub mod schedule;
pub mod state;
pub mod states;
pub mod store;
mod sync;
pub mod task;
pub mod time;
pub mod transaction;
pub mod worker;

pub use context::{Cancelled, Context};
pub use error::{Error, Result};
pub use id::{Fence, Incarnation, TaskId};
pub use memory::MemoryStore;
pub use metrics::Counts;
pub use name::{Key, Kind, NameError, QueueName};
pub use outcome::{End, IntoOutcome, Outcome};
pub use payload::Payload;
pub use priority::Priority;
pub use receipt::{EnqueueError, Receipt, WaitError};
pub use retention::{Retention, RetentionByEnd};
pub use retry::Backoff;
pub use runtime::Runtime;
pub use schedule::{Missed, Overlap, Schedule};
pub use state::TaskState;
pub use states::State;
pub use store::Store;
pub use task::{AnyTask, IntoTask, Task, TaskType};
pub use time::Timestamp;
pub use transaction::SettleError;
pub use worker::{Definition, Worker};

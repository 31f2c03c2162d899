//! Typed background tasks for Rust services.
#![forbid(unsafe_code)]

pub use conveyor_core::{
    AnyTask, Backoff, Cancelled, Context, Counts, Definition, End, EnqueueError, Error, Fence,
    Incarnation, IntoOutcome, IntoTask, Key, Kind, Missed, NameError, Outcome, Overlap, Payload,
    Priority, QueueName, Receipt, Result, Runtime, Schedule, State, Store, Task, TaskId, TaskState,
    TaskType, Timestamp, WaitError, Worker,
};
#[cfg(feature = "macros")]
pub use conveyor_macros::{Task, worker};

#[doc(hidden)]
pub mod __private;

//! Typed background tasks for Rust services.
#![forbid(unsafe_code)]

pub use conveyor_core::codec::{Codec, CodecError, Json};
pub use conveyor_core::store::{
    CancelReply, Durability, Filter, Page, StoreError, StoreErrorKind, TaskInfo,
};
pub use conveyor_core::{
    AnyTask, Backoff, Cancelled, Context, Counts, Definition, End, EnqueueError, Error, Fence,
    Incarnation, IntoOutcome, IntoTask, Key, Kind, MemoryStore, Missed, NameError, Outcome,
    Overlap, Payload, Priority, QueueName, Receipt, Result, Retention, Runtime, Schedule, State,
    Store, Task, TaskId, TaskState, TaskType, Timestamp, WaitError, Worker,
};
#[cfg(feature = "macros")]
pub use conveyor_macros::{Task, worker};
#[cfg(feature = "tokio")]
pub use conveyor_runtime::runtimes::TokioRuntime;
pub use conveyor_runtime::{
    BuildError, ControlError, Manager, ManagerBuilder, Metrics, PoolSize, RunError, ShutdownError,
    ShutdownReport, StartError,
};

/// What nearly every user of Conveyor needs: `use conveyor::prelude::*`.
pub mod prelude {
    pub use crate::{
        Backoff, Context, End, Manager, Outcome, Priority, Schedule, State, Task, Worker,
    };
}

#[doc(hidden)]
pub mod __private;

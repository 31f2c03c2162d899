//! The contracts and data structures of Conveyor.
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
pub mod priority;
pub mod receipt;
pub mod retry;
pub mod runtime;
pub mod schedule;
pub mod state;
pub mod states;
pub mod store;
pub mod task;
pub mod time;
pub mod worker;

pub use context::{Cancelled, Context};
pub use error::{Error, Result};
pub use id::{Fence, Incarnation, TaskId};
pub use memory::{MemoryStore, Retention};
pub use metrics::Counts;
pub use name::{Key, Kind, NameError, QueueName};
pub use outcome::{End, IntoOutcome, Outcome};
pub use payload::Payload;
pub use priority::Priority;
pub use receipt::{EnqueueError, Receipt, WaitError};
pub use retry::Backoff;
pub use runtime::Runtime;
pub use schedule::{Missed, Overlap, Schedule};
pub use state::TaskState;
pub use states::State;
pub use store::Store;
pub use task::{AnyTask, IntoTask, Task, TaskType};
pub use time::Timestamp;
pub use worker::{Definition, Worker};

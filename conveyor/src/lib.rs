//! Typed background tasks for Rust services: annotate functions, build a [`Manager`], and have
//! tasks with priorities, schedules, deduplication, retries, timeouts and graceful shutdown.
//!
//! ```
//! use std::time::Duration;
//! use conveyor::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Email {
//!     to: String,
//! }
//!
//! struct Smtp {
//!     host: &'static str,
//! }
//!
//! // Every function becomes a kind of task, with its own policies.
//! #[conveyor::worker(queue = "mail", retries = 5, backoff = "1s..10m", timeout = "30s")]
//! async fn send_email(email: Email, smtp: State<Smtp>) -> conveyor::Result<()> {
//!     println!("to {} by {}", email.to, smtp.host);
//!     Ok(())
//! }
//!
//! // A schedule makes a task at every tick, once in the whole cluster.
//! #[conveyor::worker(interval = "5s", priority = high)]
//! async fn refresh_cache(ctx: Context) {
//!     println!("refreshed by {}", ctx.id());
//! }
//!
//! #[tokio::main]
//! async fn main() -> conveyor::Result<()> {
//!     let manager = Manager::builder()
//!         .state(Smtp { host: "localhost" })
//!         .register(send_email)
//!         .register(refresh_cache)
//!         .consumers(16)
//!         .build()?; // Everything that can be checked is checked here.
//!     manager.start().await?;
//!
//!     let email = Email { to: "ada@example.com".to_owned() };
//!     let task = send_email.task(email).key("welcome:ada").priority(Priority::HIGH);
//!     let receipt = manager.enqueue(task).await?;
//!     assert_eq!(receipt.wait().await?, End::Succeeded);
//!
//!     manager.shutdown(Duration::from_secs(30)).await?; // Or `manager.run()`: until Ctrl-C.
//!     Ok(())
//! }
//! ```
//!
//! # What it promises
//!
//! - **At least once.** A task that was accepted reaches an [`End`], within what the store says of
//!   its [`Durability`]. A panic, a timeout or a bad payload touches its own task alone.
//! - **A key is held by the live task**, through delays, retries and snoozes, and is free the moment
//!   it ends: [`EnqueueError::Duplicate`] names the holder.
//! - **Order** is by [`Priority`], then due time, then age; but one claim in sixteen goes to the
//!   oldest task, so none starves.
//! - **An error costs a retry; a shutdown costs nothing**: what did not finish is handed back.
//! - **A schedule fires each instant once**, also across changes of the clocks.
//!
//! # The store is one line
//!
//! ```no_run
//! # #[cfg(all(feature = "sqlite", feature = "postgres"))]
//! # async fn example() -> conveyor::Result<()> {
//! # use std::sync::Arc;
//! # use conveyor::{Manager, postgres::PostgresStore, sqlite::SqliteStore};
//! Manager::builder(); // In memory.
//! Manager::builder().store(Arc::new(SqliteStore::open("tasks.db").await?)); // In a file.
//! Manager::builder().store(Arc::new(PostgresStore::open("postgres://…").await?)); // On a server.
//! # Ok(())
//! # }
//! ```
//!
//! In a file or on a server tasks survive their process, and several processes share them. There a
//! handler can also write in a transaction of its own and end its task in it, by
//! [`Context::settle_in`], so that its effect happens exactly once; [`Manager::enqueue_in`] makes
//! tasks in one. The example `indexer` does so: killed and started again, it goes on.
//!
//! # Who decides
//!
//! Queue, priority and key are fixed when a task is enqueued: by the task, else its type
//! (`#[derive(Task)]`), else its worker, else the manager's defaults. Timeout, retries and backoff
//! are the task's if it says so, else the worker's that runs it, else its manager's defaults.
//!
//! # Handlers that compute or block
//!
//! A consumer runs its handler in place. A handler that computes for long, or calls something that
//! blocks, holds up a thread of the runtime: mark the function `blocking`, or use
//! [`Context::spawn_blocking`]. Other tasks go on all the same, as far as there are threads.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `tokio` | yes | `TokioRuntime`, the default runtime |
//! | `smol` | no | `SmolRuntime`, the default if `tokio` is off |
//! | `postgres` | no | [`postgres`]: tasks in PostgreSQL, for processes on any machines, and tasks in transactions of sqlx's |
//! | `sqlite` | no | [`sqlite`]: tasks in a file, for several processes on one machine |
//! | `sqlx` | no | tasks in transactions of sqlx's, with the stores that can |
//! | `macros` | yes | [`worker`](macro@worker) and [`derive(Task)`](derive@Task) |
//!
//! With both runtimes on, tokio is the default, unless the builder is told otherwise. Without one, give the builder one by
//! [`runtime`](ManagerBuilder::runtime); without `macros`, write a [`Worker`] by hand. The
//! deterministic simulator for tests of your own workers is the crate `conveyor-testkit`.
#![forbid(unsafe_code)]

pub use conveyor_core::codec::{Codec, CodecError, Json};
pub use conveyor_core::store::{
    AttemptEnd, CancelReply, Durability, Filter, OtherStore, Page, PastAttempt, StoreError,
    StoreErrorKind, StoreTransaction, TaskInfo,
};
pub use conveyor_core::{
    AnyTask, Backoff, Cancelled, Context, Counts, Definition, End, EnqueueError, Error, Fence,
    Incarnation, IntoOutcome, IntoTask, Key, Kind, MemoryStore, Missed, NameError, Outcome,
    Overlap, Payload, Priority, QueueName, Receipt, Result, Retention, Runtime, Schedule,
    SettleError, State, Store, Task, TaskId, TaskState, TaskType, Timestamp, WaitError, Worker,
};
#[cfg(feature = "macros")]
pub use conveyor_macros::{Task, worker};
#[cfg(feature = "smol")]
pub use conveyor_runtime::runtimes::SmolRuntime;
#[cfg(feature = "tokio")]
pub use conveyor_runtime::runtimes::TokioRuntime;
pub use conveyor_runtime::{
    BuildError, ControlError, Cursor, CursorError, ExplainError, Explanation, Inspect,
    InspectError, Manager, ManagerBuilder, Metrics, PoolSize, Reason, RunError, ShutdownError,
    ShutdownReport, StartError, TaskPage,
};

/// Tasks in PostgreSQL: `.store(Arc::new(PostgresStore::open("postgres://…").await?))`.
#[cfg(feature = "postgres")]
pub mod postgres {
    pub use conveyor_postgres::{PostgresOptions, PostgresStore};
}

/// Tasks in a SQLite file: `.store(Arc::new(SqliteStore::open("tasks.db").await?))`.
#[cfg(feature = "sqlite")]
pub mod sqlite {
    pub use conveyor_sqlite::{SqliteOptions, SqliteStore, Synchronous};
}

/// What nearly every user of Conveyor needs: `use conveyor::prelude::*`.
pub mod prelude {
    pub use crate::{
        Backoff, Context, End, Manager, Outcome, Priority, Schedule, State, Task, Worker,
    };
}

#[doc(hidden)]
pub mod __private;

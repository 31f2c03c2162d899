//! [`Runtime`]: what the engine asks of an async runtime.
//!
//! A runtime is a value that is handed over, never guessed. The contract is small: spawn, wait,
//! tell the time, draw a random number. Everything else the engine builds itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::time::{Instant, Timestamp};

/// A future behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What can tell the time.
pub trait Clock: Send + Sync + 'static {
    /// Now, monotonic: never before what an earlier call said.
    fn now(&self) -> Instant;

    /// Now, by the wall clock, which may jump.
    fn wall(&self) -> Timestamp;
}

/// An async runtime: production has tokio and smol, tests have a simulator.
pub trait Runtime: Clock {
    /// The runtime's name, for logs: `tokio`.
    fn name(&self) -> &'static str;

    /// Runs `future` until it is done or aborted, apart from the caller.
    ///
    /// A panic in it is caught and told by the handle; it reaches no other task.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle;

    /// Runs `future` on a thread of its own, where handlers that block every thread of the runtime
    /// cannot hold it up. A runtime without threads runs it as [`Runtime::spawn`] does.
    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle;

    /// Runs `work` where it may block. An abort keeps it from starting, but cannot stop it.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle;

    /// A future that is ready at `deadline`, and never before. Dropping it takes the timer back.
    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()>;

    /// 64 random bits; from a seed where runs must repeat.
    fn random(&self) -> u64;

    /// A future that is ready when the process is asked to stop: Ctrl-C or SIGTERM.
    fn stop_signal(&self) -> BoxFuture<'static, std::io::Result<StopSignal>>;
}

/// How a process was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopSignal {
    /// Ctrl-C (SIGINT).
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Interrupt => "Ctrl-C",
            StopSignal::Terminate => "SIGTERM",
        })
    }
}

/// What a runtime does to a task that it spawned.
pub trait Joinable: Send + Sync {
    /// Asks for the task to be dropped at its next wait. Does nothing to one that is done.
    fn abort(&self);

    /// Whether the task is done or dropped, and how.
    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>>;
}

/// Waits for a spawned task, or aborts it. Dropping the handle lets the task run on.
pub struct JoinHandle(Box<dyn Joinable>);

impl JoinHandle {
    /// A handle for a task of a runtime.
    pub fn new(joinable: impl Joinable + 'static) -> Self {
        JoinHandle(Box::new(joinable))
    }

    /// Asks for the task to be dropped at its next wait.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl Future for JoinHandle {
    type Output = Result<(), JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_join(cx)
    }
}

impl fmt::Debug for JoinHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle")
    }
}

/// Why a spawned task did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It panicked, with this text.
    #[error("the task panicked: {0}")]
    Panicked(String),
    /// It was aborted.
    #[error("the task was aborted")]
    Aborted,
}

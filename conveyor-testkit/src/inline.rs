//! [`InlineRuntime`]: enough of a runtime for one handler at a time, on any executor.

use std::fmt;
use std::future::{self, Future};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use conveyor_core::runtime::{
    BoxFuture, Clock, JoinError, JoinHandle, Joinable, Runtime, StopSignal,
};
use conveyor_core::time::{Instant, Timestamp};
use conveyor_core::worker::catch_panic;

use crate::sim::{DEFAULT_WALL, Random, VirtualClock};

/// A runtime that nobody drives: whoever polls a sleep moves the clock to its end.
pub(crate) struct InlineRuntime {
    clock: Arc<VirtualClock>,
    random: Mutex<Random>,
}

impl InlineRuntime {
    pub(crate) fn new() -> Self {
        InlineRuntime {
            clock: Arc::new(VirtualClock::new(DEFAULT_WALL)),
            random: Mutex::new(Random::new(0)),
        }
    }
}

impl Clock for InlineRuntime {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }
}

impl Runtime for InlineRuntime {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn spawn(&self, name: &'static str, _: BoxFuture<'static, ()>) -> JoinHandle {
        panic!(
            "the task {name:?} cannot be spawned: a context of `context()` has no tasks beside the \
             handler; make it by `sim.context()` in a simulation"
        )
    }

    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        self.spawn(name, future)
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle {
        JoinHandle::new(Ran(catch_panic(work).map_err(JoinError::Panicked)))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Skip { clock: Arc::clone(&self.clock), deadline, yielded: false })
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        Box::pin(future::pending())
    }
}

impl fmt::Debug for InlineRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InlineRuntime")
    }
}

/// Moves the clock to its deadline the second time it is polled: whatever is polled beside it and
/// is ready by then wins.
struct Skip {
    clock: Arc<VirtualClock>,
    deadline: Instant,
    yielded: bool,
}

impl Future for Skip {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.deadline {
            return Poll::Ready(());
        }
        if self.deadline == Instant::FAR_FUTURE {
            return Poll::Pending;
        }
        if !self.yielded {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.clock.advance_to(self.deadline);
        Poll::Ready(())
    }
}

/// The handle of work that ran when it was spawned.
struct Ran(Result<(), JoinError>);

impl Joinable for Ran {
    fn abort(&self) {}

    fn poll_join(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        Poll::Ready(self.0.clone())
    }
}

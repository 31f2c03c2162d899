//! [`SimRuntime`]: the simulator as the code under test sees it.

use std::fmt;
use std::io;
use std::sync::Arc;

use conveyor_core::runtime::{BoxFuture, Clock, JoinHandle, Runtime, StopSignal};
use conveyor_core::time::{Instant, Timestamp};

use super::executor::{Executor, lock};
use super::process::Owner;
use super::timers::Sleep;

/// The runtime of a simulation, or of one [`Process`](super::Process) in it. Cloning it is cheap;
/// [`Sim::runtime`](super::Sim::runtime) and [`Process::runtime`](super::Process::runtime) give one.
///
/// It has one thread, so [`spawn_dedicated`](Runtime::spawn_dedicated) is
/// [`spawn`](Runtime::spawn), and [`spawn_blocking`](Runtime::spawn_blocking) runs the work in one
/// step of a task. After the end of its simulation nothing runs on it any more: what is spawned is
/// dropped and counts as aborted.
///
/// Its wakers may be called from other threads, but then the order of tasks hangs on the timing of
/// those threads and no longer on the seed alone; and a simulation does not wait for other threads:
/// with nothing ready and no timer set, it tells a deadlock.
#[derive(Clone)]
pub struct SimRuntime {
    pub(super) executor: Arc<Executor>,
    pub(super) owner: Arc<Owner>,
}

impl Clock for SimRuntime {
    fn now(&self) -> Instant {
        self.executor.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.owner.wall(self.executor.clock.wall())
    }
}

impl Runtime for SimRuntime {
    fn name(&self) -> &'static str {
        "simulator"
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        self.executor.spawn(&self.owner, name, future)
    }

    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        self.spawn(name, future)
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle {
        self.spawn("blocking", Box::pin(async move { work() }))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        Box::pin(Sleep::new(Arc::clone(&self.executor), deadline))
    }

    fn random(&self) -> u64 {
        lock(&self.owner.random).next_u64()
    }

    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        let listener = self.owner.stop.listen();
        Box::pin(async move { Ok(listener.await) })
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.executor.seed;
        write!(f, "SimRuntime(seed {seed}, at {:?})", self.executor.clock.elapsed())
    }
}

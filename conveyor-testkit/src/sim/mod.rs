//! The simulator: [`simulate`], [`Simulation`] and the test's own handle, [`Sim`].

mod clock;
mod executor;
mod process;
mod random;
mod runtime;
mod signal;
mod simulation;
mod task;
mod timers;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::Runtime;
use conveyor_core::runtime::{Clock, JoinHandle, StopSignal};
use conveyor_core::time::{Instant, Timestamp};

pub use process::Process;
pub use random::Random;
pub use runtime::SimRuntime;
pub use simulation::{Simulation, simulate};

pub(crate) use clock::{DEFAULT_WALL, VirtualClock};

use executor::lock;
use timers::Sleep;

/// The test's hold on its simulation: it moves time, sends signals, and counts what is left.
///
/// Cloning it is cheap, and a clone may be moved into any task. The code under test gets
/// [`Sim::runtime`], and nothing else of the simulation.
#[derive(Clone)]
pub struct Sim {
    runtime: Arc<SimRuntime>,
}

/// A panic of a spawned task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskPanic {
    /// The name that the task was spawned with.
    pub task: &'static str,
    /// What the panic said.
    pub text: String,
}

impl Sim {
    fn new(runtime: SimRuntime) -> Self {
        Sim { runtime: Arc::new(runtime) }
    }

    /// The runtime, for the code under test.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone()
    }

    /// The clock of [`Sim::runtime`], for a store that is given one.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.runtime.clone()
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.runtime.executor.seed
    }

    /// Runs `future` as a task of its own, as [`Runtime::spawn`] does.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle {
        self.runtime.spawn(name, Box::pin(future))
    }

    /// 64 random bits from the seed, for the test's own choices: they change none of the numbers
    /// that the code under test is given.
    #[must_use]
    pub fn random(&self) -> u64 {
        lock(&self.runtime.executor.test_random).next_u64()
    }

    /// Has the futures of [`Runtime::stop_signal`] be ready that were made before; one that is
    /// made later waits for the next signal, as with a real process. A [`Process`] has signals of
    /// its own.
    pub fn send_stop(&self, signal: StopSignal) {
        // Whether somebody waits is the code's business: one may listen and not have polled yet.
        let _ = self.runtime.owner.stop.say(signal);
    }
}

/// Time.
impl Sim {
    /// Now, by the monotonic clock, which starts at zero.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Now, by the wall clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.runtime.wall()
    }

    /// How much virtual time has passed since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.runtime.executor.clock.elapsed()
    }

    /// Waits for that much virtual time, while everything else goes on.
    ///
    /// Of what is due at the very instant of its end, some may have run and some not; follow it by
    /// [`Sim::run_until_idle`] where that matters. Cancel safe.
    pub async fn advance(&self, time: Duration) {
        let deadline = self.now() + time;
        Sleep::new(Arc::clone(&self.runtime.executor), deadline).await;
    }

    /// Waits until no other task is ready at this instant. The clock does not move.
    ///
    /// If several tasks wait for this, all go on. Cancel safe.
    pub async fn run_until_idle(&self) {
        self.runtime.executor.idle.listen().await;
    }

    /// Sets the wall clock. Monotonic time and every timer stay as they are.
    pub fn set_wall(&self, wall: Timestamp) {
        self.runtime.executor.clock.set_wall(wall);
    }

    /// Has the wall clock jump ahead, as if somebody had set it.
    pub fn jump_wall_ahead(&self, by: Duration) {
        self.set_wall(self.wall() + by);
    }

    /// Has the wall clock jump back, as if somebody had set it.
    pub fn jump_wall_back(&self, by: Duration) {
        self.set_wall(self.wall() - by);
    }
}

/// What is left, and what happened.
impl Sim {
    /// How many tasks were spawned so far.
    #[must_use]
    pub fn spawned(&self) -> u64 {
        self.runtime.executor.spawned()
    }

    /// How many spawned tasks have not ended; the root does not count.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.runtime.executor.live()
    }

    /// How many timers are set.
    #[must_use]
    pub fn live_timers(&self) -> usize {
        lock(&self.runtime.executor.timers).len()
    }

    /// The live tasks with the root, one a line: for the message of an assertion.
    #[must_use]
    pub fn describe_tasks(&self) -> String {
        self.runtime.executor.describe_tasks()
    }

    /// The panics of spawned tasks so far, joined or not.
    #[must_use]
    pub fn panics(&self) -> Vec<TaskPanic> {
        self.runtime.executor.panics()
    }

    /// How many steps were taken so far. A step runs one task until it waits.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.runtime.executor.steps()
    }

    /// A digest of which task ran when, so far: equal for two runs that took the same way.
    ///
    /// A run with the same seed that gives another one shows a source of chance that is not the
    /// runtime's: the order of a `HashMap`, a thread, the time of day.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.runtime.executor.fingerprint()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, elapsed) = (self.seed(), self.elapsed());
        write!(f, "Sim(seed {seed}, at {elapsed:?})")
    }
}

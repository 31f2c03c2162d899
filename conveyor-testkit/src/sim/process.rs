//! [`Process`]: a part of a simulation that can be killed, stopped and given a wrong clock.

use std::convert::Infallible;
use std::fmt;
use std::future;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor_core::Runtime;
use conveyor_core::runtime::{Clock, StopSignal};
use conveyor_core::time::Timestamp;

use super::Sim;
use super::executor::lock;
use super::random::{Random, Stream, mix};
use super::runtime::SimRuntime;
use super::signal::Signal;
use super::task::Task;

/// A simulated process: the tasks that were spawned by its [`runtime`](Process::runtime), their
/// timers, a wall clock, and signals. [`Sim::process`] starts one; clones are the same process.
///
/// What is not spawned by its runtime does not belong to it: a test that calls a manager from its
/// root does so from outside. Such calls go on after a crash, as if from another process, so a test
/// has the work that is to die with a process done by a task of its runtime.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::Duration;
/// use conveyor_testkit::simulate;
///
/// /// Says so when it is dropped: as the guards do that hand back what a task has claimed.
/// struct Guard(Arc<AtomicBool>);
/// impl Drop for Guard {
///     fn drop(&mut self) {
///         self.0.store(true, Ordering::Relaxed);
///     }
/// }
///
/// simulate(7, |sim| async move {
///     let process = sim.process("worker");
///     let dropped = Arc::new(AtomicBool::new(false));
///     let (runtime, guard) = (process.runtime(), Guard(Arc::clone(&dropped)));
///     drop(process.runtime().spawn("work", Box::pin(async move {
///         let _guard = guard;
///         runtime.sleep_until(runtime.now() + Duration::from_secs(60)).await;
///         unreachable!("it was killed");
///     })));
///     sim.advance(Duration::from_secs(1)).await;
///     process.crash();
///     assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0));
///     sim.advance(Duration::from_secs(3600)).await;
///     assert!(!dropped.load(Ordering::Relaxed), "what is killed cleans nothing up");
/// });
/// ```
#[derive(Clone)]
pub struct Process {
    runtime: SimRuntime,
}

impl Sim {
    /// Starts a process. A restart is a new one, under the same name or another.
    #[must_use]
    pub fn process(&self, name: &'static str) -> Process {
        let executor = Arc::clone(&self.runtime.executor);
        let owner = executor.start_process(name);
        Process { runtime: SimRuntime { executor, owner } }
    }

    /// Kills a process: [`Process::crash`].
    pub fn crash(&self, process: &Process) {
        process.crash();
    }
}

impl Process {
    /// The runtime, for the code under test: all that is spawned by it belongs to this process.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    /// The clock of [`Process::runtime`].
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.runtime.clone())
    }

    /// The name that it was started with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.runtime.owner.name
    }

    /// Kills it, as `kill -9` does: its tasks are gone at once, wherever they wait, and so are its
    /// timers. Whoever joins one of them from outside hears that it was aborted. A second call
    /// changes nothing.
    ///
    /// Nothing is dropped, so that no guard runs; what the tasks held is leaked, for as long as the
    /// test's own (real) process lives. From here on [`Runtime::spawn`] leaks what it is given, and
    /// its handle says that it was aborted.
    ///
    /// A task may kill its own process, but the step in which it does so goes on until the task
    /// waits: see [`die`](Process::die).
    pub fn crash(&self) {
        self.runtime.executor.crash(&self.runtime.owner);
    }

    /// Kills the process of the task that calls this, which goes no further.
    pub async fn die(&self) -> Infallible {
        self.crash();
        future::pending().await
    }

    /// Stops it, as SIGSTOP does: none of its tasks is run until it is resumed, though each may be
    /// woken, and timers that come due go unheard. A task may stop its own process; it goes on until
    /// it waits.
    pub fn pause(&self) {
        self.runtime.executor.pause(&self.runtime.owner);
    }

    /// Goes on after a [`pause`](Process::pause), as by SIGCONT, with all that was missed.
    pub fn resume(&self) {
        self.runtime.executor.resume(&self.runtime.owner);
    }

    /// Whether it was killed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.runtime.owner.has_crashed()
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.runtime.owner.is_paused()
    }

    /// Has its wall clock be ahead of the simulation's by so much, from now on.
    pub fn skew_wall_ahead(&self, by: Duration) {
        self.runtime.owner.skew(micros(by));
    }

    /// Has its wall clock be behind the simulation's by so much, from now on.
    pub fn skew_wall_back(&self, by: Duration) {
        self.runtime.owner.skew(-micros(by));
    }

    /// As [`Sim::send_stop`], to this process alone.
    pub fn send_stop(&self, signal: StopSignal) {
        // Whether somebody waits is the code's business: one may listen and not have polled yet.
        let _ = self.runtime.owner.stop.say(signal);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.runtime.owner.state() {
            RUNNING => "runs",
            PAUSED => "is paused",
            _ => "has crashed",
        };
        write!(f, "Process({} {state})", self.name())
    }
}

fn micros(by: Duration) -> i64 {
    i64::try_from(by.as_micros()).unwrap_or(i64::MAX)
}

const RUNNING: u8 = 0;
const PAUSED: u8 = 1;
const CRASHED: u8 = 2;

/// Whose a task is: a process's, or the test's own, which neither crashes nor pauses.
pub(super) struct Owner {
    /// Counted from the first that was started; [`Owner::TEST`] is the test's own.
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) stop: Arc<Signal<StopSignal>>,
    pub(super) random: Mutex<Random>,
    /// Changed under the executor's lock of what is ready, so that no task slips through.
    state: AtomicU8,
    /// In microseconds.
    wall_skew: AtomicI64,
    /// The tasks that were woken while it was paused, in that order.
    held: Mutex<Vec<Arc<Task>>>,
}

impl Owner {
    pub(super) const TEST: u64 = 0;

    pub(super) fn test(seed: u64) -> Arc<Self> {
        Owner::new(Owner::TEST, "the test", Random::stream(seed, Stream::Runtime))
    }

    /// A process draws from a stream of its own: one more draw of another changes nothing for it.
    pub(super) fn process(seed: u64, id: u64, name: &'static str) -> Arc<Self> {
        Owner::new(id, name, Random::stream(mix(seed) ^ mix(id), Stream::Runtime))
    }

    fn new(id: u64, name: &'static str, random: Random) -> Arc<Self> {
        Arc::new(Owner {
            id,
            name,
            stop: Signal::new(),
            random: Mutex::new(random),
            state: AtomicU8::new(RUNNING),
            wall_skew: AtomicI64::new(0),
            held: Mutex::default(),
        })
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.state() == CRASHED
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state() == PAUSED
    }

    /// For a list of tasks.
    pub(super) fn shown(&self) -> String {
        if self.id == Owner::TEST { String::new() } else { format!(" of {}", self.name) }
    }

    fn skew(&self, micros: i64) {
        self.wall_skew.store(micros, Ordering::Relaxed);
    }

    pub(super) fn wall(&self, true_wall: Timestamp) -> Timestamp {
        let skew = self.wall_skew.load(Ordering::Relaxed);
        Timestamp::from_micros(true_wall.as_micros().saturating_add(skew))
    }

    /// Gives back a task that may run; keeps that of a paused process for later.
    pub(super) fn hold(task: Arc<Task>) -> Option<Arc<Task>> {
        match task.owner.state() {
            RUNNING => Some(task),
            PAUSED => {
                let owner = Arc::clone(&task.owner);
                lock(&owner.held).push(task);
                None
            }
            _ => None,
        }
    }

    pub(super) fn pause(&self) {
        if self.state() == RUNNING {
            self.state.store(PAUSED, Ordering::Relaxed);
        }
    }

    /// The tasks that were woken meanwhile.
    pub(super) fn resume(&self) -> Vec<Arc<Task>> {
        if self.state() == PAUSED {
            self.state.store(RUNNING, Ordering::Relaxed);
        }
        std::mem::take(&mut *lock(&self.held))
    }

    /// The tasks that would have gone on at a resume.
    pub(super) fn crash(&self) -> Vec<Arc<Task>> {
        self.state.store(CRASHED, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.held))
    }
}

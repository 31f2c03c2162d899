//! The engine: what all parts of a manager share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor_core::codec::Codecs;
use conveyor_core::context::Host;
use conveyor_core::id::TaskIds;
use conveyor_core::runtime::{BoxFuture, JoinHandle, Runtime};
use conveyor_core::states::States;
use conveyor_core::store::{NewTask, Store, StoreFuture, StoreResult};
use conveyor_core::{
    AnyTask, End, EnqueueError, Incarnation, QueueName, Receipt, TaskId, WaitError,
};
use event_listener::Event;

use crate::door::Door;
use crate::phase::Phases;
use crate::producer::Producers;
use crate::quarantine::Quarantine;
use crate::registry::{Defaults, Registry};
use crate::shutdown::Tally;
use crate::signals::Signals;
use crate::sync::{AtomicUsize, Mutex, Ordering};

pub(crate) struct Engine {
    /// Itself, for the contexts and receipts that it makes.
    pub(crate) this: Weak<Engine>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) door: Door,
    pub(crate) incarnation: Incarnation,
    pub(crate) ids: TaskIds,
    pub(crate) states: States,
    pub(crate) codecs: Codecs,
    pub(crate) defaults: Defaults,
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) producers: Producers,
    pub(crate) signals: Arc<Signals>,
    pub(crate) phases: Phases,
    pub(crate) quarantine: Quarantine,
    pub(crate) tally: Tally,
    /// How many claims this process holds.
    pub(crate) held: AtomicUsize,
    /// It holds its first claim again, or none any more.
    pub(crate) held_changed: Event,
    /// What settles what consumers left behind that the shutdown stopped.
    pub(crate) left: Mutex<Vec<JoinHandle>>,
    tokens: AtomicU64,
}

/// How the engine goes about its work.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long claims hold without a renewal.
    pub(crate) lease: Duration,
    /// At how many crashes a task ends.
    pub(crate) crash_budget: u32,
    /// How often a store whose wake-ups can be lost is asked.
    pub(crate) poll_interval: Duration,
    /// The grace of the shutdown that `run` makes.
    pub(crate) shutdown_grace: Duration,
}

impl Settings {
    /// For how long a lease can be relied on: what is left of it then is for telling handlers.
    pub(crate) fn sure_lease(&self) -> Duration {
        self.lease - self.lease / 6
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease: Duration::from_secs(15),
            crash_budget: 3,
            poll_interval: Duration::from_secs(1),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// What an engine is made of; the rest it makes itself.
pub(crate) struct Parts {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) door: Door,
    pub(crate) states: States,
    pub(crate) codecs: Codecs,
    pub(crate) defaults: Defaults,
    pub(crate) settings: Settings,
    pub(crate) signals: Arc<Signals>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { runtime, door, states, codecs, defaults, settings, signals } = parts;
        let incarnation = Incarnation::new(runtime.random());
        let ids = TaskIds::new(runtime.random());
        let tokens = AtomicU64::new(runtime.random());
        Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            runtime,
            door,
            incarnation,
            ids,
            states,
            codecs,
            defaults,
            settings,
            registry: Registry::default(),
            producers: Producers::default(),
            signals,
            phases: Phases::default(),
            quarantine: Quarantine::default(),
            tally: Tally::default(),
            held: AtomicUsize::new(0),
            held_changed: Event::new(),
            left: Mutex::default(),
            tokens,
        })
    }

    /// This engine, as what contexts and receipts hold.
    pub(crate) fn host(&self) -> Arc<dyn Host> {
        self.this.upgrade().expect("invariant: a method runs only on an engine that is there")
    }

    /// Sees to it that somebody takes tasks from a queue: the shared pool, if no other does.
    pub(crate) fn serve(&self, queue: &QueueName) {
        let pools = self.signals.pools();
        if let Some(shared) = pools.last()
            && !pools.iter().any(|pool| pool.serves(queue))
            && shared.serve(queue)
        {
            // Others may have filled it long ago.
            self.signals.note_news();
            shared.idle.wake_all();
        }
    }

    /// The number of another request.
    pub(crate) fn token(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that the process holds more claims.
    pub(crate) fn hold(&self, claims: usize) {
        if claims > 0 && self.held.fetch_add(claims, Ordering::SeqCst) == 0 {
            self.held_changed.notify(usize::MAX);
        }
    }

    /// Notes that the process holds fewer claims.
    pub(crate) fn release(&self, claims: usize) {
        if claims > 0 && self.held.fetch_sub(claims, Ordering::SeqCst) == claims {
            self.held_changed.notify(usize::MAX);
        }
    }

    /// Asks the store something that is asked again if no reply comes within a third of a lease:
    /// early enough for what it is about to be held still.
    pub(crate) async fn ask<'a, T>(
        &'a self,
        verb: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> StoreResult<T> {
        self.ask_for(0, verb, call).await
    }

    /// Asks the store something that takes the longer, the more new `tasks` it is about.
    pub(crate) async fn ask_for<'a, T>(
        &'a self,
        tasks: usize,
        verb: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> StoreResult<T> {
        const FOR_EACH: usize = 1_000;
        let times = u32::try_from(1 + tasks / FOR_EACH).unwrap_or(u32::MAX);
        let limit = (self.settings.lease / 3).saturating_mul(times);
        self.door.call_within(&*self.runtime, limit, verb, call).await
    }

    /// Waits that long, with up to a quarter more, so that many processes do not act as one.
    pub(crate) async fn pause(&self, duration: Duration) {
        let jitter = duration.mul_f64((self.runtime.random() >> 11) as f64 / (1u64 << 55) as f64);
        self.runtime.sleep_until(self.runtime.now() + duration + jitter).await;
    }
}

impl Host for Engine {
    fn enqueue(&self, task: AnyTask) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        Box::pin(Engine::enqueue(self, task))
    }

    fn wait(&self, task: TaskId) -> BoxFuture<'_, Result<End, WaitError>> {
        Box::pin(Engine::wait(self, task))
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    fn states(&self) -> &States {
        &self.states
    }

    fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    fn store(&self) -> &dyn Store {
        &**self.door.store()
    }

    fn new_task(&self, task: AnyTask) -> Result<NewTask, EnqueueError> {
        self.check_accepting()?;
        Engine::new_task(self, task)
    }
}

/// How long to wait before something that failed is tried again: longer each time, up to 5 s.
pub(crate) struct RetryPause(Duration);

impl RetryPause {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) fn new() -> Self {
        RetryPause(Self::FIRST)
    }

    pub(crate) async fn wait(&mut self, engine: &Engine) {
        engine.pause(self.0).await;
        self.0 = (self.0 * 2).min(Self::LONGEST);
    }

    pub(crate) fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}

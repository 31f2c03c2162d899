//! [`ManagerBuilder`]: everything that a manager is told, and everything that can be checked
//! before work starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::codec::{Codec, Codecs};
use conveyor_core::runtime::Runtime;
use conveyor_core::states::{State, States};
use conveyor_core::worker::KindDefinition;
use conveyor_core::{
    Backoff, Definition, MemoryStore, NameError, Priority, QueueName, Retention, Schedule, Store,
    Worker,
};

use crate::build_error::BuildError;
use crate::door::Door;
use crate::engine::{Engine, Parts, Settings};
use crate::manager::Manager;
use crate::pool::Pool;
use crate::register::register;
use crate::registry::Defaults;
use crate::signals::Signals;

/// What a manager is made of.
///
/// ```no_run
/// # use std::time::Duration;
/// # use conveyor_core::Priority;
/// # use conveyor_runtime::Manager;
/// # fn main() -> Result<(), conveyor_runtime::BuildError> {
/// let manager = Manager::builder()
///     .consumers(16)
///     .consumers_for(Priority::HIGH, 4)
///     .retries(5)
///     .timeout(Duration::from_secs(30))
///     .build()?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build()`"]
pub struct ManagerBuilder {
    runtime: Option<Arc<dyn Runtime>>,
    store: Option<Arc<dyn Store>>,
    capacity: Option<usize>,
    retention: Option<Retention>,
    states: States,
    repeated_state: Option<&'static str>,
    codecs: Codecs,
    kinds: Vec<KindDefinition>,
    shared_pool: PoolSize,
    own_pools: BTreeMap<String, PoolSize>,
    queues: Vec<String>,
    default_queue: Option<String>,
    defaults: Defaults,
    settings: Settings,
}

/// How many consumers a pool has, and how many of them are reserved from which priority up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSize {
    consumers: usize,
    reserved: Vec<(Priority, usize)>,
}

impl PoolSize {
    /// A pool of that many consumers.
    #[must_use]
    pub fn new(consumers: usize) -> Self {
        PoolSize { consumers, reserved: Vec::new() }
    }

    /// Reserves `count` of the consumers for tasks of `priority` and above.
    #[must_use]
    pub fn reserve(mut self, priority: impl Into<Priority>, count: usize) -> Self {
        self.reserved.push((priority.into(), count));
        self
    }
}

impl Default for ManagerBuilder {
    fn default() -> Self {
        ManagerBuilder {
            runtime: None,
            store: None,
            capacity: None,
            retention: None,
            states: States::default(),
            repeated_state: None,
            codecs: Codecs::default(),
            kinds: Vec::new(),
            shared_pool: PoolSize::new(default_consumers()),
            own_pools: BTreeMap::new(),
            queues: Vec::new(),
            default_queue: None,
            defaults: Defaults::default(),
            settings: Settings::default(),
        }
    }
}

/// Twice as many as there are processors: handlers mostly wait.
fn default_consumers() -> usize {
    std::thread::available_parallelism().map_or(4, |processors| processors.get() * 2)
}

impl ManagerBuilder {
    /// Registers a worker.
    pub fn register(mut self, worker: impl Worker) -> Self {
        let mut definition = Definition::new();
        Arc::new(worker).define(&mut definition);
        self.kinds.extend(definition.into_kinds());
        self
    }

    /// Gives workers something to share: a handler gets it by a `State<T>` parameter.
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> Self {
        self.shared_state(Arc::new(state))
    }

    /// Gives workers something to share that is shared already, or known by a trait only:
    /// `.shared_state::<dyn Mailer>(Arc::new(Smtp::new()))`.
    pub fn shared_state<T: ?Sized + Send + Sync + 'static>(mut self, state: Arc<T>) -> Self {
        if !self.states.insert(State(state)) {
            self.repeated_state.get_or_insert(std::any::type_name::<T>());
        }
        self
    }

    /// Sets how many consumers the queues without a pool of their own share, reserved ones
    /// included. Default: twice the number of processors.
    pub fn consumers(mut self, consumers: usize) -> Self {
        self.shared_pool.consumers = consumers;
        self
    }

    /// Reserves `count` of the shared consumers for tasks of `priority` and above.
    pub fn consumers_for(mut self, priority: impl Into<Priority>, count: usize) -> Self {
        self.shared_pool = self.shared_pool.reserve(priority, count);
        self
    }

    /// Gives a queue consumers of its own.
    pub fn pool(mut self, queue: impl Into<String>, size: PoolSize) -> Self {
        self.own_pools.insert(queue.into(), size);
        self
    }

    /// Has the shared consumers serve these queues too. They serve the default queue, those that
    /// a worker names, and those that this manager enqueues to, without being told.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues.extend(queues.into_iter().map(Into::into));
        self
    }

    /// Runs on that runtime. Default: the current one of the runtime whose feature is on; tokio,
    /// if both are.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Keeps tasks in that store. Default: in memory, for this manager alone.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Bounds the default store: beyond so many live tasks `enqueue` waits for room, and
    /// `try_enqueue` refuses. Default: no bound.
    pub fn capacity(mut self, live_tasks: usize) -> Self {
        self.capacity = Some(live_tasks);
        self
    }

    /// Sets how long the default store keeps the ends of tasks. Default: 10,000 of them for an
    /// hour.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Encodes payloads by that codec, where the store needs bytes. Default: JSON.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        let previous = std::mem::replace(&mut self.codecs, Codecs::new(Arc::new(codec)));
        self.codecs.also_read_all(previous);
        self
    }

    /// Also reads payloads that were written by that codec.
    pub fn also_read(mut self, codec: impl Codec) -> Self {
        self.codecs.also_read(Arc::new(codec));
        self
    }

    /// The queue of tasks for which nobody else names one. Default: `default`.
    pub fn default_queue(mut self, queue: impl Into<String>) -> Self {
        self.default_queue = Some(queue.into());
        self
    }

    /// The priority of tasks for which nobody else says. Default: normal.
    pub fn default_priority(mut self, priority: impl Into<Priority>) -> Self {
        self.defaults.priority = priority.into();
        self
    }

    /// The schedule of producers that have none of their own. Default: none.
    pub fn default_schedule(mut self, schedule: Schedule) -> Self {
        self.defaults.schedule = Some(schedule);
        self
    }

    /// How many attempts may follow the first after errors, unless task or worker say. Default: 3.
    pub fn retries(mut self, retries: u32) -> Self {
        self.defaults.retries = retries;
        self
    }

    /// How long to wait before a retry, unless the worker says. Default: exponential with full
    /// jitter, 1 s to 10 min.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.defaults.backoff = backoff;
        self
    }

    /// Whether a panic is retried like an error, unless the worker says. Default: true.
    pub fn retry_on_panic(mut self, retry: bool) -> Self {
        self.defaults.retry_on_panic = retry;
        self
    }

    /// How long one attempt may take, unless task or worker say. Default: as long as it wants.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.defaults.timeout = Some(timeout);
        self
    }

    /// How long a cancelled attempt has to return by itself, unless the worker says. Default: 1 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.defaults.cancel_grace = grace;
        self
    }

    /// How long claims hold without a renewal: so long after a crash a task starts again. Renewed
    /// every third of it; a store that takes longer than that to answer is asked again. Default: 15 s;
    /// at least 100 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often a task may take its process down before it ends as crashed. Default: 3.
    pub fn crash_budget(mut self, crashes: u32) -> Self {
        self.settings.crash_budget = crashes;
        self
    }

    /// How often a store whose wake-ups can be lost is asked whether there is something. Default:
    /// 1 s. A store in memory is never asked.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// The grace of the shutdown at the end of [`Manager::run`]. Default: 30 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.settings.shutdown_grace = grace;
        self
    }

    /// Checks everything that can be checked, and makes the manager. Nothing runs yet.
    ///
    /// # Errors
    /// [`BuildError`]: the first thing that is wrong.
    pub fn build(self) -> Result<Manager, BuildError> {
        let ManagerBuilder { kinds, states, codecs, mut defaults, settings, .. } = self;
        if let Some(type_name) = self.repeated_state {
            return Err(BuildError::RepeatedState { type_name });
        }
        check_settings(&settings, &defaults)?;
        if let Some(queue) = self.default_queue {
            defaults.queue = QueueName::new(queue)?;
        }
        let queues = self.queues.into_iter().map(QueueName::new).collect::<Result<_, _>>()?;
        let own_pools = self
            .own_pools
            .into_iter()
            .map(|(queue, size)| Ok((QueueName::new(queue)?, size)))
            .collect::<Result<BTreeMap<_, _>, NameError>>()?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => default_runtime()?,
        };
        let store = match self.store {
            Some(_) if self.capacity.is_some() || self.retention.is_some() => {
                return Err(BuildError::ForeignStore);
            }
            Some(store) => store,
            None => memory_store(&runtime, self.capacity, self.retention)?,
        };

        let signals = Arc::new(Signals::default());
        let sink: Arc<dyn conveyor_core::store::WakeSink> = signals.clone();
        store.subscribe(Arc::downgrade(&sink));
        let door = Door::new(store);
        let parts = Parts { runtime, door, states, codecs, defaults, settings, signals };
        let engine = Engine::new(parts);
        register(&engine, kinds)?;
        let pools = pools(&engine, queues, &self.shared_pool, &own_pools)?;
        engine.signals.set_pools(pools);
        Ok(Manager::new(engine))
    }
}

fn check_settings(settings: &Settings, defaults: &Defaults) -> Result<(), BuildError> {
    if defaults.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(BuildError::Zero { what: "the default timeout", of: None });
    }
    if settings.crash_budget == 0 {
        return Err(BuildError::Zero { what: "the crash budget", of: None });
    }
    if settings.poll_interval.is_zero() {
        return Err(BuildError::Zero { what: "the poll interval", of: None });
    }
    if settings.lease < Duration::from_millis(100) {
        return Err(BuildError::ShortLease { lease: settings.lease });
    }
    Ok(())
}

fn memory_store(
    runtime: &Arc<dyn Runtime>,
    capacity: Option<usize>,
    retention: Option<Retention>,
) -> Result<Arc<dyn Store>, BuildError> {
    let mut store = MemoryStore::new(runtime.clone());
    if capacity == Some(0) {
        return Err(BuildError::Zero { what: "the capacity", of: None });
    }
    if let Some(capacity) = capacity {
        store = store.with_capacity_limit(capacity);
    }
    Ok(Arc::new(store.with_retention(retention.unwrap_or_default())))
}

#[cfg(feature = "tokio")]
fn default_runtime() -> Result<Arc<dyn Runtime>, BuildError> {
    match crate::runtimes::TokioRuntime::current() {
        Ok(runtime) => Ok(Arc::new(runtime)),
        Err(_) => Err(BuildError::OutsideRuntime),
    }
}

#[cfg(all(feature = "smol", not(feature = "tokio")))]
#[allow(clippy::unnecessary_wraps, reason = "the same signature with every feature")]
fn default_runtime() -> Result<Arc<dyn Runtime>, BuildError> {
    Ok(Arc::new(crate::runtimes::SmolRuntime::new()))
}

#[cfg(not(any(feature = "smol", feature = "tokio")))]
fn default_runtime() -> Result<Arc<dyn Runtime>, BuildError> {
    Err(BuildError::NoRuntime)
}

/// The pools of a manager; none if it has no workers, and only enqueues, until it gets one.
fn pools(
    engine: &Engine,
    queues: BTreeSet<QueueName>,
    shared: &PoolSize,
    own: &BTreeMap<QueueName, PoolSize>,
) -> Result<Vec<Arc<Pool>>, BuildError> {
    let mut pools = Vec::new();
    for (queue, size) in own {
        let queues = BTreeSet::from([queue.clone()]);
        pools.push(pool(pools.len(), queues, size)?);
    }
    let mut shared_queues = queues;
    shared_queues.insert(engine.defaults.queue.clone());
    shared_queues.extend(engine.registry.workers().queues());
    shared_queues.retain(|queue| !own.contains_key(queue));
    // The shared pool comes last: `Engine::serve` counts on it.
    pools.push(pool(pools.len(), shared_queues, shared)?);
    Ok(pools)
}

fn pool(
    number: usize,
    queues: BTreeSet<QueueName>,
    size: &PoolSize,
) -> Result<Arc<Pool>, BuildError> {
    let of = || queues.first().cloned().unwrap_or_default();
    if size.consumers == 0 {
        return Err(BuildError::NoConsumers { queue: of() });
    }
    let counts = size.reserved.iter().map(|&(_, count)| count);
    let reserved = counts.fold(0, usize::saturating_add);
    if reserved >= size.consumers {
        let (reserved, consumers) = (reserved, size.consumers);
        return Err(BuildError::TooManyReserved { queue: of(), reserved, consumers });
    }
    Ok(Arc::new(Pool::new(number, queues, size.consumers, &size.reserved)))
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("kinds", &self.kinds)
            .field("shared_pool", &self.shared_pool)
            .field("own_pools", &self.own_pools)
            .field("defaults", &self.defaults)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

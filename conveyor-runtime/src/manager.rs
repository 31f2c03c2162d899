//! [`Manager`]: what a service holds of Conveyor.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::context::Cancelled;
use conveyor_core::runtime::JoinHandle;
use conveyor_core::store::{
    CancelReply, Durability, Filter, Page, StoreError, StoreErrorKind, StoreTransaction,
};
use conveyor_core::worker::Role;
use conveyor_core::{
    Definition, End, EnqueueError, IntoTask, Kind, NameError, QueueName, Receipt, Schedule, Store,
    TaskId, WaitError, Worker, transaction,
};
use event_listener::Event;
use futures::future::{Either, select};

use crate::build_error::BuildError;
use crate::builder::ManagerBuilder;
use crate::consumer::Consumer;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::restart::restart;
use crate::shutdown::ShutdownReport;
use crate::sync::{Mutex, lock};
use crate::{lease, maintain, producer};

/// Enqueues tasks, runs them, and stops in good order. Clones are handles to the same manager.
///
/// Dropping the last handle without a [`shutdown`](Manager::shutdown) stops everything at once:
/// running attempts are dropped, and their tasks handed back to the store. What a claim under way
/// brings, of a store that does not answer at once, runs out with its lease.
#[derive(Clone)]
pub struct Manager(Arc<Handle>);

struct Handle {
    engine: Arc<Engine>,
    tasks: Mutex<Spawned>,
    stop: Arc<Stop>,
}

/// How the shutdown went, once it is over.
#[derive(Default)]
struct Stop {
    report: Mutex<Option<ShutdownReport>>,
    reported: Event,
}

#[derive(Default)]
struct Spawned {
    consumers: Vec<JoinHandle>,
    loops: Vec<JoinHandle>,
}

impl Manager {
    /// Begins to build a manager.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder::default()
    }

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Manager(Arc::new(Handle { engine, tasks: Mutex::default(), stop: Arc::default() }))
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    /// Starts to run tasks. Tasks that were enqueued before are run now; a second call is
    /// harmless.
    ///
    /// # Errors
    /// [`StartError`] if the store cannot be reached, or the manager was shut down.
    pub async fn start(&self) -> Result<(), StartError> {
        let engine = self.engine();
        let durability = engine.door.call("durability", |store| store.durability()).await?;
        {
            // Held while the consumers are spawned, so that a shutdown finds them all or none.
            let mut tasks = lock(&self.0.tasks);
            if engine.phases.now() >= Phase::Draining {
                return Err(StartError::Stopped);
            }
            if !engine.phases.advance(Phase::Running) {
                return Ok(());
            }
            self.spawn_all(&mut tasks);
        }
        tracing::info!(
            runtime = engine.runtime.name(),
            store = engine.door.capabilities.name,
            ?durability,
            incarnation = %engine.incarnation,
            "the manager runs"
        );
        Ok(())
    }

    fn spawn_all(&self, tasks: &mut Spawned) {
        let engine = self.engine();
        let runtime = &engine.runtime;
        for pool in engine.signals.pools() {
            for number in 0..pool.seats.len() {
                let pool = Arc::clone(pool);
                let consume = move |engine| Consumer::new(engine, Arc::clone(&pool), number).run();
                let consumer = Box::pin(restart(Arc::clone(engine), "consumer", consume));
                tasks.consumers.push(runtime.spawn("consumer", consumer));
            }
        }
        let maintain = Box::pin(restart(Arc::clone(engine), "maintenance", maintain::maintain));
        let produce = Box::pin(restart(Arc::clone(engine), "producers", producer::produce));
        let keep = Box::pin(restart(Arc::clone(engine), "leases", lease::keep));
        tasks.loops.push(runtime.spawn("maintenance", maintain));
        tasks.loops.push(runtime.spawn("producers", produce));
        tasks.loops.push(if engine.door.capabilities.shared {
            runtime.spawn_dedicated("leases", keep)
        } else {
            runtime.spawn("leases", keep)
        });
    }

    /// Starts, runs until Ctrl-C or SIGTERM, and shuts down within the builder's
    /// [`shutdown_grace`](ManagerBuilder::shutdown_grace). Another [`shutdown`](Manager::shutdown)
    /// of this manager ends it too.
    ///
    /// Cancel safe: a shutdown that has begun goes on by itself if the future is dropped; before
    /// that, the manager runs on.
    ///
    /// # Errors
    /// [`RunError`] if the manager does not start, or signals cannot be listened for.
    pub async fn run(&self) -> Result<ShutdownReport, RunError> {
        let engine = self.engine();
        let signal = engine.runtime.stop_signal();
        self.start().await?;
        let stopped = std::pin::pin!(engine.phases.reached(Phase::Draining));
        if let Either::Left((signal, _)) = select(signal, stopped).await {
            let signal = signal.map_err(|error| RunError::Signal { reason: error.to_string() })?;
            tracing::info!(%signal, "shutting down");
        }
        self.shutdown(engine.settings.shutdown_grace).await.map_err(|never| match never {})
    }

    /// Stops in good order: claims no more, lets running attempts finish, asks them to stop at the
    /// end of `grace`, and hands back what did not finish, at no cost to its retries.
    ///
    /// Returns by `grace` and a quarter of a second, even if a handler blocks or the store is
    /// gone, as long as the runtime has a free thread. A second call waits for the first, and
    /// returns its report.
    ///
    /// Cancel safe: the shutdown goes on by itself if the future is dropped.
    ///
    /// # Errors
    /// None; it is a `Result` so that stores may have something to say later.
    pub async fn shutdown(&self, grace: Duration) -> Result<ShutdownReport, ShutdownError> {
        let first = {
            let mut tasks = lock(&self.0.tasks);
            self.engine().phases.advance(Phase::Draining).then(|| std::mem::take(&mut *tasks))
        };
        let stop = Arc::clone(&self.0.stop);
        if let Some(Spawned { consumers, loops }) = first {
            // A task of its own, so that it comes to its end whatever becomes of the caller.
            let (engine, stop) = (Arc::clone(self.engine()), Arc::clone(&stop));
            let shutdown = async move {
                let report = engine.shut_down(consumers, loops, grace).await;
                tracing::info!(?report, "the manager stopped");
                *lock(&stop.report) = Some(report);
                stop.reported.notify(usize::MAX);
            };
            drop(self.engine().runtime.spawn("shutdown", Box::pin(shutdown)));
        }
        loop {
            let reported = stop.reported.listen();
            if let Some(report) = *lock(&stop.report) {
                return Ok(report);
            }
            reported.await;
        }
    }

    /// Enqueues a task, waiting for room if the store is bounded and full. Room goes to
    /// whoever has waited longest; [`try_enqueue`](Manager::try_enqueue), and a task with a key
    /// that comes later, may be faster.
    ///
    /// Allowed before [`start`](Manager::start). Cancel safe: a task whose enqueue is dropped while
    /// it waits for room is not in the store.
    ///
    /// # Errors
    /// [`EnqueueError`]: the task was not accepted.
    pub async fn enqueue(&self, task: impl IntoTask) -> Result<Receipt, EnqueueError> {
        self.engine().enqueue(task.into_task()).await
    }

    /// Enqueues a task, or says at once that there is no room.
    ///
    /// # Errors
    /// [`EnqueueError`], of which [`EnqueueError::Full`] is the one to expect.
    pub async fn try_enqueue(&self, task: impl IntoTask) -> Result<Receipt, EnqueueError> {
        self.engine().try_enqueue(task.into_task()).await
    }

    /// Enqueues many tasks in one round trip to the store, each with its own answer, in order.
    /// Waits for room for those that do not fit at once.
    pub async fn enqueue_all<T: IntoTask>(
        &self,
        tasks: impl IntoIterator<Item = T>,
    ) -> Vec<Result<Receipt, EnqueueError>> {
        let tasks = tasks.into_iter().map(IntoTask::into_task).collect();
        self.engine().enqueue_all(tasks).await
    }

    /// Enqueues a task in a transaction of yours, in the database of the manager's store: the task
    /// is there if and only if that commits, together with what else is in it.
    ///
    /// ```ignore
    /// let mut tx = pool.begin().await?;
    /// sqlx::query("INSERT INTO users …").execute(&mut *tx).await?;
    /// manager.enqueue_in(&mut tx, welcome.task(user)).await?;
    /// tx.commit().await?;
    /// ```
    ///
    /// The task's key is checked in the transaction. Nothing waits for room there: a bounded store
    /// that is full says so. The receipt is good once the transaction has committed. The store may
    /// be behind others that pass on what they are asked; the transaction goes past them.
    ///
    /// Allowed before [`start`](Manager::start). Cancel safe as the transaction is: if the future
    /// is dropped, the task may be in it or not, and so the transaction is to be rolled back.
    ///
    /// # Errors
    /// [`EnqueueError`]: the task is not in the transaction. It is [`EnqueueError::OtherStore`] if
    /// the manager's store is not the transaction's; after [`EnqueueError::Store`], roll back.
    pub async fn enqueue_in<S, T>(
        &self,
        transaction: &mut T,
        task: impl IntoTask,
    ) -> Result<Receipt, EnqueueError>
    where
        S: Store,
        T: StoreTransaction<S> + ?Sized,
    {
        transaction::enqueue_in(&self.engine().host(), transaction, task.into_task()).await
    }

    /// Enqueues many tasks in a transaction of yours, as [`enqueue_in`](Manager::enqueue_in) does,
    /// in one round trip to the store; each with its own answer, in order.
    pub async fn enqueue_all_in<S, T, I>(
        &self,
        transaction: &mut T,
        tasks: impl IntoIterator<Item = I>,
    ) -> Vec<Result<Receipt, EnqueueError>>
    where
        S: Store,
        T: StoreTransaction<S> + ?Sized,
        I: IntoTask,
    {
        let tasks = tasks.into_iter().map(IntoTask::into_task).collect();
        transaction::enqueue_all_in(&self.engine().host(), transaction, tasks).await
    }

    /// Waits for the end of a task.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`WaitError`] if the end is not known any more, the manager stopped first, or the store
    /// failed for long.
    pub async fn wait(&self, task: TaskId) -> Result<End, WaitError> {
        self.engine().wait(task).await
    }

    /// Waits until there is nothing to do: no task is queued, scheduled or active. Parked tasks
    /// are not waited for, nor are those of kinds that have no worker here.
    ///
    /// For programs that run until they are done, and for tests; a manager that is not started, or
    /// has an interval that always makes tasks, is not idle.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn idle(&self) -> Result<(), StoreError> {
        self.engine().idle().await
    }

    /// Cancels a task: one that has not started never does; a running one is asked to stop, and
    /// is cancelled if it does not end by itself within its grace.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn cancel(&self, task: TaskId) -> Result<CancelReply, StoreError> {
        let ids = [task];
        let replies = self.engine().door.call("cancel", |store| store.cancel(&ids)).await?;
        Ok(replies.into_iter().next().unwrap_or(CancelReply::Unknown))
    }

    /// Has no task of that queue started any more, by any process, until it is resumed. Running
    /// attempts go on.
    ///
    /// # Errors
    /// [`ControlError`] if the name is invalid or the store failed.
    pub async fn pause(&self, queue: &str) -> Result<(), ControlError> {
        self.set_paused(queue, true).await
    }

    /// Goes on with a paused queue.
    ///
    /// # Errors
    /// [`ControlError`] if the name is invalid or the store failed.
    pub async fn resume(&self, queue: &str) -> Result<(), ControlError> {
        self.set_paused(queue, false).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), ControlError> {
        let queue = QueueName::new(queue)?;
        Ok(self.engine().door.call("pause", |store| store.pause(&queue, paused)).await?)
    }

    /// Registers a worker while the manager runs: its kinds are claimed from now on.
    ///
    /// # Errors
    /// [`BuildError`], as the builder's `build()`; nothing is registered then.
    pub fn register(&self, worker: impl Worker) -> Result<(), BuildError> {
        let mut definition = Definition::new();
        Arc::new(worker).define(&mut definition);
        let engine = self.engine();
        crate::register::register(engine, definition.into_kinds())?;
        engine.signals.wake_all();
        engine.signals.schedules.notify(usize::MAX);
        Ok(())
    }

    /// Takes a kind's worker away: its tasks are not claimed any more by this process, and its
    /// schedule is not seen to. The producer of a worker with a `produce` method goes with the
    /// kind that is named as the worker is. Running attempts go on, and what a claim under way
    /// brings may still start. `false` if there is no such kind.
    pub fn unregister(&self, kind: &str) -> bool {
        let engine = self.engine();
        let mut found = false;
        for kind in [kind.to_owned(), format!("{kind}.produce")] {
            found |= engine.registry.remove(&kind);
            if let Ok(kind) = Kind::new(kind) {
                engine.producers.remove(&kind);
            }
        }
        found
    }

    /// Replaces the schedule of a worker, in the whole cluster and from now on. `kind` is the
    /// scheduled function's, or that of the worker with a `produce` method.
    ///
    /// An interval's first tick is now.
    ///
    /// # Errors
    /// [`ControlError`] if no such worker is registered, it has nothing to schedule, or the store
    /// failed.
    pub async fn set_schedule(&self, kind: &str, schedule: Schedule) -> Result<(), ControlError> {
        let engine = self.engine();
        let name = self.scheduled_kind(kind)?;
        producer::set(engine, &name, schedule).await?;
        engine.signals.schedules.notify(usize::MAX);
        Ok(())
    }

    /// The kind whose tasks a schedule of `kind` makes.
    fn scheduled_kind(&self, kind: &str) -> Result<Kind, ControlError> {
        let workers = self.engine().registry.workers();
        let named = Kind::new(kind)?;
        let producer = Kind::new(format!("{kind}.produce")).ok();
        if let Some(producer) = producer.filter(|producer| workers.get(producer).is_some()) {
            return Ok(producer);
        }
        match workers.get(&named) {
            None => Err(ControlError::UnknownKind { kind: kind.to_owned() }),
            Some(worker) if worker.definition.role == Role::Producer => Ok(named),
            Some(worker) if worker.definition.schedule.is_some() => Ok(named),
            Some(_) => Err(ControlError::NotScheduled { kind: named }),
        }
    }

    /// What is counted: exact at rest. For a store behind a wire, use
    /// [`fetch_metrics`](Manager::fetch_metrics).
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let engine = self.engine();
        match engine.door.store().counters().now_or_later() {
            Ok(Ok(counters)) => Metrics::new(counters, &engine.registry.workers()),
            _ => Metrics::default(),
        }
    }

    /// Asks the store what it has counted.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn fetch_metrics(&self) -> Result<Metrics, StoreError> {
        let engine = self.engine();
        let counters = engine.door.call("counters", |store| store.counters()).await?;
        Ok(Metrics::new(counters, &engine.registry.workers()))
    }

    /// Lists tasks, a page at a time.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn inspect(&self, filter: &Filter) -> Result<Page, StoreError> {
        self.engine().door.call("inspect", |store| store.inspect(filter)).await
    }

    /// How much an accepted task survives: asked of the store.
    ///
    /// # Errors
    /// [`StoreError`] if the store failed.
    pub async fn durability(&self) -> Result<Durability, StoreError> {
        self.engine().door.call("durability", |store| store.durability()).await
    }

    /// The store that the manager works on.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        self.engine().door.store()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        self.engine.phases.advance(Phase::Stopped);
        self.engine.cancel_running(Cancelled::Shutdown);
        for task in tasks.consumers.iter().chain(&tasks.loops) {
            task.abort();
        }
        self.engine.signals.waiters.tell_all();
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("phase", &self.engine().phases.now())
            .field("incarnation", &self.engine().incarnation)
            .finish_non_exhaustive()
    }
}

/// Why a manager did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It was shut down.
    #[error("the manager was shut down and cannot start again; build another")]
    Stopped,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a manager did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process's signals cannot be listened for.
    #[error("cannot listen for Ctrl-C and SIGTERM: {reason}")]
    Signal {
        /// What the system said.
        reason: String,
    },
}

/// Why a shutdown failed: it does not, today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShutdownError {}

/// Why a running manager could not be told what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No worker of that kind is registered.
    #[error("no worker of the kind {kind:?} is registered; register it first")]
    UnknownKind {
        /// The kind.
        kind: String,
    },
    /// The worker's tasks have a payload, so that a tick cannot make them.
    #[error(
        "the worker {kind:?} has no schedule; give it one by an attribute, or a `produce` method"
    )]
    NotScheduled {
        /// The kind.
        kind: Kind,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ControlError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, ControlError::Store(error) if error.kind() == StoreErrorKind::Unavailable)
    }
}

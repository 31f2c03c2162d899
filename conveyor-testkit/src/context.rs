//! [`context()`]: a [`Context`] for the unit test of a handler.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor_core::codec::Codecs;
use conveyor_core::context::Host;
use conveyor_core::id::TaskIds;
use conveyor_core::payload::AnyPayload;
use conveyor_core::runtime::BoxFuture;
use conveyor_core::states::States;
use conveyor_core::store::{Budgets, Claimed, NewTask};
use conveyor_core::{
    AnyTask, Context, End, EnqueueError, Fence, Incarnation, Key, Kind, MemoryStore, NameError,
    Payload, Priority, QueueName, Receipt, Runtime, State, Store, TaskId, WaitError,
};

use crate::inline::InlineRuntime;
use crate::sim::Sim;

/// Begins a context for the unit test of a handler, without a manager, a store or a runtime.
///
/// ```
/// use std::time::Duration;
/// use conveyor_core::{Context, EnqueueError, State, Task};
/// use conveyor_testkit::{context, simulate};
///
/// struct Smtp { host: &'static str }
///
/// async fn send_email(to: String, smtp: State<Smtp>, ctx: Context) -> Result<(), EnqueueError> {
///     ctx.sleep(Duration::from_secs(60)).await; // takes no time
///     ctx.enqueue(Task::new("log", format!("{to} by {}", smtp.host))).await?;
///     Ok(())
/// }
///
/// let smtp = State::new(Smtp { host: "localhost" });
/// let (ctx, recorded) = context().kind("send_email").attempt(2).build_recording();
/// // Any executor will do: `#[tokio::test]`, `futures::executor::block_on`, or the simulator.
/// simulate(0, |_| send_email("ada".to_owned(), smtp, ctx)).unwrap();
/// assert_eq!(recorded.payloads::<String>("log"), ["ada by localhost"]);
/// ```
///
/// A sleep through this context moves the context's own clock and takes no time, so a handler that
/// only waits by it runs on any executor. It does so the second time it is polled: it loses to
/// what is ready at once, and wins against everything else. To test a handler that has real races,
/// or that spawns tasks through [`Context::runtime`] (which panics here), make the context by
/// [`Sim::context`].
pub fn context() -> ContextBuilder {
    ContextBuilder::new(Arc::new(InlineRuntime::new()))
}

impl Sim {
    /// Begins a context for the unit test of a handler, on this simulation's runtime: its sleeps
    /// are timers of the simulation.
    pub fn context(&self) -> ContextBuilder {
        ContextBuilder::new(self.runtime())
    }
}

/// What a test's [`Context`] is to say; begun by [`context()`] or [`Sim::context`].
///
/// Unless set otherwise it is the first attempt, at the first claim, of a task of the kind `test`
/// with the payload `()`, without a key or a timeout.
#[must_use = "a builder makes nothing until `build` or `build_recording`"]
pub struct ContextBuilder {
    runtime: Arc<dyn Runtime>,
    states: States,
    codecs: Codecs,
    store: Option<Arc<dyn Store>>,
    claimed: Claimed,
    timeout: Option<Duration>,
}

impl ContextBuilder {
    fn new(runtime: Arc<dyn Runtime>) -> Self {
        ContextBuilder {
            runtime,
            states: States::default(),
            codecs: Codecs::default(),
            store: None,
            claimed: Claimed {
                fence: Fence {
                    task: TaskId::from_u128(1),
                    epoch: 1,
                    incarnation: Incarnation::new(1),
                },
                ticket: 0,
                kind: const { Kind::from_static("test") },
                queue: QueueName::DEFAULT,
                key: None,
                priority: Priority::NORMAL,
                payload: AnyPayload::new(()),
                timeout: None,
                retries: None,
                budgets: Budgets::default(),
                cancel: false,
            },
            timeout: None,
        }
    }

    /// Gives it a state, as the manager's builder would.
    ///
    /// # Panics
    /// If there is one of that type already.
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> Self {
        self.shared_state(State::new(state))
    }

    /// Gives it a state that the test keeps a hold of, or one behind a trait.
    ///
    /// # Panics
    /// If there is one of that type already.
    pub fn shared_state<T: ?Sized + Send + Sync + 'static>(mut self, state: State<T>) -> Self {
        let added = self.states.insert(state);
        assert!(added, "there is a state of type {} already", std::any::type_name::<T>());
        self
    }

    /// Sets the task's kind.
    ///
    /// # Panics
    /// If the name breaks the rules of [`NameError`].
    pub fn kind<K: TryInto<Kind, Error: Into<NameError>>>(mut self, kind: K) -> Self {
        self.claimed.kind = valid(kind);
        self
    }

    /// Sets the task's dedup key.
    ///
    /// # Panics
    /// If the name breaks the rules of [`NameError`].
    pub fn key<K: TryInto<Key, Error: Into<NameError>>>(mut self, key: K) -> Self {
        self.claimed.key = Some(valid(key));
        self
    }

    /// Sets the task's queue.
    ///
    /// # Panics
    /// If the name breaks the rules of [`NameError`].
    pub fn queue<Q: TryInto<QueueName, Error: Into<NameError>>>(mut self, queue: Q) -> Self {
        self.claimed.queue = valid(queue);
        self
    }

    /// Sets the task's id.
    pub fn id(mut self, id: TaskId) -> Self {
        self.claimed.fence.task = id;
        self
    }

    /// Sets the task's priority.
    pub fn priority(mut self, priority: impl Into<Priority>) -> Self {
        self.claimed.priority = priority.into();
        self
    }

    /// Sets the task's payload, for what reads it from the context.
    pub fn payload<T: Payload>(mut self, payload: T) -> Self {
        self.claimed.payload = AnyPayload::new(payload);
        self
    }

    /// Sets which attempt it is; 1 is the first.
    ///
    /// # Panics
    /// If `attempt` is 0.
    pub fn attempt(mut self, attempt: u32) -> Self {
        assert!(attempt > 0, "attempts are counted from 1");
        self.claimed.budgets.errors = attempt - 1;
        self
    }

    /// Sets the number of the claim; 1 is the first.
    pub fn epoch(mut self, epoch: u64) -> Self {
        self.claimed.fence.epoch = epoch;
        self
    }

    /// Sets how long the attempt may take, which gives the context its deadline.
    ///
    /// Nothing cancels the context when that comes: a test does so by [`Context::cancel`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets what payloads are encoded with; JSON if not set.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Sets the store that the handler's transactions are of; an empty one in memory if not set.
    ///
    /// The context's attempt is none of its: to have it settled in a transaction, run a manager.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The context.
    #[must_use]
    pub fn build(self) -> Context {
        self.build_recording().0
    }

    /// The context, and a hold on what is enqueued through it.
    #[must_use]
    pub fn build_recording(self) -> (Context, Recorded) {
        let recorded = Recorded::default();
        let deadline = self.timeout.map(|timeout| self.runtime.now() + timeout);
        let store = self.store.unwrap_or_else(|| {
            let runtime = Arc::clone(&self.runtime);
            Arc::new(MemoryStore::new(runtime))
        });
        let host = FakeHost(Arc::new(Fake {
            ids: TaskIds::new(0),
            store,
            runtime: self.runtime,
            states: self.states,
            codecs: self.codecs,
            recorded: recorded.clone(),
        }));
        let context = Context::new(self.claimed, deadline, Arc::new(host));
        (context, recorded)
    }
}

impl fmt::Debug for ContextBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextBuilder")
            .field("runtime", &self.runtime.name())
            .field("claimed", &self.claimed)
            .field("states", &self.states)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn valid<T, N: TryInto<T, Error: Into<NameError>>>(name: N) -> T {
    name.try_into().unwrap_or_else(|error| {
        let error: NameError = error.into();
        panic!("{error}")
    })
}

/// What was enqueued through a context of [`ContextBuilder::build_recording`], oldest first.
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<Mutex<Vec<AnyTask>>>);

impl Recorded {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<AnyTask>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many tasks were enqueued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|tasks| tasks.len())
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> Vec<AnyTask> {
        self.with(|tasks| tasks.clone())
    }

    /// The tasks, which are then forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<AnyTask> {
        self.with(std::mem::take)
    }

    /// The payloads of the tasks of that kind.
    ///
    /// # Panics
    /// If a task of that kind has a payload of another type.
    #[must_use]
    pub fn payloads<T: Payload + Clone>(&self, kind: &str) -> Vec<T> {
        self.tasks()
            .iter()
            .filter(|task| task.kind.as_str() == kind)
            .map(|task| match task.payload.downcast_ref::<T>() {
                Some(payload) => payload.clone(),
                None => panic!(
                    "the payload of a {kind} task is no {}: it is {:?}",
                    std::any::type_name::<T>(),
                    task.payload
                ),
            })
            .collect()
    }
}

/// A manager that accepts every valid task, and runs none.
struct FakeHost(Arc<Fake>);

struct Fake {
    ids: TaskIds,
    runtime: Arc<dyn Runtime>,
    states: States,
    codecs: Codecs,
    store: Arc<dyn Store>,
    recorded: Recorded,
}

impl FakeHost {
    fn accept(&self, task: AnyTask) -> Result<NewTask, EnqueueError> {
        if let Some(invalid) = task.set.invalid {
            return Err((*invalid).into());
        }
        if task.set.timeout == Some(Duration::ZERO) {
            return Err(EnqueueError::ZeroTimeout { kind: task.kind });
        }
        self.0.recorded.with(|tasks| tasks.push(task.clone()));
        let AnyTask { kind, payload, set } = task;
        Ok(NewTask {
            id: self.0.ids.next(self.0.runtime.wall()),
            kind,
            queue: set.queue.unwrap_or(QueueName::DEFAULT),
            key: set.key,
            priority: set.priority.unwrap_or(Priority::NORMAL),
            payload,
            start: set.start,
            timeout: set.timeout,
            retries: set.retries,
        })
    }
}

impl Host for FakeHost {
    fn enqueue(&self, task: AnyTask) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        Box::pin(async move {
            let id = self.accept(task)?.id;
            Ok(Receipt::new(id, Arc::new(FakeHost(Arc::clone(&self.0)))))
        })
    }

    fn wait(&self, id: TaskId) -> BoxFuture<'_, Result<End, WaitError>> {
        Box::pin(async move { Err(WaitError::Unknown { id }) })
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.runtime
    }

    fn states(&self) -> &States {
        &self.0.states
    }

    fn codecs(&self) -> &Codecs {
        &self.0.codecs
    }

    fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    fn new_task(&self, task: AnyTask) -> Result<NewTask, EnqueueError> {
        self.accept(task)
    }
}

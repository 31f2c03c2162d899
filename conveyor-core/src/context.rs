//! [`Context`]: what a handler knows of its attempt, and what it can ask for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use event_listener::Event;

use crate::codec::{CodecError, Codecs};
use crate::id::{Fence, TaskId};
use crate::name::{Key, Kind, QueueName};
use crate::outcome::End;
use crate::payload::Payload;
use crate::priority::Priority;
use crate::receipt::{EnqueueError, Receipt, WaitError};
use crate::runtime::{BoxFuture, Runtime};
use crate::states::{State, States};
use crate::store::{Claimed, NewTask, Store};
use crate::sync::{self, AtomicBool, AtomicU8, Ordering};
use crate::task::{AnyTask, IntoTask};
use crate::time::Instant;

/// An attempt's own view of itself, and its door to the manager. Cloning it is cheap.
///
/// A handler that waits through its context (`ctx.sleep`, `ctx.cancelled`) runs on every runtime,
/// the simulator too.
#[derive(Clone)]
pub struct Context(sync::Arc<Attempt>);

struct Attempt {
    claimed: Claimed,
    deadline: Option<Instant>,
    cancellation: Cancellation,
    /// It was settled in a transaction, which may have committed.
    settled: AtomicBool,
    host: Arc<dyn Host>,
}

/// What a context needs of the manager behind it.
pub trait Host: Send + Sync + 'static {
    /// Enqueues a task, waiting for room if the store is bounded and full.
    fn enqueue(&self, task: AnyTask) -> BoxFuture<'_, Result<Receipt, EnqueueError>>;

    /// Waits for the end of a task.
    fn wait(&self, task: TaskId) -> BoxFuture<'_, Result<End, WaitError>>;

    /// The runtime that everything runs on.
    fn runtime(&self) -> &Arc<dyn Runtime>;

    /// What workers share.
    fn states(&self) -> &States;

    /// What payloads are encoded with.
    fn codecs(&self) -> &Codecs;

    /// The store that tasks live in.
    fn store(&self) -> &dyn Store;

    /// Gives a task its identity and every default that is fixed at the enqueue.
    ///
    /// # Errors
    /// [`EnqueueError`] if the task is invalid, or no task is accepted any more.
    fn new_task(&self, task: AnyTask) -> Result<NewTask, EnqueueError>;
}

/// Why an attempt was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// Its timeout ran out. It has `cancel_grace` left to return by itself.
    Timeout,
    /// The manager shuts down. An attempt that does not return is handed back, at no cost; so is
    /// one that returns an error, which is the way to stop in good order.
    Shutdown,
    /// Somebody cancelled the task.
    Requested,
    /// The store gave the task to another process, or cannot be reached for so long that it may
    /// have. What this attempt returns changes nothing any more.
    LeaseLost,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cancelled::Timeout => "its timeout ran out",
            Cancelled::Shutdown => "the manager shuts down",
            Cancelled::Requested => "somebody cancelled it",
            Cancelled::LeaseLost => "its lease was lost",
        })
    }
}

impl Context {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.claimed.fence.task
    }

    /// The task's kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.claimed.kind
    }

    /// The task's dedup key.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.0.claimed.key.as_ref()
    }

    /// Which attempt this is: 1 for the first; one more for each error before it. Snoozes and
    /// interruptions do not count.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.claimed.budgets.errors.saturating_add(1)
    }

    /// Whether an error of this attempt would be the last: the task has no retry left.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.0.claimed.retries.is_some_and(|retries| self.attempt() > retries)
    }

    /// The number of this claim of the task. It only rises, so a handler can use it to fence its
    /// own writes: refuse one whose epoch is below the highest that was seen.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.claimed.fence.epoch
    }

    /// The task's priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.0.claimed.priority
    }

    /// The task's queue.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.0.claimed.queue
    }

    /// When the attempt's timeout runs out, on the runtime's monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// How long the attempt has before its timeout; zero once it ran out.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_since(self.runtime().now()))
    }

    /// Waits until the attempt is asked to stop, and says why.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub async fn cancelled(&self) -> Cancelled {
        self.0.cancellation.wait().await
    }

    /// Whether the attempt was asked to stop: for a handler that computes between its waits.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().is_some()
    }

    /// Why the attempt was asked to stop, if it was.
    #[must_use]
    pub fn cancellation(&self) -> Option<Cancelled> {
        self.0.cancellation.reason()
    }

    /// Enqueues another task, waiting for room if the store is bounded and full.
    ///
    /// A handler that waits for room holds its consumer while it waits.
    ///
    /// # Errors
    /// As the manager's `enqueue`.
    pub async fn enqueue(&self, task: impl IntoTask) -> Result<Receipt, EnqueueError> {
        let task = task.into_task();
        self.0.host.enqueue(task).await
    }

    /// What the manager was given by `.state(…)`.
    ///
    /// # Panics
    /// If there is no state of that type. A `State<T>` parameter, or `requires` in a hand-written
    /// definition, has `build()` find that out instead.
    #[must_use]
    pub fn state<T: ?Sized + Send + Sync + 'static>(&self) -> State<T> {
        self.try_state().unwrap_or_else(|| {
            let type_name = std::any::type_name::<T>();
            panic!("no state of type {type_name}; give the manager's builder one by `.state(…)`")
        })
    }

    /// What the manager was given by `.state(…)`, if it was given one of that type.
    #[must_use]
    pub fn try_state<T: ?Sized + Send + Sync + 'static>(&self) -> Option<State<T>> {
        self.0.host.states().get().cloned()
    }

    /// Waits that long, on the manager's runtime.
    ///
    /// Cancel safe: dropping the future takes the timer back.
    pub async fn sleep(&self, duration: Duration) {
        let runtime = self.runtime();
        runtime.sleep_until(runtime.now() + duration).await;
    }

    /// Runs `work` on a thread where it may block, and waits for its value.
    ///
    /// Not cancel safe: work that has begun runs to its end even if the future is dropped; its
    /// value is then lost.
    ///
    /// # Panics
    /// If `work` panics: the panic goes on in the handler, as if it had called `work` itself.
    pub async fn spawn_blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let slot = Arc::new(std::sync::Mutex::new(None));
        let filled = Arc::clone(&slot);
        let run = move || {
            let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            *filled.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
        };
        let joined = self.runtime().spawn_blocking(Box::new(run)).await;
        let value = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match value {
            Some(Ok(value)) => value,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => panic!("blocking work did not run: {joined:?}"),
        }
    }

    /// The runtime that the manager runs on.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        self.0.host.runtime()
    }
}

/// For engines: how a context is made, recycled and cancelled.
impl Context {
    /// The context of an attempt at what was claimed.
    #[must_use]
    pub fn new(claimed: Claimed, deadline: Option<Instant>, host: Arc<dyn Host>) -> Self {
        Context(sync::Arc::new(Attempt {
            claimed,
            deadline,
            cancellation: Cancellation::default(),
            settled: AtomicBool::new(false),
            host,
        }))
    }

    /// Makes this the context of another attempt, without an allocation, and puts what was claimed
    /// before into its place, for the caller to drop where a user's code may run. `false`, and
    /// nothing happens, if the handler kept a clone of the context.
    pub fn reuse(&mut self, claimed: &mut Claimed, deadline: Option<Instant>) -> bool {
        let Some(attempt) = sync::Arc::get_mut(&mut self.0) else {
            return false;
        };
        std::mem::swap(&mut attempt.claimed, claimed);
        attempt.deadline = deadline;
        attempt.cancellation.reset();
        attempt.settled = AtomicBool::new(false);
        true
    }

    /// What was claimed.
    #[must_use]
    pub fn claimed(&self) -> &Claimed {
        &self.0.claimed
    }

    /// What proves that this attempt holds its task.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.0.claimed.fence
    }

    /// The payload as a `T`.
    ///
    /// # Errors
    /// [`CodecError`] if it is not a `T` and does not decode as one.
    pub fn payload<T: Payload>(&self) -> Result<Arc<T>, CodecError> {
        self.0.claimed.payload.shared(self.0.host.codecs())
    }

    /// What payloads are encoded with.
    #[must_use]
    pub fn codecs(&self) -> &Codecs {
        self.0.host.codecs()
    }

    /// The manager behind it.
    #[must_use]
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.0.host
    }

    /// Whether the attempt was settled in a transaction of its handler's. Whether that committed is
    /// not known here; as long as it is open, nobody can take the task away.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.settled.load(Ordering::Acquire)
    }

    /// Notes that the attempt was settled in a transaction, as [`Context::settle_in`] does.
    pub fn note_settled(&self) {
        self.0.settled.store(true, Ordering::Release);
    }

    /// Asks the attempt to stop. The first reason stays, but for a lost lease, which overrides:
    /// from then on nothing that the attempt returns can count.
    pub fn cancel(&self, why: Cancelled) {
        self.0.cancellation.cancel(why);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("kind", self.kind())
            .field("attempt", &self.attempt())
            .field("epoch", &self.epoch())
            .field("cancelled", &self.cancellation())
            .finish_non_exhaustive()
    }
}

/// A reason that is set once, and can be waited for.
#[derive(Default)]
struct Cancellation {
    reason: AtomicU8,
    set: Event,
}

impl Cancellation {
    fn reason(&self) -> Option<Cancelled> {
        match self.reason.load(Ordering::Acquire) {
            1 => Some(Cancelled::Timeout),
            2 => Some(Cancelled::Shutdown),
            3 => Some(Cancelled::Requested),
            4 => Some(Cancelled::LeaseLost),
            _ => None,
        }
    }

    fn cancel(&self, why: Cancelled) {
        let code = match why {
            Cancelled::Timeout => 1,
            Cancelled::Shutdown => 2,
            Cancelled::Requested => 3,
            Cancelled::LeaseLost => 4,
        };
        if code == 4 {
            self.reason.swap(code, Ordering::AcqRel);
        } else {
            // An earlier reason stays.
            let _ = self.reason.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        }
        self.set.notify(usize::MAX);
    }

    fn reset(&mut self) {
        self.reason = AtomicU8::new(0);
    }

    async fn wait(&self) -> Cancelled {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            let set = self.set.listen();
            if let Some(reason) = self.reason() {
                return reason;
            }
            set.await;
        }
    }
}

#[cfg(all(loom, test))]
mod loom_tests {
    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::sync::check_within;

    /// A reason that comes while its handler lies down is told, and of two the lost lease stays.
    #[test]
    fn an_attempt_that_is_asked_to_stop_hears_of_it() {
        check_within(2, || {
            let cancellation = sync::Arc::new(Cancellation::default());
            let cancels = |why| {
                let cancellation = sync::Arc::clone(&cancellation);
                thread::spawn(move || cancellation.cancel(why))
            };
            let cancels = [cancels(Cancelled::Requested), cancels(Cancelled::LeaseLost)];
            block_on(cancellation.wait());
            for cancels in cancels {
                cancels.join().unwrap();
            }
            assert_eq!(cancellation.reason(), Some(Cancelled::LeaseLost));
        });
    }
}

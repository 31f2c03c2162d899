//! [`Worker`]: the code for kinds of tasks, and the [`Definition`] that tells the engine of it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use crate::codec::CodecError;
use crate::context::Context;
use crate::name::{Key, Kind, NameError, QueueName};
use crate::outcome::{Failure, IntoResult, Outcome};
use crate::payload::{AnyPayload, Payload};
use crate::priority::Priority;
use crate::retry::Backoff;
use crate::schedule::Schedule;
use crate::states::Required;
use crate::task::IntoTask;

/// The code for one or more kinds of tasks. Usually written by `#[worker]`; by hand:
///
/// ```
/// use std::sync::Arc;
/// use conveyor_core::{Context, Definition, Error, Worker};
///
/// struct Greeter { greeting: String }
///
/// impl Worker for Greeter {
///     fn define(self: Arc<Self>, definition: &mut Definition) {
///         definition.consume("greet", move |name: String, _ctx: Context| {
///             let greeter = Arc::clone(&self);
///             async move {
///                 println!("{}, {name}", greeter.greeting);
///                 Ok::<_, Error>(())
///             }
///         }).retries(5);
///     }
/// }
/// ```
pub trait Worker: Send + Sync + 'static {
    /// Tells of every kind that this worker consumes and produces.
    fn define(self: Arc<Self>, definition: &mut Definition);
}

/// What a worker says of itself: its kinds, each with its handler and settings.
#[derive(Debug, Default)]
pub struct Definition {
    kinds: Vec<KindDefinition>,
}

impl Definition {
    /// An empty definition.
    #[must_use]
    pub fn new() -> Self {
        Definition::default()
    }

    /// Consumes tasks of `kind`: the handler gets a clone of the payload.
    pub fn consume<P, H, F>(&mut self, kind: impl IntoKind, handler: H) -> &mut KindDefinition
    where
        P: Payload + Clone,
        H: Fn(P, Context) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResult> + Send + 'static,
    {
        self.consume_shared(kind, move |payload: Arc<P>, ctx| handler(P::clone(&payload), ctx))
    }

    /// Consumes tasks of `kind`: the handler shares the payload, which need not be `Clone`.
    pub fn consume_shared<P, H, F>(
        &mut self,
        kind: impl IntoKind,
        handler: H,
    ) -> &mut KindDefinition
    where
        P: Payload,
        H: Fn(Arc<P>, Context) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResult> + Send + 'static,
    {
        self.handle(kind, move |ctx: Context| {
            let payload = ctx.payload::<P>()?;
            let attempt = handler(payload, ctx);
            Ok(async move { attempt.await.into_result() })
        })
    }

    /// Handles tasks of `kind` by a function that decodes the payload itself: what every other
    /// way comes down to. A [`CodecError`] parks the task, at no cost.
    pub fn handle<H, F>(&mut self, kind: impl IntoKind, handler: H) -> &mut KindDefinition
    where
        H: Fn(Context) -> Result<F, CodecError> + Send + Sync + 'static,
        F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
    {
        self.add(kind.into_kind(), Role::Consumer, Arc::new(FnHandler(Arc::new(handler))))
    }

    /// Produces tasks when a schedule's tick comes.
    ///
    /// The tick makes a *produce task* of the kind `{name}.produce`, which is claimed, timed out,
    /// retried and fenced like any other; the tasks that it returns are enqueued in the same step
    /// that settles it, so they appear once or not at all. What it looked at to decide may have
    /// changed by then: a task whose key was taken when it looked may have ended.
    pub fn produce<T, H, F, E>(&mut self, name: &str, producer: H) -> &mut KindDefinition
    where
        T: IntoTask,
        H: Fn(Context) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<T>, E>> + Send + 'static,
        E: Into<crate::error::Error>,
    {
        let handler = move |ctx: Context| {
            let produced = producer(ctx);
            Ok(async move {
                let tasks = produced.await.map_err(|error| Failure::from(error.into()))?;
                Ok(Outcome::produced(tasks.into_iter().map(IntoTask::into_task).collect()))
            })
        };
        let kind = Kind::new(format!("{name}.produce"));
        self.add(kind, Role::Producer, Arc::new(FnHandler(Arc::new(handler))))
    }

    fn add(
        &mut self,
        kind: Result<Kind, NameError>,
        role: Role,
        handler: Arc<dyn Handler>,
    ) -> &mut KindDefinition {
        let (kind, invalid) = match kind {
            Ok(kind) => (kind, None),
            Err(error) => (const { Kind::from_static("invalid") }, Some(error)),
        };
        self.kinds.push(KindDefinition {
            kind,
            role,
            handler,
            settings: WorkerSettings::default(),
            key: None,
            schedule: None,
            requires: Vec::new(),
            invalid,
        });
        self.kinds.last_mut().expect("invariant: a kind was just pushed")
    }

    /// The kinds, in the order of their definition.
    #[must_use]
    pub fn into_kinds(self) -> Vec<KindDefinition> {
        self.kinds
    }
}

/// What can name a kind in a definition.
pub trait IntoKind {
    /// The kind.
    ///
    /// # Errors
    /// [`NameError`] if the name breaks the rules; `build()` reports it.
    fn into_kind(self) -> Result<Kind, NameError>;
}

impl<K: TryInto<Kind, Error: Into<NameError>>> IntoKind for K {
    fn into_kind(self) -> Result<Kind, NameError> {
        self.try_into().map_err(Into::into)
    }
}

/// Whether a kind does work or makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its tasks are work.
    Consumer,
    /// Its tasks are ticks of a schedule, which make work.
    Producer,
}

/// One kind of task: its handler and its settings.
///
/// The setters can be chained; what is not set, the manager's defaults decide.
pub struct KindDefinition {
    /// The kind.
    pub kind: Kind,
    /// Whether it consumes or produces.
    pub role: Role,
    /// What runs its tasks.
    pub handler: Arc<dyn Handler>,
    /// How its tasks are run.
    pub settings: WorkerSettings,
    /// How a payload's dedup key is derived.
    pub key: Option<Arc<KeyOf>>,
    /// When its tasks are made.
    pub schedule: Option<Schedule>,
    /// The states that its handler cannot do without.
    pub requires: Vec<Required>,
    /// The first bad name that was given; `build()` reports it.
    pub invalid: Option<NameError>,
}

/// Derives a dedup key from a payload; `None` if the payload is of another type.
pub type KeyOf = dyn Fn(&AnyPayload) -> Option<Result<Key, NameError>> + Send + Sync;

/// How the tasks of a kind are run; what is `None`, the manager's defaults decide.
#[derive(Clone, Debug, Default)]
pub struct WorkerSettings {
    /// The queue of its tasks.
    pub queue: Option<QueueName>,
    /// The priority of its tasks.
    pub priority: Option<Priority>,
    /// How many attempts may follow the first after errors.
    pub retries: Option<u32>,
    /// How long to wait before each of them.
    pub backoff: Option<Backoff>,
    /// Whether a panic is retried like an error.
    pub retry_on_panic: Option<bool>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How long a cancelled attempt has to return by itself.
    pub cancel_grace: Option<Duration>,
    /// How many of its tasks one process runs at a time.
    pub concurrency: Option<u32>,
}

impl KindDefinition {
    /// Sets the queue of its tasks.
    pub fn queue<Q: TryInto<QueueName, Error: Into<NameError>>>(&mut self, queue: Q) -> &mut Self {
        match queue.try_into() {
            Ok(queue) => self.settings.queue = Some(queue),
            Err(error) => _ = self.invalid.get_or_insert(error.into()),
        }
        self
    }

    /// Sets the priority of its tasks.
    pub fn priority(&mut self, priority: impl Into<Priority>) -> &mut Self {
        self.settings.priority = Some(priority.into());
        self
    }

    /// Sets how many attempts may follow the first after errors.
    pub fn retries(&mut self, retries: u32) -> &mut Self {
        self.settings.retries = Some(retries);
        self
    }

    /// Sets how long to wait before a retry.
    pub fn backoff(&mut self, backoff: Backoff) -> &mut Self {
        self.settings.backoff = Some(backoff);
        self
    }

    /// Sets whether a panic is retried like an error.
    pub fn retry_on_panic(&mut self, retry: bool) -> &mut Self {
        self.settings.retry_on_panic = Some(retry);
        self
    }

    /// Sets how long one attempt may take. Zero is refused by `build()`.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets how long a cancelled attempt has to return by itself before it is dropped.
    pub fn cancel_grace(&mut self, grace: Duration) -> &mut Self {
        self.settings.cancel_grace = Some(grace);
        self
    }

    /// Sets how many of its tasks one process runs at a time. Zero is refused by `build()`.
    pub fn concurrency(&mut self, limit: u32) -> &mut Self {
        self.settings.concurrency = Some(limit);
        self
    }

    /// Derives the dedup key of its tasks from their payload.
    pub fn key<P: Payload>(
        &mut self,
        key: impl Fn(&P) -> String + Send + Sync + 'static,
    ) -> &mut Self {
        self.key =
            Some(Arc::new(move |payload| payload.downcast_ref::<P>().map(|p| Key::new(key(p)))));
        self
    }

    /// Makes a task of this kind at every tick of `schedule`; its payload must be `()`, or the
    /// kind a producer's.
    pub fn schedule(&mut self, schedule: Schedule) -> &mut Self {
        self.schedule = Some(schedule);
        self
    }

    /// Says that its handler cannot do without that state, so that `build()` checks for it.
    pub fn requires(&mut self, state: Required) -> &mut Self {
        self.requires.push(state);
        self
    }
}

impl fmt::Debug for KindDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindDefinition")
            .field("kind", &self.kind)
            .field("role", &self.role)
            .field("settings", &self.settings)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// What runs the tasks of a kind. A consumer asks it for one [`Slot`], and uses that again and
/// again.
pub trait Handler: Send + Sync + 'static {
    /// Room for one attempt at a time.
    fn slot(&self) -> Box<dyn Slot>;
}

/// Room for the future of one attempt; filled, polled and cleared without an allocation.
pub trait Slot: Send {
    /// Decodes the payload and makes the attempt's future. Replaces what was there.
    ///
    /// # Errors
    /// [`CodecError`] if the payload cannot be decoded; the slot stays empty.
    fn start(&mut self, ctx: Context) -> Result<(), CodecError>;

    /// Runs the attempt until it waits or is done.
    ///
    /// # Panics
    /// If the slot is empty, or the handler panics.
    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Outcome, Failure>>;

    /// Drops the attempt's future. A panic in its drop goes to the caller.
    fn clear(&mut self);
}

struct FnHandler<H>(Arc<H>);

struct FnSlot<H, F> {
    handler: Arc<H>,
    attempt: Pin<Box<Option<F>>>,
}

impl<H, F> Handler for FnHandler<H>
where
    H: Fn(Context) -> Result<F, CodecError> + Send + Sync + 'static,
    F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    fn slot(&self) -> Box<dyn Slot> {
        Box::new(FnSlot { handler: Arc::clone(&self.0), attempt: Box::pin(None) })
    }
}

impl<H, F> Slot for FnSlot<H, F>
where
    H: Fn(Context) -> Result<F, CodecError> + Send + Sync + 'static,
    F: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    fn start(&mut self, ctx: Context) -> Result<(), CodecError> {
        self.attempt.set(Some((self.handler)(ctx)?));
        Ok(())
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Outcome, Failure>> {
        self.attempt
            .as_mut()
            .as_pin_mut()
            .expect("invariant: a slot is polled only while filled")
            .poll(cx)
    }

    fn clear(&mut self) {
        self.attempt.set(None);
    }
}

/// Runs `work`; a panic in it becomes its text. Nothing escapes, not even a panic from dropping
/// the panic's own payload.
///
/// # Errors
/// The text of the panic.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = panic_text(&*payload);
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // Its drop panicked with a payload of its own, whose drop may panic in turn: leaking
            // the second one is the only end of that chain.
            std::mem::forget(second);
        }
        text
    })
}

/// What a panic said.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn a_panic_whose_payload_panics_when_dropped_is_caught() {
        let caught = catch_panic(|| std::panic::panic_any(Bomb));
        assert_eq!(caught, Err("a panic without a text".to_owned()));
    }

    #[test]
    fn a_bad_kind_is_kept_for_build_to_report() {
        let mut definition = Definition::new();
        definition.consume("", |_: u8, _| async {}).queue("\n");
        let kinds = definition.into_kinds();
        assert_eq!(kinds[0].invalid, Some(NameError::Empty { what: "kind" }));
    }
}

//! [`Task`]: what is enqueued.

use std::time::Duration;

use crate::name::{Key, Kind, NameError, QueueName};
use crate::payload::{AnyPayload, Payload};
use crate::priority::Priority;
use crate::time::Timestamp;

/// A unit of work: the kind of worker that it is for, and the payload that the worker gets.
///
/// A worker's own constructor (`send_email.task(email)`) is the usual way to one;
/// [`Task::new`] makes one where the worker is not at hand. A name that breaks the rules of
/// [`NameError`] is reported when the task is enqueued, so that the setters can be chained.
///
/// ```
/// use std::time::Duration;
/// use conveyor_core::{Priority, Task};
///
/// let task = Task::new("send_email", "ada@example.com".to_owned())
///     .key("welcome:ada")
///     .priority(Priority::HIGH)
///     .delay(Duration::from_secs(10));
/// assert_eq!(task.payload(), "ada@example.com");
/// ```
#[derive(Clone, Debug)]
pub struct Task<T: 'static> {
    kind: Kind,
    payload: T,
    set: Settings,
    /// What the payload's type says, then what the worker's attribute says.
    defaults: [Option<&'static TaskDefaults<T>>; 2],
}

/// A task of any payload, for lists that mix kinds.
#[derive(Clone, Debug)]
pub struct AnyTask {
    /// The kind of worker that it is for.
    pub kind: Kind,
    /// What the worker gets.
    pub payload: AnyPayload,
    /// What was set on the task, or by its type or worker.
    pub set: Settings,
}

/// What can be set on a task; what is not set is decided by others (see the crate's docs).
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The dedup key.
    pub key: Option<Key>,
    /// The queue.
    pub queue: Option<QueueName>,
    /// The priority.
    pub priority: Option<Priority>,
    /// When it may start at the earliest.
    pub start: Start,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many attempts may follow the first after errors.
    pub retries: Option<u32>,
    /// The first bad name that was given; it is reported at the enqueue.
    pub invalid: Option<Box<NameError>>,
}

/// When a task may start at the earliest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// This long after the store accepted it, by the store's clock.
    After(Duration),
    /// At that instant of the store's clock.
    At(Timestamp),
}

impl Start {
    /// The earliest start of a task that is accepted at `now`.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Start::Now => now,
            Start::After(delay) => now + delay,
            Start::At(at) => at,
        }
    }
}

/// What a payload type or a worker says of its tasks, unless the task itself says otherwise.
#[derive(Debug)]
pub struct TaskDefaults<T: 'static> {
    /// The queue.
    pub queue: Option<QueueName>,
    /// The priority.
    pub priority: Option<Priority>,
    /// The dedup key of a payload.
    pub key: Option<fn(&T) -> String>,
}

/// A payload type that knows the kind of its tasks; made by `#[derive(Task)]`.
pub trait TaskType: Payload + Sized {
    /// The kind of worker that takes this payload.
    const KIND: Kind;
    /// What the type says of its tasks.
    const DEFAULTS: &'static TaskDefaults<Self>;
}

/// What can be enqueued: a [`Task`], an [`AnyTask`], or a payload that is a [`TaskType`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "make a task with `worker.task(payload)` or `Task::new(\"kind\", payload)`, or derive `Task` for the payload's type"
)]
pub trait IntoTask {
    /// The task, its payload's type erased.
    fn into_task(self) -> AnyTask;
}

impl<T: Payload> Task<T> {
    /// A task of that kind.
    pub fn new<K>(kind: K, payload: T) -> Self
    where
        K: TryInto<Kind>,
        K::Error: Into<NameError>,
    {
        let mut set = Settings::default();
        let kind = set.check(kind).unwrap_or(const { Kind::from_static("invalid") });
        Task { kind, payload, set, defaults: [None, None] }
    }

    /// A task whose payload type and worker have a say in its settings; for a worker's own
    /// constructor.
    pub fn with_defaults(
        kind: Kind,
        payload: T,
        of_type: Option<&'static TaskDefaults<T>>,
        of_worker: Option<&'static TaskDefaults<T>>,
    ) -> Self {
        Task { kind, payload, set: Settings::default(), defaults: [of_type, of_worker] }
    }

    /// The kind of worker that it is for.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What the worker gets.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// Sets the dedup key: while a task of this kind and key is live, another is refused.
    #[must_use]
    pub fn key<K>(mut self, key: K) -> Self
    where
        K: TryInto<Key>,
        K::Error: Into<NameError>,
    {
        self.set.key = self.set.check(key);
        self
    }

    /// Sets the queue.
    #[must_use]
    pub fn queue<Q>(mut self, queue: Q) -> Self
    where
        Q: TryInto<QueueName>,
        Q::Error: Into<NameError>,
    {
        self.set.queue = self.set.check(queue);
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: impl Into<Priority>) -> Self {
        self.set.priority = Some(priority.into());
        self
    }

    /// Starts it `delay` after the store accepted it, at the earliest.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.set.start = Start::After(delay);
        self
    }

    /// Starts it at that instant of the store's clock, at the earliest.
    #[must_use]
    pub fn at(mut self, at: impl Into<Timestamp>) -> Self {
        self.set.start = Start::At(at.into());
        self
    }

    /// Sets how long one attempt may take. Zero is refused at the enqueue.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.set.timeout = Some(timeout);
        self
    }

    /// Sets how many attempts may follow the first after errors.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.set.retries = Some(retries);
        self
    }

    /// The task with its payload's type erased, for lists that mix kinds.
    #[must_use]
    pub fn erase(self) -> AnyTask {
        let Task { kind, payload, mut set, defaults } = self;
        for default in defaults.into_iter().flatten() {
            set.queue = set.queue.or_else(|| default.queue.clone());
            set.priority = set.priority.or(default.priority);
            if let (None, Some(key_of)) = (&set.key, default.key) {
                set.key = set.check(key_of(&payload));
            }
        }
        AnyTask { kind, payload: AnyPayload::new(payload), set }
    }
}

impl Settings {
    /// `name` if it is a valid one; else keeps the first error for the enqueue.
    fn check<N, T>(&mut self, name: N) -> Option<T>
    where
        N: TryInto<T>,
        N::Error: Into<NameError>,
    {
        match name.try_into() {
            Ok(name) => Some(name),
            Err(error) => {
                self.invalid.get_or_insert_with(|| Box::new(error.into()));
                None
            }
        }
    }
}

impl<T: TaskType> From<T> for Task<T> {
    fn from(payload: T) -> Self {
        Task::with_defaults(T::KIND, payload, Some(T::DEFAULTS), None)
    }
}

impl<T: Payload> IntoTask for Task<T> {
    fn into_task(self) -> AnyTask {
        self.erase()
    }
}

impl IntoTask for AnyTask {
    fn into_task(self) -> AnyTask {
        self
    }
}

impl<T: TaskType> IntoTask for T {
    fn into_task(self) -> AnyTask {
        Task::from(self).erase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static OF_TYPE: TaskDefaults<String> = TaskDefaults {
        queue: Some(QueueName::from_static("of-type")),
        priority: None,
        key: Some(|payload| format!("key:{payload}")),
    };
    static OF_WORKER: TaskDefaults<String> = TaskDefaults {
        queue: Some(QueueName::from_static("of-worker")),
        priority: Some(Priority::HIGH),
        key: None,
    };

    fn task() -> Task<String> {
        let kind = Kind::from_static("mail");
        Task::with_defaults(kind, "x".into(), Some(&OF_TYPE), Some(&OF_WORKER))
    }

    #[test]
    fn the_task_decides_before_its_type_and_its_type_before_its_worker() {
        let by_defaults = task().erase().set;
        assert_eq!(by_defaults.queue.unwrap().as_str(), "of-type");
        assert_eq!(by_defaults.priority, Some(Priority::HIGH));
        assert_eq!(by_defaults.key.unwrap().as_str(), "key:x");

        let by_task = task().queue("q").key("k").priority(3).erase().set;
        assert_eq!(by_task.queue.unwrap().as_str(), "q");
        assert_eq!(by_task.priority, Some(Priority::new(3)));
        assert_eq!(by_task.key.unwrap().as_str(), "k");
    }

    #[test]
    fn the_first_bad_name_is_kept_for_the_enqueue() {
        let set = Task::new("mail", 1u8).key("").queue("").erase().set;
        assert_eq!(set.invalid.as_deref(), Some(&NameError::Empty { what: "key" }));
        let set = Task::new("", 1u8).erase().set;
        assert_eq!(set.invalid.as_deref(), Some(&NameError::Empty { what: "kind" }));
    }
}

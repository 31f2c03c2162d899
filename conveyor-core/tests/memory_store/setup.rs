//! The store under test, a clock that is moved by hand, and short ways to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use conveyor_core::metrics::Counts;
use conveyor_core::payload::AnyPayload;
use conveyor_core::runtime::Clock;
use conveyor_core::store::{
    Claim, ClaimRequest, Claimed, Demand, EndState, Enqueued, Filter, KindRoom, NewTask, Renewed,
    Rescue, RescueRequest, Settle, Settled, StoreFuture, TaskInfo, Verdict,
};
use conveyor_core::task::Start;
use conveyor_core::time::Instant;
use conveyor_core::{
    Fence, Incarnation, Key, Kind, MemoryStore, Priority, QueueName, Retention, Store, TaskId,
    TaskState, Timestamp,
};

/// Processes.
pub(crate) const A: Incarnation = Incarnation::new(0xa);
pub(crate) const B: Incarnation = Incarnation::new(0xb);
pub(crate) const C: Incarnation = Incarnation::new(0xc);

/// How long every lease is.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// The smallest step of a store's clock.
pub(crate) const TICK: Duration = Duration::from_micros(1);
/// At how many crashes a task ends.
pub(crate) const CRASH_BUDGET: u32 = 3;

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a step of less than an age");
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    pub(crate) fn set_back(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a step of less than an age");
        self.0.fetch_sub(by, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::SeqCst).unsigned_abs() * 1000)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Setup {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    tokens: AtomicU64,
}

/// What a store can be told when it is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) capacity: Option<usize>,
    pub(crate) retention: Option<Retention>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Setup::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let start = Timestamp::from_secs(1_700_000_000).as_micros();
        let clock = Arc::new(ManualClock(AtomicI64::new(start)));
        let mut store = MemoryStore::new(clock.clone()).shared_by_managers();
        if let Some(capacity) = options.capacity {
            store = store.with_capacity_limit(capacity);
        }
        if let Some(retention) = options.retention {
            store = store.with_retention(retention);
        }
        Setup { store: Arc::new(store), clock, tokens: AtomicU64::new(0) }
    }

    /// A store that has been watched for long enough that dead processes are noticed.
    pub(crate) fn watched() -> Self {
        let setup = Setup::new();
        setup.keep_watch();
        setup
    }

    pub(crate) fn keep_watch(&self) {
        self.rescue(C);
        self.watch_for(LEASE);
    }

    /// Lets time pass as it does for processes that live: they ask every half of a lease, since
    /// after a longer silence nothing is taken back. C asks, and is the last to do so.
    pub(crate) fn watch_for(&self, time: Duration) -> Rescue {
        let mut rescue = Rescue::default();
        let mut left = time;
        while left > Duration::ZERO {
            let step = left.min(LEASE / 2);
            self.clock.advance(step);
            let Rescue { rescued, next } = self.rescue(C);
            rescue.rescued.extend(rescued);
            rescue.next = next;
            left -= step;
        }
        rescue
    }

    pub(crate) fn now(&self) -> Timestamp {
        done(self.store.now())
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn offer(&self, task: NewTask) -> Enqueued {
        done(self.store.enqueue_one(task))
    }

    /// Enqueues a task that must be accepted.
    pub(crate) fn enqueue(&self, task: NewTask) -> TaskId {
        let id = task.id;
        let reply = self.offer(task);
        assert!(matches!(reply, Enqueued::Accepted), "{reply:?}");
        id
    }

    pub(crate) fn ask(&self, by: Incarnation) -> Ask<'_> {
        Ask {
            setup: self,
            by,
            token: self.tokens.fetch_add(1, Ordering::SeqCst),
            queues: vec![QueueName::from_static("q")],
            kinds: vec![room_for("work", usize::MAX)],
            min_priority: Priority::MIN,
            room: usize::MAX,
            alone: false,
        }
    }

    /// Claims the one task that there must be of kind `work` in the queue `q`.
    pub(crate) fn claim_one(&self, by: Incarnation) -> Claimed {
        let mut tasks = self.ask(by).room(1).tasks();
        assert_eq!(tasks.len(), 1, "a task to claim");
        tasks.remove(0)
    }

    /// Claims the one suspect that there must be.
    pub(crate) fn claim_suspect(&self, by: Incarnation) -> Claimed {
        let mut tasks = self.ask(by).alone().tasks();
        assert_eq!(tasks.len(), 1, "a suspect to claim");
        tasks.remove(0)
    }

    /// Enqueues a task and has `by` claim it; there must be no other.
    pub(crate) fn active(&self, by: Incarnation, task: NewTask) -> Claimed {
        let id = self.enqueue(task);
        let claimed = self.claim_one(by);
        assert_eq!(claimed.fence.task, id);
        claimed
    }

    pub(crate) fn settle(&self, claimed: &Claimed, verdict: Verdict) -> Settled {
        self.settle_as(settle(claimed, verdict))
    }

    pub(crate) fn settle_as(&self, settle: Settle) -> Settled {
        let mut replies = done(self.store.settle(vec![settle]));
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    pub(crate) fn renew(&self, by: Incarnation, fence: Fence) -> Renewed {
        let replies = done(self.store.renew(by, &[fence], LEASE));
        assert_eq!(replies.len(), 1);
        replies[0]
    }

    pub(crate) fn rescue(&self, by: Incarnation) -> Rescue {
        self.rescue_at_most(by, usize::MAX)
    }

    pub(crate) fn rescue_at_most(&self, by: Incarnation, limit: usize) -> Rescue {
        done(self.store.rescue(RescueRequest {
            by,
            lease: LEASE,
            crash_budget: CRASH_BUDGET,
            limit,
        }))
    }

    /// Lets every lease run out, and takes back what it can.
    pub(crate) fn rescue_after_death(&self) -> Rescue {
        self.watch_for(LEASE + TICK)
    }

    pub(crate) fn pause(&self, queue: &'static str, paused: bool) {
        done(self.store.pause(&QueueName::from_static(queue), paused));
    }

    pub(crate) fn promote(&self, limit: usize) -> Option<Timestamp> {
        done(self.store.promote(limit))
    }

    pub(crate) fn end(&self, id: TaskId) -> EndState {
        done(self.store.ends(&[id])).remove(0)
    }

    /// Every task that the store knows, with its counters: what a call without effect leaves alone.
    pub(crate) fn everything(&self) -> (Vec<TaskInfo>, conveyor_core::metrics::Counters) {
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        let tasks = done(self.store.inspect(&filter)).tasks;
        (tasks, done(self.store.counters()))
    }

    /// The totals, checked against the tasks themselves.
    pub(crate) fn counts(&self) -> Counts {
        let (tasks, counters) = self.everything();
        let counts = counters.total();
        let in_state = |state| tasks.iter().filter(|task| task.state == state).count() as u64;
        assert_eq!(counts.queued, in_state(TaskState::Queued), "queued");
        assert_eq!(counts.scheduled, in_state(TaskState::Scheduled), "scheduled");
        assert_eq!(counts.active, in_state(TaskState::Active), "active");
        assert_eq!(counts.parked, in_state(TaskState::Parked), "parked");
        assert_eq!(counts.enqueued, counts.live() + counts.ended(), "{counts:?}");
        counts
    }
}

/// A request for tasks, of kind `work` in the queue `q` unless it says otherwise.
pub(crate) struct Ask<'s> {
    setup: &'s Setup,
    by: Incarnation,
    token: u64,
    queues: Vec<QueueName>,
    kinds: Vec<KindRoom>,
    min_priority: Priority,
    room: usize,
    alone: bool,
}

impl Ask<'_> {
    pub(crate) fn queues(mut self, queues: &[&'static str]) -> Self {
        self.queues = queues.iter().map(|&q| QueueName::from_static(q)).collect();
        self
    }

    pub(crate) fn at_least(mut self, priority: Priority) -> Self {
        self.min_priority = priority;
        self
    }

    pub(crate) fn room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) fn claim(&self) -> Claim {
        done(self.setup.store.claim(ClaimRequest {
            by: self.by,
            token: self.token,
            lease: LEASE,
            demand: Demand {
                queues: &self.queues,
                kinds: &self.kinds,
                min_priority: self.min_priority,
                room: self.room,
            },
            alone: self.alone,
        }))
    }

    pub(crate) fn tasks(&self) -> Vec<Claimed> {
        self.claim().tasks
    }

    pub(crate) fn ids(&self) -> Vec<TaskId> {
        self.tasks().iter().map(|claimed| claimed.fence.task).collect()
    }
}

fn room_for(kind: &'static str, room: usize) -> KindRoom {
    KindRoom { kind: Kind::from_static(kind), room }
}

/// The reply of a store that answers at once.
pub(crate) fn done<T>(reply: StoreFuture<'_, T>) -> T {
    match reply.now_or_later() {
        Ok(reply) => reply.expect("the store does not fail"),
        Err(_) => panic!("a store in memory answers at once"),
    }
}

/// A task of kind `work` for the queue `q`, with an id above all that were made before it.
pub(crate) fn task() -> NewTask {
    static IDS: AtomicU64 = AtomicU64::new(1);
    let id = IDS.fetch_add(1, Ordering::SeqCst);
    NewTask {
        id: TaskId::from_u128(id.into()),
        kind: Kind::from_static("work"),
        queue: QueueName::from_static("q"),
        key: None,
        priority: Priority::NORMAL,
        payload: AnyPayload::new(id),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

/// Setters for a [`NewTask`].
pub(crate) trait Set: Sized {
    fn kind(self, kind: &'static str) -> Self;
    fn queue(self, queue: &'static str) -> Self;
    fn key(self, key: &'static str) -> Self;
    fn priority(self, priority: Priority) -> Self;
    fn start(self, start: Start) -> Self;
    fn delay(self, delay: Duration) -> Self {
        self.start(Start::After(delay))
    }
}

impl Set for NewTask {
    fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Kind::from_static(kind);
        self
    }

    fn queue(mut self, queue: &'static str) -> Self {
        self.queue = QueueName::from_static(queue);
        self
    }

    fn key(mut self, key: &'static str) -> Self {
        self.key = Some(Key::from_static(key));
        self
    }

    fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
}

/// A settle without children.
pub(crate) fn settle(claimed: &Claimed, verdict: Verdict) -> Settle {
    Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    }
}

pub(crate) fn retry(delay: Duration) -> Verdict {
    Verdict::Retry { delay, error: "no luck".into() }
}

pub(crate) fn snooze(delay: Duration) -> Verdict {
    Verdict::Snooze { delay }
}

pub(crate) fn fail() -> Verdict {
    Verdict::Fail { error: "no hope".into() }
}

pub(crate) fn cancel() -> Verdict {
    Verdict::Cancel { why: "no point".into() }
}

pub(crate) fn hand_back() -> Verdict {
    Verdict::Return { started: true }
}

pub(crate) fn park() -> Verdict {
    Verdict::Park { reason: "no sense".into() }
}

/// One verdict of each sort.
pub(crate) fn every_verdict() -> Vec<Verdict> {
    vec![
        Verdict::Succeed,
        retry(secs(5)),
        fail(),
        cancel(),
        snooze(secs(5)),
        hand_back(),
        Verdict::Return { started: false },
        Verdict::Interrupt,
        park(),
    ]
}

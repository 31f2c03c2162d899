//! An open store, with short ways to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conveyor_core::metrics::{Counters, Counts};
use conveyor_core::store::{
    CancelReply, Claim, ClaimRequest, Claimed, Demand, EndState, Enqueued, Filter, KindRoom,
    NewTask, Page, Renewed, Rescue, RescueRequest, Settle, Settled, StoreFuture, TaskInfo, Verdict,
};
use conveyor_core::{
    Fence, Incarnation, Kind, Priority, QueueName, Store, TaskId, TaskState, Timestamp,
};

use super::harness::StoreHarness;
use super::run::Suite;
use super::task::task;
use super::transaction::Transaction;
use super::verdict::settle;

/// Processes.
pub(super) const A: Incarnation = Incarnation::new(0xa);
pub(super) const B: Incarnation = Incarnation::new(0xb);
pub(super) const C: Incarnation = Incarnation::new(0xc);

/// How many ticks a lease has. Two thirds of it, after which a silence is an outage, is no whole
/// number of ticks, so that no case depends on what a clock does in between.
pub(super) const LEASE: u32 = 10;

/// At how many crashes a task ends.
pub(super) const CRASH_BUDGET: u32 = 3;

/// More than any case has; no case asks a store what a number without bounds does to it but those
/// that are about it.
pub(super) const MANY: usize = 100_000;

pub(super) struct Setup {
    suite: Suite,
    pub(super) store: Arc<dyn Store>,
}

impl Setup {
    pub(super) fn new(suite: Suite, store: Arc<dyn Store>) -> Self {
        Setup { suite, store }
    }

    /// The same store, as another process has it.
    pub(super) fn again(&self) -> Setup {
        self.suite.open_again()
    }

    /// The same store, as another process has it, if there is such a thing.
    pub(super) fn if_again(&self) -> Option<Setup> {
        let store = self.harness().open_again()?;
        Some(Setup::new(self.suite.clone(), store))
    }

    pub(super) fn harness(&self) -> &dyn StoreHarness {
        self.suite.harness()
    }

    pub(super) fn done<T: Send>(&self, reply: StoreFuture<'_, T>) -> T {
        self.suite.done(reply)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.done(self.store.now())
    }

    pub(super) fn ticks(&self, ticks: u32) -> Duration {
        self.harness().tick() * ticks
    }

    pub(super) fn lease(&self) -> Duration {
        self.ticks(LEASE)
    }

    /// Lets so many ticks pass.
    pub(super) fn advance(&self, ticks: u32) {
        self.suite.advance(self.ticks(ticks));
    }

    /// Sets the clock back by so many ticks.
    pub(super) fn set_back(&self, ticks: u32) {
        assert!(self.harness().set_back(self.ticks(ticks)), "the clock can be set back");
    }

    /// The reply to a call, which must have taken place at an instant that `at` says of it, if
    /// that is counted from `since` on.
    pub(super) fn check_time<T>(
        &self,
        call: impl FnOnce() -> T,
        since: impl Fn(Timestamp) -> Timestamp,
        at: impl Fn(&T) -> Timestamp,
    ) -> T {
        let before = self.now();
        let reply = call();
        let after = self.now();
        let at = at(&reply);
        let between = since(before)..=since(after);
        assert!(between.contains(&at), "{at} is not in {between:?}");
        reply
    }

    pub(super) fn offer(&self, task: NewTask) -> Enqueued {
        self.done(self.store.enqueue_one(task))
    }

    pub(super) fn offer_all(&self, batch: Vec<NewTask>) -> Vec<Enqueued> {
        let count = batch.len();
        let replies = self.done(self.store.enqueue(batch));
        assert_eq!(replies.len(), count, "each element is answered");
        replies
    }

    /// Enqueues a task that must be accepted.
    pub(super) fn enqueue(&self, task: NewTask) -> TaskId {
        let id = task.id;
        let reply = self.offer(task);
        assert!(matches!(reply, Enqueued::Accepted), "{reply:?}");
        id
    }

    /// Enqueues tasks that must be accepted, in one batch.
    pub(super) fn enqueue_all(&self, batch: impl IntoIterator<Item = NewTask>) -> Vec<TaskId> {
        let batch: Vec<NewTask> = batch.into_iter().collect();
        let ids = batch.iter().map(|task| task.id).collect();
        for reply in self.offer_all(batch) {
            assert!(matches!(reply, Enqueued::Accepted), "{reply:?}");
        }
        ids
    }

    pub(super) fn ask(&self, by: Incarnation) -> Ask<'_> {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        Ask {
            setup: self,
            by,
            token: TOKENS.fetch_add(1, Ordering::SeqCst),
            queues: vec![QueueName::from_static("q")],
            kinds: vec![room_for("work", MANY)],
            min_priority: Priority::MIN,
            room: MANY,
            alone: false,
        }
    }

    /// Claims the one task that is next of kind `work` in the queue `q`.
    pub(super) fn claim_one(&self, by: Incarnation) -> Claimed {
        let mut tasks = self.ask(by).room(1).tasks();
        assert_eq!(tasks.len(), 1, "a task to claim");
        tasks.remove(0)
    }

    /// Claims the one suspect that is next.
    pub(super) fn claim_suspect(&self, by: Incarnation) -> Claimed {
        let mut tasks = self.ask(by).alone().tasks();
        assert_eq!(tasks.len(), 1, "a suspect to claim");
        tasks.remove(0)
    }

    /// Enqueues a task and has `by` claim it; there must be no other.
    pub(super) fn active(&self, by: Incarnation, task: NewTask) -> Claimed {
        let id = self.enqueue(task);
        let claimed = self.claim_one(by);
        assert_eq!(claimed.fence.task, id);
        claimed
    }

    /// Enqueues so many tasks and has A claim them at once.
    pub(super) fn several(&self, count: usize) -> Vec<Claimed> {
        self.enqueue_all((0..count).map(|_| task()));
        let claimed = self.ask(A).tasks();
        assert_eq!(claimed.len(), count);
        claimed
    }

    /// A transaction of a caller's own.
    pub(super) fn begin(&self) -> Transaction<'_> {
        let begun = self.harness().begin();
        Transaction::new(self, begun.expect("the harness begins what the store tells of"))
    }

    pub(super) fn settle(&self, claimed: &Claimed, verdict: Verdict) -> Settled {
        self.settle_as(settle(claimed, verdict))
    }

    pub(super) fn settle_as(&self, settle: Settle) -> Settled {
        self.settle_all(vec![settle]).remove(0)
    }

    pub(super) fn settle_all(&self, batch: Vec<Settle>) -> Vec<Settled> {
        let count = batch.len();
        let replies = self.done(self.store.settle(batch));
        assert_eq!(replies.len(), count, "each element is answered");
        replies
    }

    pub(super) fn renew(&self, by: Incarnation, fence: Fence) -> Renewed {
        self.renew_all(by, &[fence])[0]
    }

    pub(super) fn renew_all(&self, by: Incarnation, fences: &[Fence]) -> Vec<Renewed> {
        // Busy is an answer if others are at it, which they are not for ever.
        for _ in 0..1_000 {
            let replies = self.done(self.store.renew(by, fences, self.lease()));
            assert_eq!(replies.len(), fences.len(), "each element is answered");
            if !replies.contains(&Renewed::Busy) {
                return replies;
            }
            std::thread::yield_now();
        }
        panic!("the store is busy for ever");
    }

    pub(super) fn rescue(&self, by: Incarnation) -> Rescue {
        self.rescue_at_most(by, MANY)
    }

    pub(super) fn rescue_request(&self, by: Incarnation) -> RescueRequest {
        RescueRequest { by, lease: self.lease(), crash_budget: CRASH_BUDGET, limit: MANY }
    }

    pub(super) fn rescue_at_most(&self, by: Incarnation, limit: usize) -> Rescue {
        let request = RescueRequest { limit, ..self.rescue_request(by) };
        let rescue = self.done(self.store.rescue(request));
        assert!(rescue.rescued.len() <= limit, "no more than the limit");
        rescue
    }

    /// Has C ask for rescues for so long that dead processes are noticed from now on.
    pub(super) fn keep_watch(&self) {
        self.rescue(C);
        self.watch(LEASE + 1);
    }

    /// Lets ticks pass as they do for processes that live: they ask every half of a lease, since
    /// after a longer silence nothing is taken back. C asks, also at the end.
    pub(super) fn watch(&self, ticks: u32) -> Rescue {
        let mut all = Rescue::default();
        let mut left = ticks;
        while left > 0 {
            let step = left.min(LEASE / 2);
            self.advance(step);
            let Rescue { rescued, next } = self.rescue(C);
            all.rescued.extend(rescued);
            all.next = next;
            left -= step;
        }
        all
    }

    /// As [`Setup::watch`], but the last to ask is left to the case.
    pub(super) fn watch_until(&self, ticks: u32) {
        let last = ticks.min(LEASE / 2);
        let rescued = self.watch(ticks - last).rescued;
        assert!(rescued.is_empty(), "taken back too early: {rescued:?}");
        self.advance(last);
    }

    /// Lets every lease run out, and takes back what C can.
    pub(super) fn rescue_after_death(&self) -> Rescue {
        self.watch(LEASE + 1)
    }

    /// Promotes all that is due, and tells what is due next.
    pub(super) fn promote(&self) -> Option<Timestamp> {
        for _ in 0..MANY {
            match self.done(self.store.promote(MANY)) {
                // Some is left: the store takes fewer at a time.
                Some(next) if next <= self.now() => {}
                next => return next,
            }
        }
        panic!("what is due is promoted again and again");
    }

    pub(super) fn cancel(&self, id: TaskId) -> CancelReply {
        self.cancel_all(&[id])[0]
    }

    pub(super) fn cancel_all(&self, ids: &[TaskId]) -> Vec<CancelReply> {
        let replies = self.done(self.store.cancel(ids));
        assert_eq!(replies.len(), ids.len(), "each element is answered");
        replies
    }

    pub(super) fn pause(&self, queue: &'static str, paused: bool) {
        self.done(self.store.pause(&QueueName::from_static(queue), paused));
    }

    pub(super) fn paused(&self) -> Vec<QueueName> {
        self.done(self.store.paused())
    }

    pub(super) fn end(&self, id: TaskId) -> EndState {
        self.ends(&[id]).remove(0)
    }

    pub(super) fn ends(&self, ids: &[TaskId]) -> Vec<EndState> {
        let replies = self.done(self.store.ends(ids));
        assert_eq!(replies.len(), ids.len(), "each element is answered");
        replies
    }

    pub(super) fn page(&self, filter: &Filter) -> Page {
        self.done(self.store.inspect(filter))
    }

    /// What the store knows of a task that it must know.
    pub(super) fn info(&self, id: TaskId) -> TaskInfo {
        let before = TaskId::from_u128(id.as_u128() - 1);
        let filter = Filter { after: Some(before), limit: 1, ..Filter::default() };
        let info = self.page(&filter).tasks.into_iter().next();
        let info = info.unwrap_or_else(|| panic!("the task {id} is not there"));
        assert_eq!(info.id, id);
        info
    }

    pub(super) fn state(&self, id: TaskId) -> TaskState {
        self.info(id).state
    }

    /// Every task that the store knows and that `filter` leaves, in the order of ids.
    pub(super) fn list(&self, filter: Filter) -> Vec<TaskInfo> {
        let mut filter = Filter { limit: 1_000, ..filter };
        let mut tasks = Vec::new();
        loop {
            let page = self.page(&filter);
            tasks.extend(page.tasks);
            match page.next {
                None => return tasks,
                next => filter.after = next,
            }
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let mut counters = self.done(self.store.counters());
        // A store need not have a row for what there is nothing of.
        counters.each.retain(|_, counts| *counts != Counts::default());
        counters
    }

    /// Every task that the store knows, with its counters: what a call without effect leaves alone.
    pub(super) fn everything(&self) -> (Vec<TaskInfo>, Counters) {
        (self.list(Filter::default()), self.counters())
    }

    /// The totals, checked against the tasks themselves.
    pub(super) fn counts(&self) -> Counts {
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

    /// Whether nothing but the passing of time happened since: a call without effect.
    pub(super) fn is_unchanged<T>(&self, what: &str, call: impl FnOnce() -> T) -> T {
        let before = self.everything();
        let reply = call();
        assert_eq!(self.everything(), before, "{what}: nothing changes");
        reply
    }
}

/// A request for tasks, of kind `work` in the queue `q` unless it says otherwise.
pub(super) struct Ask<'s> {
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
    pub(super) fn queues(mut self, queues: &[&'static str]) -> Self {
        self.queues = queues.iter().map(|&queue| QueueName::from_static(queue)).collect();
        self
    }

    pub(super) fn kinds(mut self, kinds: &[&'static str]) -> Self {
        self.kinds = kinds.iter().map(|&kind| room_for(kind, MANY)).collect();
        self
    }

    pub(super) fn rooms(mut self, kinds: &[(&'static str, usize)]) -> Self {
        self.kinds = kinds.iter().map(|&(kind, room)| room_for(kind, room)).collect();
        self
    }

    /// The queue and the kind of a task, whatever they are.
    pub(super) fn like(mut self, task: &NewTask) -> Self {
        self.queues = vec![task.queue.clone()];
        self.kinds = vec![KindRoom { kind: task.kind.clone(), room: MANY }];
        self
    }

    pub(super) fn at_least(mut self, priority: Priority) -> Self {
        self.min_priority = priority;
        self
    }

    pub(super) fn room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    pub(super) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(super) fn token(mut self, token: u64) -> Self {
        self.token = token;
        self
    }

    pub(super) fn claim(&self) -> Claim {
        self.setup.done(self.call())
    }

    /// The call itself.
    pub(super) fn call(&self) -> StoreFuture<'_, Claim> {
        self.setup.store.claim(ClaimRequest {
            by: self.by,
            token: self.token,
            lease: self.setup.lease(),
            demand: Demand {
                queues: &self.queues,
                kinds: &self.kinds,
                min_priority: self.min_priority,
                room: self.room,
            },
            alone: self.alone,
        })
    }

    pub(super) fn tasks(&self) -> Vec<Claimed> {
        self.claim().tasks
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        ids(&self.tasks())
    }
}

fn room_for(kind: &'static str, room: usize) -> KindRoom {
    KindRoom { kind: Kind::from_static(kind), room }
}

/// Which tasks were claimed.
pub(super) fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|claimed| claimed.fence.task).collect()
}

/// In the order in which they are listed.
pub(super) fn sorted(ids: impl IntoIterator<Item = TaskId>) -> Vec<TaskId> {
    let mut ids: Vec<TaskId> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

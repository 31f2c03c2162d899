//! [`Store`]: where tasks live, and the contract that every store keeps.
//!
//! A store does what it is asked in batches and answers in the order of the input. It never runs a
//! task, never waits for a runtime, and never decides how often to retry: the engine does.
//!
//! # What every store promises
//!
//! - **One step.** Each element of a batch takes effect as a whole or not at all: the key check
//!   with the insert, the end with the release of the key, the counters and the children.
//! - **The fence.** [`Store::settle`] and [`Store::renew`] change a task only if the stored fence
//!   is the one they are given and the task is active; else they say so and change nothing.
//! - **Order.** Claims go by priority, then due time, then age; but one claim in
//!   [`AGEING`](crate::lanes::AGEING) goes to the oldest claimable task. A task that is handed back
//!   keeps its place.
//! - **Its own clock.** Every due time and lease is by the store's clock, [`Store::now`].
//! - **Repeats are harmless.** A batch that is sent again, because its reply was lost, is answered
//!   as it was the first time: by the task's id for an enqueue, the token for a claim, and the
//!   fence for a settle.
//! - **Any value will do.** A limit, a room or a delay may be the largest number there is, and a
//!   reason may be any text. What a store cannot hold of a text (a NUL, or all of a long one) it
//!   leaves out; it fails no call for it.
//! - **A call may be dropped.** Whoever waits too long for a reply drops its future and asks again;
//!   whether the call had its effect is unknown then, and either is right.

mod claim;
mod enqueue;
mod error;
mod future;
mod inspect;
mod schedule;
mod settle;
mod transaction;
mod wake;

use std::any::Any;
use std::time::Duration;

pub use claim::{
    Claim, ClaimRequest, Claimed, Demand, KindRoom, Renewed, Rescue, RescueRequest, Rescued,
    RescuedAs,
};
pub use enqueue::{Enqueued, NewTask};
pub use error::{StoreError, StoreErrorKind};
pub use future::StoreFuture;
pub use inspect::{
    AttemptEnd, CancelReply, EndState, Filter, PAST_ATTEMPTS, Page, PastAttempt, TaskInfo,
};
pub use schedule::{ScheduleDefinition, ScheduleState, Tick, Ticked};
pub use settle::{Budgets, Settle, Settled, Verdict};
pub use transaction::{OtherStore, StoreTransaction};
pub use wake::{Wake, WakeSink};

use crate::id::{Fence, Incarnation, TaskId};
use crate::metrics::Counters;
use crate::name::{Kind, QueueName};
use crate::time::Timestamp;

/// The result of a call to a store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Where tasks live.
///
/// Read the [module's page](self) for what every store promises. The methods follow the life of a
/// task: enqueue, claim, settle, with maintenance beside them.
///
/// It is [`Any`], so that the engine finds a store of a given type behind a `dyn Store`: the one
/// that a [`StoreTransaction`] is for. Its calls work when they are polled from any thread, on any
/// executor: what a store does on a wire or a disk, it does on threads of its own.
pub trait Store: Any + Send + Sync {
    /// What this store can do, which never changes while it is open.
    fn capabilities(&self) -> Capabilities;

    /// How much an accepted task survives: asked of the server, not assumed.
    fn durability(&self) -> StoreFuture<'_, Durability>;

    /// The store's clock.
    fn now(&self) -> StoreFuture<'_, Timestamp>;

    /// Accepts tasks. A task with a key is refused if a live task has the same kind and key; the
    /// check and the insert are one step. A task whose id is known already is
    /// [`Enqueued::Accepted`] again, and nothing happens.
    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>>;

    /// Accepts one task: [`Store::enqueue`] without the batch.
    fn enqueue_one(&self, task: NewTask) -> StoreFuture<'_, Enqueued> {
        self.enqueue(vec![task]).map(|mut replies| {
            replies
                .pop()
                .unwrap_or_else(|| unreachable!("a store answers every element of a batch"))
        })
    }

    /// Takes claimable tasks under a lease: each gets a new epoch, and belongs to
    /// [`ClaimRequest::by`] until it is settled or the lease runs out. Due tasks are claimable
    /// whether [`Store::promote`] has seen them or not.
    ///
    /// Tasks of kinds that the request does not name are left alone, whatever their place. A
    /// *suspect* (see [`Store::rescue`]) is given only to a request that asks for one
    /// [`alone`](ClaimRequest::alone), by a process that holds nothing else.
    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim>;

    /// Records how attempts ended, each only if its fence is the current one. The verdict, the
    /// release of the key, the children and the counters are one step.
    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>>;

    /// Extends leases to `lease` from now, each only if its fence is the current one; then always,
    /// even if it ran out. Never waits for a lock of another's.
    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>>;

    /// Takes back what dead processes held: tasks whose lease ran out become claimable, in their
    /// old place.
    ///
    /// A lease that was marked as interrupted costs nothing. Of a process that died with a single
    /// claim, that task is charged a crash, and ends as crashed at the budget's end. Of one that
    /// died with several, nobody knows the culprit: they become *suspects* at no cost, to be
    /// claimed alone.
    ///
    /// Holders renew every third of a lease, and processes ask for a rescue every half of one. If
    /// nobody asked for longer than two thirds of a lease, or ever, the store was away, or its
    /// clock jumped: nothing is taken back for one lease from then on, so that the living renew
    /// first.
    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue>;

    /// Makes due tasks claimable, at most `limit`, and tells the earliest due time that is left: one
    /// that has passed if there is more to do at once.
    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>>;

    /// Puts a schedule, or finds it as it is. A definition that differs from the stored one
    /// replaces it, with the next revision and the anchor at now; an equal one changes nothing.
    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState>;

    /// Removes a schedule; nothing happens if there is none.
    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()>;

    /// Moves schedules' marks by compare-and-set, each in one step with the insert of its task.
    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>>;

    /// Cancels tasks: one that is not active ends at once; an active one is marked, and its holder
    /// learns of it at the next renewal. The mark outlives a rescue.
    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>>;

    /// Stops or goes on giving out the tasks of a queue. Active tasks are not touched.
    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()>;

    /// The queues that are paused, in the order of their names.
    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>>;

    /// How tasks ended.
    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>>;

    /// Lists tasks, by id, a page at a time.
    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page>;

    /// The counters: each was added to in the step of what it counts.
    fn counters(&self) -> StoreFuture<'_, Counters>;

    /// Forgets ends that are older than the retention, at most `limit`; tells how many.
    fn prune(&self, limit: usize) -> StoreFuture<'_, usize>;

    /// Has `sink` told of what happens, for as long as it lives. A wake-up is a hint: it may be
    /// lost or spurious, and is never the only way.
    fn subscribe(&self, sink: std::sync::Weak<dyn WakeSink>);

    /// The store that this one stands before, if it passes on what it is asked: a transaction of
    /// that one's is then good for this one, and goes past it.
    fn inner(&self) -> Option<&dyn Store> {
        None
    }
}

/// What a store can do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The store's name, for logs and labels: `memory`.
    pub name: &'static str,
    /// Whether other processes may use it too: leases are then renewed from a thread of their own,
    /// and others' leases are watched.
    pub shared: bool,
    /// Whether it is behind no wire: every call is answered at once, so nothing is gained by
    /// putting callers' requests together.
    pub immediate: bool,
    /// Whether payloads must be encoded.
    pub encoded: bool,
    /// The most bytes that an encoded payload may have.
    pub max_payload: usize,
    /// Whether there are transactions of a caller's own that take in what is enqueued and settled:
    /// [`StoreTransaction`].
    pub transactions: bool,
}

impl Capabilities {
    /// The capabilities of an unshared store in memory; change what differs.
    #[must_use]
    pub fn memory() -> Self {
        Capabilities {
            name: "memory",
            shared: false,
            immediate: true,
            encoded: false,
            max_payload: usize::MAX,
            transactions: false,
        }
    }
}

/// How much an accepted task survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Memory,
    /// A crash of the process or of the store's server.
    ProcessCrash,
    /// A loss of power.
    PowerLoss,
    /// The loss of a machine.
    Replicated,
}

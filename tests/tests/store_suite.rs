//! The suite for stores, on one behind a wire: its replies come later, on a runtime with threads,
//! each reply is lost once, and its clock goes on by itself.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use conveyor::{
    CancelReply, Durability, Fence, Filter, Incarnation, Kind, MemoryStore, Page, QueueName, Store,
    TaskId, Timestamp,
};
use conveyor_core::metrics::Counters;
use conveyor_core::runtime::{BoxFuture, Clock};
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, EndState, Enqueued, NewTask, Renewed, Rescue, RescueRequest,
    ScheduleDefinition, ScheduleState, Settle, Settled, StoreFuture, Tick, Ticked, Verdict,
    WakeSink,
};
use conveyor_core::time::Instant;
use conveyor_testkit::store_suite::{StoreHarness, StoreOptions};

/// A store in memory behind a wire that loses the first reply to whatever can be sent again.
struct Wired(Arc<MemoryStore>);

async fn on_the_wire() {
    tokio::task::yield_now().await;
}

macro_rules! once {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $reply> {
            StoreFuture::later(async move {
                on_the_wire().await;
                let reply = self.0.$name($($arg),*).await;
                on_the_wire().await;
                reply
            })
        })*
    };
}

/// Sent again, and answered as the first time.
macro_rules! twice {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $reply> {
            StoreFuture::later(async move {
                on_the_wire().await;
                self.0.$name($($arg.clone()),*).await?;
                on_the_wire().await;
                self.0.$name($($arg),*).await
            })
        })*
    };
}

impl Store for Wired {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.immediate = false;
        capabilities.encoded = true;
        capabilities
    }

    once! {
        durability() -> Durability;
        now() -> Timestamp;
        rescue(request: RescueRequest) -> Rescue;
        promote(limit: usize) -> Option<Timestamp>;
        remove_schedule(name: &'a Kind) -> ();
        tick(batch: Vec<Tick>) -> Vec<Ticked>;
        cancel(ids: &'a [TaskId]) -> Vec<CancelReply>;
        pause(queue: &'a QueueName, paused: bool) -> ();
        paused() -> Vec<QueueName>;
        ends(ids: &'a [TaskId]) -> Vec<EndState>;
        inspect(filter: &'a Filter) -> Page;
        counters() -> Counters;
        prune(limit: usize) -> usize;
    }

    twice! {
        claim(request: ClaimRequest<'a>) -> Claim;
        renew(by: Incarnation, fences: &'a [Fence], lease: Duration) -> Vec<Renewed>;
        put_schedule(definition: ScheduleDefinition) -> ScheduleState;
    }

    /// What was refused is not sent again: that would be counted again.
    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        StoreFuture::later(async move {
            on_the_wire().await;
            let first = self.0.enqueue(batch.clone()).await?;
            on_the_wire().await;
            let is_accepted = |reply: &Enqueued| matches!(reply, Enqueued::Accepted);
            let accepted = batch.into_iter().zip(&first).filter(|(_, reply)| is_accepted(reply));
            let again = self.0.enqueue(accepted.map(|(task, _)| task).collect()).await?;
            assert!(again.iter().all(is_accepted), "{first:?}, then {again:?}");
            Ok(first)
        })
    }

    /// Answered the second time that it took effect already, which is as good; unless the task went
    /// on, and somebody has claimed it since.
    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        StoreFuture::later(async move {
            on_the_wire().await;
            let first = self.0.settle(batch.clone()).await?;
            on_the_wire().await;
            let again = self.0.settle(batch.clone()).await?;
            for ((first, again), settle) in first.iter().zip(&again).zip(batch) {
                let goes_on = matches!(
                    settle.verdict,
                    Verdict::Retry { .. } | Verdict::Snooze { .. } | Verdict::Return { .. }
                );
                let may_be = *again == Settled::Already
                    || again == first
                    || (goes_on && *again == Settled::Fenced);
                assert!(may_be, "{first:?}, then {again:?} of {settle:?}");
            }
            Ok(first)
        })
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.0.subscribe(sink);
    }
}

/// The time of day, and so much more.
#[derive(Default)]
struct Moved(Mutex<Duration>);

impl Moved {
    fn by(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for Moved {
    fn now(&self) -> Instant {
        Instant::from_nanos(0) + self.by()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from(SystemTime::now()) + self.by()
    }
}

struct Harness {
    runtime: tokio::runtime::Runtime,
    clock: Arc<Moved>,
    last: Mutex<Option<Arc<MemoryStore>>>,
}

impl Harness {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).build().expect("a runtime can be made");
        Harness { runtime, clock: Arc::default(), last: Mutex::default() }
    }
}

impl StoreHarness for Harness {
    fn open(&self, StoreOptions { capacity, retention }: StoreOptions) -> Option<Arc<dyn Store>> {
        if capacity.is_some() {
            return None;
        }
        let mut store = MemoryStore::new(self.clock.clone()).shared_by_managers();
        if let Some(retention) = retention {
            store = store.with_retention(retention);
        }
        let store = Arc::new(store);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Some(Arc::new(Wired(store)))
    }

    fn open_again(&self) -> Option<Arc<dyn Store>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().map(|store| Arc::new(Wired(store)) as Arc<dyn Store>)
    }

    fn block_on(&self, call: BoxFuture<'_, ()>) {
        self.runtime.block_on(call);
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn advance(&self, by: Duration) {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn cannot(&self) -> &[(&str, &str)] {
        const BOUND: &str = "it is opened without a bound";
        const CLOCK: &str = "its clock is the time of day, which cannot be set back";
        &[
            ("enqueue::a_full_store_gives_the_task_back_until_there_is_room", BOUND),
            ("enqueue::what_is_known_or_refused_anyway_needs_no_room", BOUND),
            ("enqueue::a_batch_fills_a_bounded_store_in_its_order", BOUND),
            ("settle::the_bound_of_a_store_does_not_apply_to_children", BOUND),
            ("schedule::the_bound_of_a_store_does_not_apply_to_ticks", BOUND),
            ("wake::room_in_a_bounded_store_is_told", BOUND),
            ("model::any_calls_are_answered_as_by_the_reference_in_a_bounded_store", BOUND),
            ("rescue::a_clock_that_jumps_ahead_and_back_holds_up_rescues_for_one_lease", CLOCK),
            ("schedule::a_clock_that_is_set_back_does_not_let_the_mark_fall", CLOCK),
        ]
    }
}

conveyor_testkit::store_suite!(Harness::new);

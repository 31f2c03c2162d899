//! A reply that is lost on its way loses no task.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    CancelReply, Durability, Fence, Filter, Incarnation, Kind, MemoryStore, Page, QueueName, Store,
    StoreError, StoreErrorKind, TaskId, Timestamp,
};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, EndState, Enqueued, NewTask, Renewed, Rescue, RescueRequest,
    ScheduleDefinition, ScheduleState, Settle, Settled, StoreFuture, Tick, Ticked, WakeSink,
};
use conveyor_testkit::{for_seeds, simulate};
use conveyor_tests::{Log, consumer};

/// A store whose replies to enqueues, claims and settles are lost at first: the effect is there, the caller
/// is told that there is an error.
struct Forgetful {
    store: MemoryStore,
    error: StoreErrorKind,
    enqueues: AtomicU32,
    claims: AtomicU32,
    settles: AtomicU32,
}

impl Forgetful {
    fn lose<T>(&self, left: &AtomicU32, reply: StoreFuture<'_, T>) -> StoreFuture<'_, T> {
        let lost =
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if lost.is_err() {
            let Ok(reply) = reply.now_or_later() else { unreachable!("memory answers at once") };
            return StoreFuture::ready(reply);
        }
        StoreFuture::ready(Err(StoreError::new("forgetful", self.error, "the reply is lost")))
    }
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $reply> {
            self.store.$name($($arg),*)
        })*
    };
}

impl Store for Forgetful {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.immediate = false;
        capabilities
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        self.lose(&self.enqueues, self.store.enqueue(batch))
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.lose(&self.claims, self.store.claim(request))
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        self.lose(&self.settles, self.store.settle(batch))
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        Store::now(&self.store)
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.store.renew(by, fences, lease)
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.store.subscribe(sink);
    }

    forward! {
        durability() -> Durability;
        rescue(request: RescueRequest) -> Rescue;
        promote(limit: usize) -> Option<Timestamp>;
        put_schedule(definition: ScheduleDefinition) -> ScheduleState;
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
}

/// Runs twenty tasks, some of a kind that is limited; tells how often each was started.
fn run(claims: u32, settles: u32, stop_early: bool) {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let worker = |kind: &'static str, limit: Option<u32>| {
                let started = started.clone();
                consumer(
                    kind,
                    move |number: u32, ctx: Context| {
                        let started = started.clone();
                        async move {
                            started.push(number);
                            ctx.sleep(Duration::from_millis(10)).await;
                        }
                    },
                    move |kind| {
                        if let Some(limit) = limit {
                            kind.concurrency(limit);
                        }
                    },
                )
            };
            let store = Arc::new(Forgetful {
                store: MemoryStore::new(sim.clock()),
                error: StoreErrorKind::Unavailable,
                enqueues: AtomicU32::new(0),
                claims: AtomicU32::new(claims),
                settles: AtomicU32::new(settles),
            });
            let manager = sim
                .manager_builder()
                .store(store.clone())
                .register(worker("free", None))
                .register(worker("limited", Some(2)))
                .consumers(4)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            for number in 0..20u32 {
                let kind = if number % 2 == 0 { "free" } else { "limited" };
                manager.enqueue(Task::new(kind, number)).await.unwrap();
            }
            if stop_early {
                // The consumers have claimed, and wait to ask again.
                sim.run_until_idle().await;
                manager.shutdown(Duration::from_secs(5)).await.unwrap();
                let metrics = manager.fetch_metrics().await.unwrap();
                assert_eq!((metrics.active, metrics.live() + metrics.processed), (0, 20));
                return;
            }
            manager.idle().await.unwrap();
            let metrics = manager.fetch_metrics().await.unwrap();
            assert_eq!((metrics.processed, metrics.live(), metrics.returned), (20, 0, 0));
            let mut started = started.all();
            started.sort_unstable();
            assert_eq!(started, (0..20).collect::<Vec<_>>(), "each ran once");
        });
    });
}

#[test]
fn claims_whose_reply_is_lost_are_found_again() {
    run(6, 0, false);
}

#[test]
fn settles_whose_reply_is_lost_count_once() {
    run(0, 6, false);
}

#[test]
fn a_shutdown_finds_claims_that_it_was_not_told_of() {
    run(5, 2, true);
}

/// An id is accepted only once, so that asking again is safe; what asking again does not help is
/// told at once.
#[test]
fn an_enqueue_whose_reply_is_lost_is_asked_for_again_up_to_three_times() {
    use StoreErrorKind::{Incompatible, Internal, Refused, Unavailable};
    for (error, lost, asked) in [
        (Unavailable, 3, 4),
        (Unavailable, 9, 4),
        (Refused, 9, 1),
        (Incompatible, 9, 1),
        (Internal, 9, 1),
    ] {
        simulate(7, |sim| async move {
            let store = Arc::new(Forgetful {
                store: MemoryStore::new(sim.clock()),
                error,
                enqueues: AtomicU32::new(lost),
                claims: AtomicU32::new(0),
                settles: AtomicU32::new(0),
            });
            let manager = sim.manager_builder().store(store.clone()).build().unwrap();
            let reply = manager.enqueue(Task::new("work", ())).await;
            if lost < asked {
                assert!(reply.is_ok(), "{reply:?}");
            } else {
                let left = store.enqueues.load(Ordering::Relaxed);
                assert_eq!((reply.is_err(), lost - left), (true, asked), "{error:?}");
            }
            let metrics = manager.fetch_metrics().await.unwrap();
            assert_eq!(metrics.enqueued, 1, "it was accepted once");
        });
    }
}

/// What another try may help is tried for ever. Nothing else holds a consumer up for ever, and
/// nothing is given up while the lease of another process would still be waited for.
#[test]
fn a_settle_that_the_store_cannot_take_is_given_up_after_two_leases() {
    use StoreErrorKind::{Incompatible, Internal, Refused, Unavailable};
    const LEASE: Duration = Duration::from_secs(20);
    const LONGEST_PAUSE: Duration = Duration::from_millis(6_250);
    for error in [Unavailable, Refused, Incompatible, Internal] {
        for_seeds(0..10, |seed| {
            simulate(seed, |sim| async move {
                let started = Log::new();
                let (log, clock) = (started.clone(), sim.clone());
                let handler = move |(): (), _: Context| {
                    log.push(clock.elapsed());
                    async {}
                };
                let store = Forgetful {
                    store: MemoryStore::new(sim.clock()),
                    error,
                    enqueues: AtomicU32::new(0),
                    claims: AtomicU32::new(0),
                    settles: AtomicU32::new(u32::MAX),
                };
                let manager = sim
                    .manager_builder()
                    .store(Arc::new(store))
                    .register(consumer("work", handler, |_| {}))
                    .consumers(1)
                    .lease(LEASE)
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                for _ in 0..2 {
                    manager.enqueue(Task::new("work", ())).await.unwrap();
                }
                sim.advance(LEASE * 4).await;
                let started = started.all();
                if matches!(error, Unavailable | Refused) {
                    assert_eq!(started.len(), 1, "{started:?}");
                } else {
                    let after = started[1] - started[0];
                    assert!(LEASE * 2 < after && after < LEASE * 2 + LONGEST_PAUSE, "{after:?}");
                }
            });
        });
    }
}

/// Only where the reply is unknown may there be something to hand back.
#[test]
fn a_store_that_refuses_claims_does_not_hold_a_shutdown_up() {
    use StoreErrorKind::{Incompatible, Internal, Refused};
    for error in [Refused, Incompatible, Internal] {
        for_seeds(0..10, |seed| {
            simulate(seed, |sim| async move {
                let store = Forgetful {
                    store: MemoryStore::new(sim.clock()),
                    error,
                    enqueues: AtomicU32::new(0),
                    claims: AtomicU32::new(u32::MAX),
                    settles: AtomicU32::new(0),
                };
                let worker = consumer("work", |(): (), _: Context| async {}, |_| {});
                let manager = sim.manager_builder().store(Arc::new(store)).register(worker);
                let manager = manager.build().unwrap();
                manager.start().await.unwrap();
                sim.advance(Duration::from_secs(20)).await;
                let before = sim.elapsed();
                manager.shutdown(Duration::from_secs(60)).await.unwrap();
                // It waits at most until the consumers would have asked again.
                let took = sim.elapsed() - before;
                assert!(took < Duration::from_millis(6_250), "{error:?}: {took:?}");
            });
        });
    }
}

/// What it claimed is leased from its first request on, and the answer may come late: then there is
/// too little of the lease left to start anything.
#[test]
fn a_claim_that_is_told_of_too_late_is_handed_back_and_not_started() {
    const LEASE: Duration = Duration::from_secs(20);
    let late = Log::new();
    for lost in 1..14 {
        let late = late.clone();
        simulate(u64::from(lost), |sim| async move {
            let started = Log::new();
            let (log, clock) = (started.clone(), sim.clone());
            let handler = move |(): (), ctx: Context| {
                log.push((clock.elapsed(), ctx.epoch()));
                async {}
            };
            let store = Forgetful {
                store: MemoryStore::new(sim.clock()),
                error: StoreErrorKind::Unavailable,
                enqueues: AtomicU32::new(0),
                claims: AtomicU32::new(lost),
                settles: AtomicU32::new(0),
            };
            let manager = sim
                .manager_builder()
                .store(Arc::new(store))
                .register(consumer("work", handler, |_| {}))
                .consumers(1)
                .lease(LEASE)
                .build()
                .unwrap();
            manager.enqueue(Task::new("work", ())).await.unwrap();
            manager.start().await.unwrap();
            sim.advance(LEASE * 4).await;
            let [(at, epoch)] = started.all()[..] else { panic!("{:?}", started.all()) };
            assert_eq!(epoch > 1, at > LEASE / 2, "started at {at:?} in epoch {epoch}");
            if LEASE / 2 < at && at < LEASE {
                late.push(at);
            }
        });
    }
    assert!(!late.is_empty(), "no answer came so late");
}

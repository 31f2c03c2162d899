//! A store that answers late, or never, holds nothing up for ever, and costs no task anything.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    CancelReply, Cancelled, Definition, Durability, Fence, Filter, Incarnation, Kind, MemoryStore,
    Page, QueueName, Store, TaskId, Timestamp, WaitError,
};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, Demand, EndState, Enqueued, KindRoom, NewTask, Renewed,
    Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle, Settled, StoreFuture, Tick,
    Ticked, WakeSink,
};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Defined, Log, consumer};
use futures::future::{Either, select};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

/// A store behind a wire that takes its time, and of which some calls are never answered: their
/// connection is half open.
struct Wire {
    store: MemoryStore,
    sim: Sim,
    /// How long each way takes, in milliseconds.
    takes: AtomicU64,
    /// Calls of now are never answered; half of them have had their effect.
    silent: AtomicBool,
}

impl Wire {
    fn new(sim: &Sim) -> Arc<Self> {
        Arc::new(Wire {
            store: MemoryStore::new(sim.clock()).shared_by_managers(),
            sim: sim.clone(),
            takes: AtomicU64::new(1),
            silent: AtomicBool::new(false),
        })
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::later(async move {
            self.way().await;
            let reply = call(&self.store).await;
            self.way().await;
            reply
        })
    }

    async fn way(&self) {
        if self.silent.load(Ordering::Relaxed) && self.sim.random().is_multiple_of(2) {
            std::future::pending::<()>().await;
        }
        self.sim.advance(Duration::from_millis(self.takes.load(Ordering::Relaxed))).await;
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $reply> {
            self.call(move |store| Store::$name(store, $($arg),*))
        })*
    };
}

impl Store for Wire {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.immediate = false;
        capabilities
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.call(move |store| store.claim(request))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.call(move |store| store.renew(by, fences, lease))
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.store.subscribe(sink);
    }

    forward! {
        now() -> Timestamp;
        durability() -> Durability;
        enqueue(batch: Vec<NewTask>) -> Vec<Enqueued>;
        settle(batch: Vec<Settle>) -> Vec<Settled>;
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

/// Number and attempt.
type Started = Log<(u32, u32)>;

/// The first attempt of every third task fails, and some attempts take a while.
fn work(started: &Started) -> impl Worker {
    let started = started.clone();
    consumer(
        "work",
        move |number: u32, ctx: Context| {
            let started = started.clone();
            async move {
                started.push((number, ctx.attempt()));
                ctx.sleep(Duration::from_millis(u64::from(number % 4) * 200)).await;
                if number.is_multiple_of(3) && ctx.attempt() == 1 { Err("once") } else { Ok(()) }
            }
        },
        |kind| _ = kind.retries(1).backoff(Backoff::fixed(SECOND)).concurrency(2),
    )
}

/// Notes when it ticked.
fn ticker(sim: &Sim, ticks: &Log<Duration>) -> impl Worker {
    let (sim, ticks) = (sim.clone(), ticks.clone());
    Defined(move |definition: &mut Definition| {
        let (sim, ticks) = (sim.clone(), ticks.clone());
        definition
            .consume("ticker", move |(): (), _: Context| {
                ticks.push(sim.elapsed());
                async {}
            })
            .schedule(Schedule::every(SECOND).unwrap());
    })
}

#[test]
fn what_is_not_answered_is_asked_again() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let (started, ticks, store) = (Started::new(), Log::new(), Wire::new(&sim));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(work(&started))
                .register(ticker(&sim, &ticks))
                .consumers(3)
                .build()
                .unwrap();
            for number in 0..30u32 {
                let late = Duration::from_millis(u64::from(number % 5) * 300);
                manager.enqueue(Task::new("work", number).delay(late)).await.unwrap();
            }
            manager.start().await.unwrap();
            // Short silences: less than a lease, so that nobody can take anything for lost.
            for _ in 0..3 {
                sim.advance(Duration::from_millis(sim.random() % 1_000)).await;
                store.silent.store(true, Ordering::Relaxed);
                sim.advance(Duration::from_millis(sim.random() % 2_000)).await;
                store.silent.store(false, Ordering::Relaxed);
            }
            sim.advance(SECOND * 60).await;
            let metrics = manager.fetch_metrics().await.unwrap().kind("work");
            let ends = (metrics.processed, metrics.failed, metrics.crashed, metrics.live());
            assert_eq!(ends, (30, 0, 0, 0), "{metrics:?}\n{}", sim.describe_tasks());
            let mut attempts: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for (number, attempt) in started.all() {
                attempts.entry(number).or_default().push(attempt);
            }
            for (number, attempts) in attempts {
                let allowed: &[u32] = if number.is_multiple_of(3) { &[1, 2] } else { &[1] };
                assert_eq!(attempts, allowed, "of task {number}");
            }
            let since = sim.elapsed() - SECOND * 20;
            let lately = ticks.all().iter().filter(|&&at| at > since).count();
            assert!((19..=21).contains(&lately), "{lately} ticks in the last 20 seconds");
        });
    });
}

#[test]
fn who_waits_for_an_end_hears_of_it_after_a_silence() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (started, store) = (Started::new(), Wire::new(&sim));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(work(&started))
                .consumers(2)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", 1u32)).await.unwrap();
            store.silent.store(true, Ordering::Relaxed);
            let (waits, ends) = (receipt.clone(), Log::new());
            let told = ends.clone();
            sim.spawn("waiter", async move { told.push(waits.wait().await) });
            sim.advance(Duration::from_millis(sim.random() % 3_000)).await;
            store.silent.store(false, Ordering::Relaxed);
            sim.advance(LEASE * 4).await;
            assert_eq!(ends.all(), [Ok::<_, WaitError>(End::Succeeded)]);
        });
    });
}

/// What is on its way for longer than the engine waits for a few is no silence.
#[test]
fn a_store_may_take_the_longer_the_more_tasks_it_gets() {
    simulate(7, |sim| async move {
        let store = Wire::new(&sim);
        let manager = Manager::builder().runtime(sim.runtime()).store(store.clone());
        let manager = manager.lease(LEASE).register(work(&Started::new())).build().unwrap();
        store.takes.store(4_000, Ordering::Relaxed);
        let answers = manager.enqueue_all((0..2_000u32).map(|n| Task::new("work", n))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(sim.elapsed(), SECOND * 8, "it was asked once");
    });
}

#[test]
fn a_handler_that_enqueues_is_not_lost_to_a_silence() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let store = Wire::new(&sim);
            let parent = consumer(
                "parent",
                |(): (), ctx: Context| async move {
                    ctx.sleep(SECOND).await;
                    ctx.enqueue(Task::new("child", ())).await.map(drop)
                },
                |_| {},
            );
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(parent)
                .register(consumer("child", |(): (), _: Context| async {}, |_| {}))
                .consumers(1)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("parent", ())).await.unwrap();
            sim.advance(Duration::from_millis(500)).await;
            store.silent.store(true, Ordering::Relaxed);
            sim.advance(Duration::from_millis(500 + sim.random() % 2_000)).await;
            store.silent.store(false, Ordering::Relaxed);
            sim.advance(SECOND * 30).await;
            let metrics = manager.fetch_metrics().await.unwrap();
            let ends = ["parent", "child"].map(|kind| metrics.kind(kind).processed);
            assert_eq!((ends, metrics.live()), ([1, 1], 0), "once each: {metrics:?}");
        });
    });
}

#[test]
fn a_dead_process_is_noticed_after_a_silence() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (started, store) = (Started::new(), Wire::new(&sim));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(work(&started))
                .consumers(2)
                .build()
                .unwrap();
            let receipt = manager.enqueue(Task::new("work", 1u32)).await.unwrap();
            // A process that claims it, and then dies.
            let kinds = [KindRoom { kind: Kind::from_static("work"), room: 1 }];
            let queues = [QueueName::DEFAULT];
            let demand =
                Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room: 1 };
            let by = Incarnation::new(7);
            let request = ClaimRequest { by, token: 1, lease: LEASE, demand, alone: false };
            assert_eq!(store.store.claim(request).await.unwrap().tasks.len(), 1);
            manager.start().await.unwrap();
            sim.advance(Duration::from_millis(sim.random() % 1_000)).await;
            store.silent.store(true, Ordering::Relaxed);
            // Maintenance looks at least every half of a lease.
            sim.advance(LEASE / 2 + Duration::from_millis(sim.random() % 2_000)).await;
            store.silent.store(false, Ordering::Relaxed);
            sim.advance(LEASE * 3).await;
            let ends = store.store.ends(&[receipt.id()]).await.unwrap();
            assert_eq!(ends, [EndState::Ended(End::Succeeded)]);
            assert_eq!(started.all(), [(1, 1)]);
        });
    });
}

/// Stops at once when it is told to, in the end only, or never.
fn stops(told: u64) -> impl Worker {
    consumer(
        "stops",
        move |_: u32, ctx: Context| async move {
            ctx.cancelled().await;
            match told {
                0 => {}
                1 => ctx.sleep(Duration::from_millis(90)).await,
                _ => ctx.sleep(SECOND * 600).await,
            }
            Err::<(), _>("stopped")
        },
        |_| {},
    )
}

#[test]
fn a_shutdown_is_in_time_and_costs_nothing_however_slow_the_store() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let store = Wire::new(&sim);
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(stops(seed % 3))
                .consumers(2)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            // One, so that it would be charged for its own crash; or two, each other's suspects.
            let tasks = 1 + sim.random() % 2;
            for number in 0..tasks {
                manager.enqueue(Task::new("stops", number as u32)).await.unwrap();
            }
            sim.advance(SECOND).await;
            store.takes.store(sim.random() % 40, Ordering::Relaxed);
            let before = sim.elapsed();
            let report = manager.shutdown(SECOND).await.unwrap();
            let took = sim.elapsed() - before;
            assert!(took <= SECOND + Duration::from_millis(250), "took {took:?}");
            assert_eq!((report.finished, report.returned, report.abandoned), (0, tasks, 0));
            // In the store itself: the process may exit now.
            let counts = store.store.counters().await.unwrap().total();
            assert_eq!((counts.queued, counts.active), (tasks, 0), "they were handed back");
            for task in store.store.inspect(&Filter::default()).await.unwrap().tasks {
                assert!(!task.suspect);
                assert_eq!((task.budgets.errors, task.budgets.crashes), (0, 0));
                assert_eq!(task.budgets.interruptions, 1);
            }
        });
    });
}

/// Tells when it is asked to stop, and why; if it never is, it takes four leases.
fn listens(sim: &Sim, told: &Log<(Cancelled, Duration)>) -> impl Worker {
    let (sim, told) = (sim.clone(), told.clone());
    let handler = move |(): (), ctx: Context| {
        let (sim, told) = (sim.clone(), told.clone());
        async move {
            let (stop, done) = (Box::pin(ctx.cancelled()), Box::pin(ctx.sleep(LEASE * 4)));
            if let Either::Left((why, _)) = select(stop, done).await {
                told.push((why, sim.elapsed()));
            }
        }
    };
    consumer("listens", handler, |_| {})
}

/// A renewal that is not answered is asked for again, and a handler hears nothing of it.
#[test]
fn a_lease_outlasts_a_short_silence() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let (told, store) = (Log::new(), Wire::new(&sim));
            store.takes.store(1 + sim.random() % 50, Ordering::Relaxed);
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(listens(&sim, &told))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("listens", ())).await.unwrap();
            // Renewals come every third of a lease.
            sim.advance(LEASE / 4).await;
            store.silent.store(true, Ordering::Relaxed);
            sim.advance(LEASE / 4).await;
            store.silent.store(false, Ordering::Relaxed);
            sim.advance(LEASE * 6).await;
            assert_eq!(told.all(), []);
            let ends = store.store.ends(&[receipt.id()]).await.unwrap();
            assert_eq!(ends, [EndState::Ended(End::Succeeded)]);
        });
    });
}

/// Before another process may start the same task, but not much before.
#[test]
fn who_cannot_renew_a_lease_is_asked_to_stop_in_time() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let (told, store) = (Log::new(), Wire::new(&sim));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(listens(&sim, &told))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("listens", ())).await.unwrap();
            // It is claimed at once; before the first renewal, or the second, the store is gone.
            sim.advance(LEASE / 4).await;
            let renewed = if seed % 2 == 0 {
                Duration::ZERO
            } else {
                sim.advance(LEASE / 6).await;
                LEASE / 3
            };
            store.silent.store(true, Ordering::Relaxed);
            sim.advance(LEASE * 3).await;
            let [(why, at)] = told.all()[..] else { panic!("{:?}", told.all()) };
            assert_eq!(why, Cancelled::LeaseLost);
            let held = at - renewed;
            assert!(held >= LEASE * 5 / 6 && held < LEASE * 11 / 12, "after {held:?}");
        });
    });
}

/// The process slept for longer than its lease, and asks the store about the others first when an
/// attempt is over. A shutdown that comes meanwhile does not take its result away.
#[test]
fn what_ended_before_a_shutdown_is_settled_although_the_process_had_slept() {
    simulate(7, |sim| async move {
        let (store, process) = (Wire::new(&sim), sim.process("sleeper"));
        let handler = |seconds: u32, ctx: Context| async move { ctx.sleep(SECOND * seconds).await };
        let manager = Manager::builder()
            .runtime(process.runtime())
            .store(store.clone())
            .lease(LEASE)
            .register(consumer("work", handler, |kind| _ = kind.concurrency(2)))
            .consumers(2)
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let short = manager.enqueue(Task::new("work", 2u32)).await.unwrap().id();
        manager.enqueue(Task::new("work", 600u32)).await.unwrap();
        sim.advance(SECOND).await;
        process.pause();
        sim.advance(LEASE * 2).await;
        // A reply comes later than a shutdown waits for consumers; what they leave behind when they
        // are dropped reaches the store before it is over.
        store.takes.store(68, Ordering::Relaxed);
        process.resume();
        sim.advance(Duration::from_millis(1)).await;
        manager.shutdown(Duration::ZERO).await.unwrap();
        let ends = store.store.ends(&[short]).await.unwrap();
        assert_eq!(ends, [EndState::Ended(End::Succeeded)]);
        let counts = store.store.counters().await.unwrap().total();
        assert_eq!((counts.queued, counts.active), (1, 0));
    });
}

#[test]
fn a_shutdown_is_in_time_if_the_store_does_not_answer_at_all() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let (ticks, store) = (Log::new(), Wire::new(&sim));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .lease(LEASE)
                .register(stops(seed % 3))
                .register(ticker(&sim, &ticks))
                .consumers(3)
                .build()
                .unwrap();
            let receipt = manager.enqueue(Task::new("stops", 0u32)).await.unwrap();
            manager.start().await.unwrap();
            sim.advance(Duration::from_millis(sim.random() % 3_000)).await;
            store.silent.store(true, Ordering::Relaxed);
            sim.advance(Duration::from_millis(sim.random() % 30_000)).await;
            let grace = Duration::from_millis(sim.random() % 2_000);
            let before = sim.elapsed();
            manager.shutdown(grace).await.unwrap();
            let took = sim.elapsed() - before;
            assert!(took <= grace + Duration::from_millis(250), "took {took:?} of {grace:?}");
            drop((manager, receipt));
            // What is on its way to the store is not waited for much longer.
            sim.advance(LEASE).await;
            assert_eq!(sim.live_tasks(), 0, "{}", sim.describe_tasks());
        });
    });
}

//! A store that cannot be reached for now, or whose replies are lost, costs time and nothing else.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Cancelled, EnqueueError, IntoTask, MemoryStore};
use conveyor_testkit::{FaultPlan, FaultyStore, Process, Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// A wire on which every call takes its time, and nothing is lost.
fn plain() -> FaultPlan {
    let slowness = Duration::from_millis(3);
    FaultPlan { delayed: 1_000, slow: 1_000, delay: slowness, slowness, ..FaultPlan::none() }
}

fn behind_wire(sim: &Sim, plan: FaultPlan) -> FaultyStore {
    let memory = MemoryStore::new(sim.clock()).shared_by_managers();
    FaultyStore::new(sim, Arc::new(memory), plan)
}

/// Number, attempt, epoch.
type Started = Log<(u32, u32, u64)>;

/// A task fails as often as its number says, modulo 3, and has two retries: it always succeeds.
fn fails_of(number: u32) -> u32 {
    number % 3
}

fn work(kind: &'static str, limit: Option<u32>, started: &Started) -> impl Worker {
    let started = started.clone();
    consumer(
        kind,
        move |number: u32, ctx: Context| {
            let started = started.clone();
            async move {
                started.push((number, ctx.attempt(), ctx.epoch()));
                if number.is_multiple_of(4) {
                    ctx.sleep(Duration::from_millis(u64::from(number % 7) * 50)).await;
                }
                if ctx.attempt() <= fails_of(number) { Err("as told") } else { Ok(()) }
            }
        },
        move |kind| {
            kind.retries(2).backoff(Backoff::fixed(Duration::from_millis(200)));
            if let Some(limit) = limit {
                kind.concurrency(limit);
            }
        },
    )
}

fn manager(sim: &Sim, store: &FaultyStore, started: &Started) -> Manager {
    sim.manager_builder()
        .store(Arc::new(store.clone()))
        .lease(LEASE)
        .register(work("free", None, started))
        .register(work("limited", Some(2), started))
        .consumers(4)
        .build()
        .unwrap()
}

/// Starts a manager, however often that takes.
async fn start(sim: &Sim, manager: &Manager) {
    while manager.start().await.is_err() {
        sim.advance(Duration::from_millis(100)).await;
    }
}

/// Enqueues tasks, each by its own key: who is refused for it knows that it is there. Before the
/// managers start, since the key of a task that ended is free.
async fn enqueue(sim: &Sim, manager: &Manager, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let kind = if number.is_multiple_of(2) { "free" } else { "limited" };
        let late = Duration::from_millis(u64::from(number % 5) * 700);
        let task = || Task::new(kind, number).key(format!("key {number}")).delay(late);
        while let Err(error) = manager.enqueue(task()).await {
            if matches!(error, EnqueueError::Duplicate { .. }) {
                break;
            }
            sim.advance(Duration::from_millis(100)).await;
        }
    }
}

/// Every task ended well, and each of its attempts was made once, in order.
async fn assert_each_ran_as_allowed(sim: &Sim, manager: &Manager, started: &Started, tasks: u32) {
    let quiet =
        futures::future::select(Box::pin(manager.idle()), Box::pin(sim.advance(SECOND * 600)));
    let idle = matches!(quiet.await, futures::future::Either::Left((Ok(()), _)));
    let metrics = manager.fetch_metrics().await.unwrap();
    assert!(idle, "not everything ended: {metrics:?}\n{}", sim.describe_tasks());
    let ends = (metrics.processed, metrics.failed, metrics.crashed, metrics.live());
    assert_eq!(ends, (u64::from(tasks), 0, 0, 0));
    let mut attempts: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (number, attempt, _) in started.all() {
        attempts.entry(number).or_default().push(attempt);
    }
    for (number, attempts) in attempts {
        let allowed: Vec<u32> = (1..=fails_of(number) + 1).collect();
        assert_eq!(attempts, allowed, "of task {number}");
    }
}

#[test]
fn calls_that_fail_before_or_after_their_effect_neither_lose_nor_repeat_an_attempt() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let started = Started::new();
            let lost = 50 + (seed % 3) as u32 * 100;
            // A wake-up is a hint: a quarter of the runs is never told of anything.
            let mute = if seed.is_multiple_of(4) { 1_000 } else { 0 };
            let plan =
                FaultPlan { request_lost: lost, reply_lost: lost, wake_up_lost: mute, ..plain() };
            let store = behind_wire(&sim, plan);
            let (one, two) = (manager(&sim, &store, &started), manager(&sim, &store, &started));
            enqueue(&sim, &one, 0..20).await;
            enqueue(&sim, &two, 20..40).await;
            start(&sim, &one).await;
            start(&sim, &two).await;
            sim.advance(SECOND * 20).await;
            store.set_plan(FaultPlan { wake_up_lost: mute, ..plain() });
            assert_each_ran_as_allowed(&sim, &two, &started, 40).await;
        });
    });
}

/// A process of its own has nobody who would take back what it let go of.
#[test]
fn a_lone_process_ends_what_it_held_when_an_outage_began() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started = Started::new();
            let store = behind_wire(&sim, plain());
            let manager = manager(&sim, &store, &started);
            enqueue(&sim, &manager, 0..30).await;
            manager.start().await.unwrap();
            sim.advance(Duration::from_millis(sim.random() % 3_000)).await;
            let outage = LEASE * (sim.random() % 9) as u32;
            store.away_for(outage);
            sim.advance(outage + SECOND * 200).await;
            let metrics = manager.fetch_metrics().await.unwrap();
            let ends = (metrics.processed, metrics.active, metrics.live());
            assert_eq!(ends, (30, 0, 0), "processed, active, live: {metrics:?}");
        });
    });
}

/// Nobody died: whoever is first to reach the store again, no task is charged with a crash.
#[test]
fn an_outage_of_any_length_is_no_crash() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let started = Started::new();
            let store = behind_wire(&sim, plain());
            let long = |started: &Started| {
                let started = started.clone();
                consumer(
                    "long",
                    move |number: u32, ctx: Context| {
                        started.push((number, ctx.attempt(), ctx.epoch()));
                        async move { ctx.sleep(SECOND * 60).await }
                    },
                    |_| {},
                )
            };
            let build = || {
                sim.manager_builder()
                    .store(Arc::new(store.clone()))
                    .lease(LEASE)
                    .crash_budget(1)
                    .register(long(&started))
                    .consumers(1)
                    .build()
                    .unwrap()
            };
            // One claim for each process, so that there is no company to blame.
            let (one, two) = (build(), build());
            one.start().await.unwrap();
            two.start().await.unwrap();
            for number in 0..2 {
                one.enqueue(Task::new("long", number)).await.unwrap();
            }
            sim.advance(LEASE * 2 + Duration::from_millis(sim.random() % 10_000)).await;
            let outage = SECOND + Duration::from_millis(sim.random() % 40_000);
            store.away_for(outage);
            sim.advance(outage + SECOND * 200).await;
            let metrics = one.fetch_metrics().await.unwrap();
            assert_eq!((metrics.processed, metrics.crashed, metrics.live()), (2, 0, 0));
        });
    });
}

/// A claim that the process is told of when its lease is over, or nearly so, is not started: any
/// other process may have it by then.
#[test]
fn a_claim_whose_reply_comes_too_late_is_not_started() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started: Log<(u64, Duration)> = Log::new();
            let store = behind_wire(&sim, plain());
            let (notes, clock) = (started.clone(), sim.clone());
            let work = consumer(
                "work",
                move |(): (), ctx: Context| {
                    notes.push((ctx.epoch(), clock.elapsed()));
                    async {}
                },
                |_| {},
            );
            let manager = sim
                .manager_builder()
                .store(Arc::new(store.clone()))
                .lease(LEASE)
                .register(work)
                .consumers(1)
                .build()
                .unwrap();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            manager.start().await.unwrap();
            // From here on nobody is told of anything: it is claimed within milliseconds.
            store.set_plan(FaultPlan { reply_lost: 1_000, ..plain() });
            sim.advance(Duration::from_millis(6_000 + sim.random() % 6_000)).await;
            store.set_plan(plain());
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            let started = started.all();
            let (epoch, at) = started[0];
            assert_eq!(started.len(), 1, "it ran once: {started:?}");
            assert!(epoch > 1 || at < LEASE, "started at {at:?} under a lease of {LEASE:?}");
        });
    });
}

/// A kind is cheap until one of its tasks waits: then what was claimed with it is handed back, which
/// takes as long as the store is away. The handler does not wait for that.
#[test]
fn a_handler_goes_on_while_what_was_claimed_with_it_cannot_be_handed_back() {
    // With a timeout it hears of that, else that its lease is lost; each in time.
    for timeout in [None, Some(SECOND * 2)] {
        for_seeds(0..50, |seed| {
            simulate(seed, |sim| async move {
                let heard = Log::new();
                let store = behind_wire(&sim, FaultPlan::none());
                let (notes, clock, wire) = (heard.clone(), sim.clone(), store.clone());
                let work = consumer(
                    "work",
                    move |waits: bool, ctx: Context| {
                        let (heard, sim, store) = (notes.clone(), clock.clone(), wire.clone());
                        async move {
                            if waits {
                                store.away_for(LEASE * 3);
                                ctx.sleep(SECOND).await;
                                heard.push((None, sim.elapsed()));
                                heard.push((Some(ctx.cancelled().await), sim.elapsed()));
                            }
                        }
                    },
                    move |kind| {
                        if let Some(timeout) = timeout {
                            kind.timeout(timeout);
                        }
                    },
                );
                let builder = sim.manager_builder().store(Arc::new(store.clone()));
                let manager = builder.lease(LEASE).register(work).consumers(1).build().unwrap();
                manager.start().await.unwrap();
                // The consumer learns that the kind is cheap, and takes two at once from then on.
                manager.enqueue(Task::new("work", false)).await.unwrap();
                sim.run_until_idle().await;
                manager.enqueue_all([true, false].map(|waits| Task::new("work", waits))).await;
                sim.run_until_idle().await;
                assert!(store.injected().away > 0, "one was to be handed back");
                sim.advance(LEASE * 2).await;
                let [(None, went_on), (Some(why), told)] = heard.all()[..] else {
                    panic!("it was not run on: {:?}", heard.all())
                };
                assert_eq!(went_on, SECOND);
                match timeout {
                    Some(timeout) => assert_eq!((why, told), (Cancelled::Timeout, timeout)),
                    None => {
                        assert!(why == Cancelled::LeaseLost && told < LEASE, "{why} at {told:?}");
                    }
                }
            });
        });
    }
}

/// A cheap task and one that waits are claimed together, the cheap one first; the store is away for
/// a while from then on. Tells when the other began, and when and why it was asked to stop.
async fn behind_an_outage(
    sim: &Sim,
    process: &Process,
    outage: Duration,
    timeout: Duration,
) -> (Manager, FaultyStore, Log<(Duration, Option<Cancelled>)>) {
    let store = behind_wire(sim, FaultPlan::none());
    let wire = store.clone();
    let cheap = consumer(
        "cheap",
        move |last: bool, _: Context| {
            if last {
                wire.away_for(outage);
            }
            async {}
        },
        |_| {},
    );
    let (seen, clock) = (Log::new(), sim.clone());
    let log = seen.clone();
    let waits = consumer(
        "waits",
        move |(): (), ctx: Context| {
            let (seen, sim) = (log.clone(), clock.clone());
            async move {
                seen.push((sim.elapsed(), None));
                let why = ctx.cancelled().await;
                seen.push((sim.elapsed(), Some(why)));
            }
        },
        move |kind| _ = kind.timeout(timeout),
    );
    let builder = sim.manager_builder().runtime(process.runtime()).store(Arc::new(store.clone()));
    let manager =
        builder.lease(LEASE).register(cheap).register(waits).consumers(1).build().unwrap();
    manager.start().await.unwrap();
    // The consumer learns which kind is cheap, and takes two at once from then on.
    manager.enqueue(Task::new("cheap", false)).await.unwrap();
    sim.run_until_idle().await;
    let both = [Task::new("cheap", true).into_task(), Task::new("waits", ()).into_task()];
    manager.enqueue_all(both).await;
    (manager, store, seen)
}

#[test]
fn a_timeout_does_not_run_while_the_task_before_cannot_be_settled() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (outage, timeout) = (SECOND * 3, SECOND * 2);
            let process = sim.process("worker");
            let (_manager, _, seen) = behind_an_outage(&sim, &process, outage, timeout).await;
            sim.advance(LEASE).await;
            let [(began, None), (told, Some(why)), ..] = seen.all()[..] else {
                panic!("{:?}", seen.all())
            };
            assert!(began >= outage, "it began after the settle, not at {began:?}");
            assert_eq!((why, told - began), (Cancelled::Timeout, timeout));
        });
    });
}

#[test]
fn a_claim_whose_lease_ran_out_while_the_task_before_was_settled_is_not_started() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let process = sim.process("worker");
            let (_manager, store, seen) = behind_an_outage(&sim, &process, LEASE * 3, SECOND).await;
            sim.run_until_idle().await;
            assert!(store.injected().away > 0, "a task is to be settled");
            if seed.is_multiple_of(2) {
                // Then it may settle before it is told that the lease is lost.
                process.pause();
            }
            // Another process works on, and runs what the first one holds once that is lost.
            let elsewhere = Log::new();
            let log = elsewhere.clone();
            let waits = consumer(
                "waits",
                move |(): (), ctx: Context| {
                    log.push(ctx.epoch());
                    async move { ctx.sleep(LEASE * 3).await }
                },
                |_| {},
            );
            let cheap = consumer("cheap", |_: bool, _: Context| async {}, |_| {});
            let builder = sim.manager_builder().store(Arc::clone(store.behind())).lease(LEASE);
            let well = builder.register(waits).register(cheap).consumers(1).build().unwrap();
            well.start().await.unwrap();
            sim.advance(LEASE * 3).await;
            process.resume();
            sim.advance(LEASE).await;
            assert_eq!(elsewhere.len(), 1);
            assert!(seen.is_empty(), "started without a lease: {:?}", seen.all());
        });
    });
}

/// A wake-up goes to a consumer that waits, and not to one that was about to when its last look
/// failed.
#[test]
fn each_task_finds_a_free_consumer_after_claims_that_failed() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let (log, clock) = (started.clone(), sim.clone());
            let long = move |(): (), ctx: Context| {
                log.push(clock.elapsed().as_secs());
                async move { ctx.sleep(SECOND * 3_600).await }
            };
            let lost = FaultPlan { request_lost: 500, ..FaultPlan::none() };
            let store = FaultyStore::new(&sim, Arc::new(MemoryStore::new(sim.clock())), lost);
            let manager = sim
                .manager_builder()
                .store(Arc::new(store.clone()))
                .register(consumer("long", long, |_| {}))
                .consumers(4)
                .build()
                .unwrap();
            start(&sim, &manager).await;
            sim.advance(SECOND * 30).await;
            store.set_plan(FaultPlan::none());
            sim.advance(SECOND * 30).await;
            for _ in 0..4 {
                manager.enqueue(Task::new("long", ())).await.unwrap();
                sim.advance(SECOND * 10).await;
            }
            let at = started.all();
            let begun = at[0];
            assert_eq!(at, [0, 10, 20, 30].map(|later| begun + later));
        });
    });
}

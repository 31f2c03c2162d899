//! go-conveyor's own three examples, told with our API, with their exact ends.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::Log;

#[conveyor::worker]
async fn simple(number: u32, log: State<Log<u32>>) {
    log.push(number);
}

#[test]
fn five_tasks_of_which_two_are_urgent() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log: Log<u32> = Log::new();
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .state(log.clone())
                .register(simple)
                .consumers(1)
                .build()
                .unwrap();
            let mut receipts = Vec::new();
            for number in 1..=3 {
                receipts.push(manager.enqueue(simple.task(number)).await.unwrap());
            }
            for number in 4..=5 {
                let urgent = simple.task(number).priority(Priority::HIGH);
                receipts.push(manager.enqueue(urgent).await.unwrap());
            }
            manager.start().await.unwrap();
            for receipt in receipts {
                assert_eq!(receipt.wait().await.unwrap(), End::Succeeded);
            }
            assert_eq!(log.all(), [4, 5, 1, 2, 3], "the urgent ones first");
            assert_ends(&manager, 5, 0);
        });
    });
}

/// Counts its ticks apart from the tasks that were enqueued by hand.
#[derive(Default)]
struct Ticks {
    seen: AtomicU32,
}

#[conveyor::worker(cron = "* * * * * *")]
async fn every_second(ticks: State<Ticks>) {
    ticks.seen.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn three_tasks_and_a_schedule_of_every_second() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .state(Log::<u32>::new())
                .state(Ticks::default())
                .register(simple)
                .register(every_second)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            for number in 1..=3 {
                manager.enqueue(simple.task(number)).await.unwrap();
            }
            // The simulation starts at a full second: that is the first tick.
            sim.advance(Duration::from_millis(10_500)).await;
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().kind("every_second").processed, 11);
            assert_ends(&manager, 3 + 11, 0);
        });
    });
}

#[derive(Default)]
struct Attempts {
    panics_once: AtomicU32,
    fails_twice: AtomicU32,
    succeeds: AtomicU32,
    always_fails: AtomicU32,
}

/// The number of this attempt.
fn count(attempts: &AtomicU32) -> u32 {
    attempts.fetch_add(1, Ordering::Relaxed) + 1
}

#[conveyor::worker(retries = 3, retry_on_panic = true)]
async fn panics_once(attempts: State<Attempts>) {
    assert!(count(&attempts.panics_once) > 1, "the first attempt panics");
}

#[conveyor::worker(retries = 3)]
async fn fails_twice(attempts: State<Attempts>) -> Result<(), String> {
    if count(&attempts.fails_twice) <= 2 { Err("not yet".to_owned()) } else { Ok(()) }
}

#[conveyor::worker(retries = 3)]
async fn succeeds(attempts: State<Attempts>) {
    count(&attempts.succeeds);
}

#[conveyor::worker(retries = 3)]
async fn always_fails(attempts: State<Attempts>) -> Result<(), String> {
    Err(format!("failure {}", count(&attempts.always_fails)))
}

#[test]
fn four_tasks_of_which_three_are_faulty() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let manager = faulty(&sim);
            manager.start().await.unwrap();
            let tasks =
                [panics_once.task(), fails_twice.task(), succeeds.task(), always_fails.task()];
            let mut ends = Vec::new();
            for receipt in manager.enqueue_all(tasks).await {
                ends.push(receipt.unwrap().wait().await.unwrap());
            }
            let failed = End::Failed("failure 4".to_owned());
            assert_eq!(ends, [End::Succeeded, End::Succeeded, End::Succeeded, failed]);
            assert_ends(&manager, 3, 1);
            let retried = |kind| manager.metrics().kind(kind).retried;
            assert_eq!(retried("panics_once"), 1, "two attempts");
            assert_eq!(retried("fails_twice"), 2, "three attempts");
            assert_eq!(retried("succeeds"), 0, "one attempt");
            assert_eq!(retried("always_fails"), 3, "four attempts");
            assert_eq!(manager.metrics().panicked, 1);
        });
    });
}

fn faulty(sim: &Sim) -> Manager {
    Manager::builder()
        .runtime(sim.runtime())
        .state(Attempts::default())
        .register(panics_once)
        .register(fails_twice)
        .register(succeeds)
        .register(always_fails)
        .build()
        .unwrap()
}

fn assert_ends(manager: &Manager, processed: u64, failed: u64) {
    let metrics = manager.metrics();
    let ends = (metrics.processed, metrics.failed, metrics.queued, metrics.active);
    assert_eq!(ends, (processed, failed, 0, 0), "processed, failed, queued, active");
}

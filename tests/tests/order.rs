//! Who is started first, and that somebody always is.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{ManagerBuilder, PoolSize};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);

/// Notes each start, with its time since the simulation began, and works a millisecond.
fn logging(sim: &Sim, log: &Log<(u32, Duration)>) -> impl Worker {
    let (sim, log) = (sim.clone(), log.clone());
    consumer(
        "log",
        move |number: u32, ctx: Context| {
            log.push((number, sim.elapsed()));
            async move { ctx.sleep(Duration::from_millis(1)).await }
        },
        |_| {},
    )
}

/// Works for that many seconds.
fn long() -> impl Worker {
    consumer(
        "long",
        |seconds: u32, ctx: Context| async move { ctx.sleep(SECOND * seconds).await },
        |_| {},
    )
}

fn builder(sim: &Sim, log: &Log<(u32, Duration)>) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).register(logging(sim, log)).register(long())
}

fn numbers(log: &Log<(u32, Duration)>) -> Vec<u32> {
    log.all().into_iter().map(|(number, _)| number).collect()
}

fn task(number: u32) -> Task<u32> {
    Task::new("log", number)
}

#[test]
fn by_priority_then_due_time_then_age_but_for_the_ageing_share() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).consumers(1).build().unwrap();
            let levels = [Priority::LOW, Priority::NORMAL, Priority::HIGH];
            // Interleaved, so that age and priority disagree.
            for number in 0..60u32 {
                let level = levels[number as usize % 3];
                manager.enqueue(task(number).priority(level)).await.unwrap();
            }
            manager.start().await.unwrap();
            sim.advance(SECOND).await;
            let started = numbers(&log);
            assert_eq!(started.len(), 60);
            let (aged, ordered): (Vec<_>, Vec<_>) =
                started.iter().enumerate().partition(|(at, _)| (at + 1) % 16 == 0);
            // The share of the oldest: each is the oldest that was left.
            for (at, &number) in aged {
                let oldest = (0..60).find(|other| !started[..at].contains(other));
                assert_eq!(Some(number), oldest, "claim {at} goes to the oldest");
            }
            // All others, strictly.
            for pair in ordered.windows(2) {
                let (a, b) = (pair[0].1, pair[1].1);
                assert!((a % 3, 60 - a) > (b % 3, 60 - b), "{a} before {b}");
            }
        });
    });
}

#[test]
fn no_task_starves_under_constant_urgent_load() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).consumers(1).build().unwrap();
            for number in 0..5 {
                manager.enqueue(task(1_000 + number)).await.unwrap();
            }
            for number in 0..400 {
                manager.enqueue(task(number).priority(Priority::CRITICAL)).await.unwrap();
            }
            manager.start().await.unwrap();
            sim.advance(SECOND).await;
            let started = numbers(&log);
            for (older, low) in (1_000..1_005).enumerate() {
                let at = started.iter().position(|&number| number == low).unwrap();
                assert!(at < 16 * (older + 1), "{low} started after {at} claims");
            }
        });
    });
}

#[test]
fn reserved_consumers_are_really_reserved() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager =
                builder(&sim, &log).consumers(5).consumers_for(Priority::HIGH, 2).build().unwrap();
            manager.start().await.unwrap();
            for _ in 0..10 {
                manager.enqueue(Task::new("long", 60u32)).await.unwrap();
            }
            sim.advance(SECOND).await;
            assert_eq!(manager.metrics().kind("long").active, 3, "two consumers are kept free");
            manager.enqueue(task(1)).await.unwrap();
            manager.enqueue(task(2).priority(Priority::HIGH)).await.unwrap();
            manager.enqueue(task(3).priority(Priority::CRITICAL)).await.unwrap();
            sim.run_until_idle().await;
            let mut started = log.all();
            started.sort_unstable();
            assert_eq!(started, [(2, SECOND), (3, SECOND)], "at once, and no normal task");
            sim.advance(SECOND * 300).await;
            assert_eq!(manager.metrics().live(), 0);
        });
    });
}

#[test]
fn urgent_tasks_may_use_every_consumer() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager =
            builder(&sim, &log).consumers(4).consumers_for(Priority::HIGH, 1).build().unwrap();
        manager.start().await.unwrap();
        for _ in 0..4 {
            manager.enqueue(Task::new("long", 60u32).priority(Priority::HIGH)).await.unwrap();
        }
        sim.run_until_idle().await;
        assert_eq!(manager.metrics().active, 4);
    });
}

#[test]
fn a_queue_with_consumers_of_its_own_shares_none() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager =
                builder(&sim, &log).consumers(2).pool("mail", PoolSize::new(1)).build().unwrap();
            manager.start().await.unwrap();
            for _ in 0..4 {
                manager.enqueue(Task::new("long", 10u32)).await.unwrap();
                manager.enqueue(Task::new("long", 10u32).queue("mail")).await.unwrap();
            }
            sim.advance(SECOND).await;
            assert_eq!(manager.metrics().queue("default").active, 2);
            assert_eq!(manager.metrics().queue("mail").active, 1);
            // A queue that nobody was told of is served all the same.
            manager.enqueue(task(7).queue("new")).await.unwrap();
            sim.advance(SECOND * 100).await;
            assert_eq!((manager.metrics().live(), numbers(&log)), (0, vec![7]));
        });
    });
}

#[test]
fn a_kinds_concurrency_is_kept_and_used() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let running = Log::new();
            let now = running.clone();
            let limited = consumer(
                "limited",
                move |(): (), ctx: Context| {
                    let now = now.clone();
                    async move {
                        now.push(1i32);
                        assert!(now.all().iter().sum::<i32>() <= 3, "more than three run");
                        ctx.sleep(SECOND).await;
                        now.push(-1);
                    }
                },
                |kind| _ = kind.concurrency(3),
            );
            let log = Log::new();
            let manager = builder(&sim, &log).register(limited).consumers(8).build().unwrap();
            manager.start().await.unwrap();
            for number in 0..30 {
                manager.enqueue(Task::new("limited", ())).await.unwrap();
                manager.enqueue(task(number)).await.unwrap();
            }
            sim.advance(SECOND * 10).await;
            sim.run_until_idle().await;
            let metrics = manager.metrics();
            assert_eq!((metrics.processed, metrics.failed), (60, 0), "three at a time take 10 s");
        });
    });
}

#[test]
fn a_kind_without_a_worker_waits_for_one() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager = Manager::builder().runtime(sim.runtime()).register(long()).build().unwrap();
        manager.start().await.unwrap();
        manager.enqueue(task(1)).await.unwrap();
        manager.enqueue(task(2).delay(SECOND)).await.unwrap();
        sim.advance(SECOND * 10).await;
        let metrics = manager.metrics();
        assert_eq!((metrics.parked, metrics.queued, metrics.scheduled), (2, 0, 0));
        manager.register(logging(&sim, &log)).unwrap();
        sim.run_until_idle().await;
        assert_eq!(numbers(&log).len(), 2);
        sim.advance(SECOND).await;
        assert!(manager.unregister("log"));
        manager.enqueue(task(3)).await.unwrap();
        sim.advance(SECOND).await;
        assert_eq!((numbers(&log).len(), manager.metrics().parked), (2, 1));
    });
}

#[test]
fn with_a_free_consumer_a_task_starts_at_its_time_whatever_the_order_of_things() {
    for_seeds(0..300, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            // More consumers than tasks, so that one is always free.
            let manager = builder(&sim, &log).consumers(40).build().unwrap();
            manager.start().await.unwrap();
            let producers: Vec<_> = (0..4u32)
                .map(|producer| {
                    let (sim, manager) = (sim.clone(), manager.clone());
                    sim.clone().spawn("producer", async move {
                        for number in 0..8u32 {
                            let delay = Duration::from_millis(sim.random() % 5);
                            let task = task(producer * 8 + number);
                            // The number's own due time is kept in the log's order of numbers.
                            let task = if number % 2 == 0 { task } else { task.delay(delay) };
                            manager.enqueue(task).await.unwrap();
                            if sim.random().is_multiple_of(3) {
                                sim.advance(Duration::from_millis(sim.random() % 4)).await;
                            }
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(SECOND).await;
            assert_eq!(log.len(), 32, "no wake-up is lost");
            assert!(log.all().iter().all(|&(_, at)| at < Duration::from_millis(60)));
            assert_eq!(manager.metrics().live(), 0);
        });
    });
}

#[test]
fn a_delayed_task_starts_exactly_at_its_time() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).consumers(2).build().unwrap();
            manager.start().await.unwrap();
            // The later one first: the earlier one must still wake maintenance in time.
            for millis in [5_000u32, 70, 3_000, 1] {
                let delay = Duration::from_millis(millis.into());
                manager.enqueue(task(millis).delay(delay)).await.unwrap();
            }
            sim.advance(SECOND * 10).await;
            for (millis, at) in log.all() {
                assert_eq!(at, Duration::from_millis(millis.into()));
            }
            assert_eq!(numbers(&log), [1, 70, 3_000, 5_000]);
        });
    });
}

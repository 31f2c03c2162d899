//! Order: which task is next, who may run it, and that it starts as soon as somebody can.
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conveyor::{
    Context, Error, Filter, Manager, ManagerBuilder, MemoryStore, PoolSize, Priority, Store, Task,
    TaskState,
};
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn task(kind: &'static str, payload: u64) -> Task<u64> {
    Task::new(kind, payload)
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime())
}

/// Takes as many milliseconds as its payload says.
async fn sleeps(length: u64, ctx: Context) {
    ctx.sleep(millis(length)).await;
}

fn default(_: &mut KindDefinition) {}

/// Logs payloads as their tasks start; each takes a millisecond.
fn logs(
    log: &Log<u64>,
) -> impl Fn(u64, Context) -> futures::future::BoxFuture<'static, ()> + use<> {
    let log = log.clone();
    move |payload, ctx| {
        log.push(payload);
        Box::pin(async move { ctx.sleep(millis(1)).await })
    }
}

#[test]
fn urgent_tasks_go_first_and_equal_ones_by_due_time_then_age() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim)
                .consumers(1)
                .register(consumer("a", logs(&log), default))
                .register(consumer("b", logs(&log), default))
                .build()
                .unwrap();
            // What is due earlier goes first, though it came later; both are due by the start.
            let mut expected = Vec::new();
            for number in 0..15 {
                let kind = if sim.random().is_multiple_of(2) { "a" } else { "b" };
                let priority = Priority::new((sim.random() % 3) as i16 * 10 - 10);
                let delay = sim.random() % 3;
                let new = task(kind, number).priority(priority).delay(secs(delay));
                manager.enqueue(new).await.unwrap();
                expected.push((std::cmp::Reverse(priority), delay, number));
            }
            expected.sort_unstable();
            sim.advance(secs(3)).await;
            manager.start().await.unwrap();
            sim.advance(secs(1)).await;
            let expected: Vec<_> = expected.into_iter().map(|(_, _, number)| number).collect();
            // Fifteen are one too few for the ageing share.
            assert_eq!(log.all(), expected);
        });
    });
}

#[test]
fn one_claim_in_sixteen_goes_to_the_oldest() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let manager = manager(&sim)
            .consumers(1)
            .register(consumer("work", logs(&log), default))
            .build()
            .unwrap();
        for _ in 0..5 {
            manager.enqueue(task("work", 0).priority(Priority::LOW)).await.unwrap();
        }
        for _ in 0..200 {
            manager.enqueue(task("work", 1).priority(Priority::HIGH)).await.unwrap();
        }
        manager.start().await.unwrap();
        // Urgent tasks never run out.
        for _ in 0..200 {
            sim.advance(millis(1)).await;
            manager.enqueue(task("work", 1).priority(Priority::HIGH)).await.unwrap();
        }
        let started = log.all();
        let low: Vec<_> =
            (1..).zip(&started).filter(|(_, what)| **what == 0).map(|(n, _)| n).collect();
        assert_eq!(low, [16, 32, 48, 64, 80]);
    });
}

#[test]
fn reserved_consumers_are_there_for_urgent_tasks_alone() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .consumers(5)
                .consumers_for(Priority::HIGH, 2)
                .register(consumer("work", sleeps, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            let long = |priority| task("work", 1_000_000).priority(priority);
            for _ in 0..10 {
                manager.enqueue(long(Priority::NORMAL)).await.unwrap();
            }
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().active, 3, "a normal task runs on a reserved consumer");
            let began = sim.elapsed();
            for expected in [4, 5] {
                manager.enqueue(long(Priority::HIGH)).await.unwrap();
                sim.run_until_idle().await;
                assert_eq!(manager.metrics().active, expected);
            }
            manager.enqueue(long(Priority::CRITICAL)).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().active, 5);
            assert_eq!(sim.elapsed(), began);
        });
    });
}

#[test]
fn urgent_tasks_may_use_every_consumer() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .consumers(5)
                .consumers_for(Priority::HIGH, 2)
                .register(consumer("work", sleeps, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            for running in 1..=5 {
                manager.enqueue(task("work", 1_000).priority(Priority::HIGH)).await.unwrap();
                sim.run_until_idle().await;
                assert_eq!(manager.metrics().active, running);
            }
        });
    });
}

/// Each task of a mixed batch finds somebody who may run it, whoever takes which.
#[test]
fn a_mixed_batch_is_started_by_all_who_are_idle() {
    for_seeds(0..30, |seed| {
        for (high, normal) in [(0, 3), (1, 2), (1, 1), (2, 1), (3, 0)] {
            simulate(seed, |sim| async move {
                let manager = manager(&sim)
                    .consumers(6)
                    .consumers_for(Priority::HIGH, 3)
                    .register(consumer("work", sleeps, default))
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                sim.run_until_idle().await;
                let delay = millis(sim.random() % 2 * 10);
                let urgent = (0..high).map(|_| Priority::HIGH);
                let others = (0..normal).map(|_| Priority::NORMAL);
                let tasks = urgent
                    .chain(others)
                    .map(|priority| task("work", 1_000_000).priority(priority).delay(delay));
                for receipt in manager.enqueue_all(tasks).await {
                    receipt.unwrap();
                }
                sim.advance(delay).await;
                sim.run_until_idle().await;
                let active = manager.metrics().active;
                assert_eq!(active, high + normal, "{high} high, {normal} normal");
            });
        }
    });
}

#[test]
fn a_queue_with_a_pool_of_its_own_shares_no_consumers() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .consumers(2)
                .pool("mail", PoolSize::new(3).reserve(Priority::HIGH, 1))
                .register(consumer("work", sleeps, default))
                .register(consumer("mail", sleeps, |kind| _ = kind.queue("mail")))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            let counts = |queue| manager.metrics().queue(queue).active;
            for _ in 0..6 {
                manager.enqueue(task("mail", 1_000)).await.unwrap();
            }
            sim.run_until_idle().await;
            assert_eq!((counts("mail"), counts("default")), (2, 0));
            for _ in 0..6 {
                manager.enqueue(task("work", 1_000)).await.unwrap();
            }
            sim.run_until_idle().await;
            assert_eq!((counts("mail"), counts("default")), (2, 2));
            // The task's own word on its queue goes before its worker's; both pools run any kind.
            manager.enqueue(task("work", 9).queue("mail").priority(Priority::HIGH)).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!((counts("mail"), counts("default")), (3, 2));
        });
    });
}

#[test]
fn a_task_of_a_queue_that_nobody_named_is_run_by_the_shared_consumers() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .consumers(2)
                .register(consumer("work", sleeps, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            let receipt = manager.enqueue(task("work", 5).queue("other")).await.unwrap();
            receipt.wait().await.unwrap();
            assert_eq!(sim.elapsed(), millis(5));
            assert_eq!(manager.metrics().queue("other").processed, 1);
        });
    });
}

#[test]
fn a_kinds_concurrency_is_never_exceeded_and_always_used() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let limit = 1 + usize::try_from(seed % 3).unwrap();
            let running = Arc::new(AtomicUsize::new(0));
            let limited = {
                let running = Arc::clone(&running);
                move |length: u64, ctx: Context| {
                    let running = Arc::clone(&running);
                    async move {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= limit, "{now} at a time, {limit} allowed");
                        if length > 0 {
                            ctx.sleep(millis(length)).await;
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        if length == 3 { Err(Error::fatal("no")) } else { Ok(()) }
                    }
                }
            };
            let manager = manager(&sim)
                .consumers(5)
                .consumers_for(Priority::HIGH, 1)
                .register(consumer("limited", limited, move |kind| {
                    kind.concurrency(u32::try_from(limit).unwrap());
                }))
                .register(consumer("free", sleeps, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            for number in 0..60 {
                let length = sim.random() % 6;
                let urgent = [Priority::NORMAL, Priority::HIGH][(sim.random() % 2) as usize];
                let kind = if number % 3 == 0 { "free" } else { "limited" };
                let new = task(kind, length).priority(urgent).delay(millis(sim.random() % 3));
                manager.enqueue(new).await.unwrap();
                sim.advance(millis(sim.random() % 3)).await;
                sim.run_until_idle().await;
                // At rest nobody idle leaves a task that may run.
                let counts = manager.metrics().kind("limited");
                let all = manager.metrics();
                let room = limit as u64 - counts.active;
                let general = all.active < 4 && counts.queued > 0 && room > 0;
                assert!(!general, "idle consumers, but {counts:?}");
                let free = all.kind("free");
                assert!(free.queued == 0 || all.active >= 4, "idle consumers, but {free:?}");
            }
            sim.advance(secs(1)).await;
            let metrics = manager.metrics();
            assert_eq!((metrics.live(), metrics.panicked, metrics.ended()), (0, 0, 60));
        });
    });
}

#[test]
fn an_unknown_kind_waits_as_parked_until_its_worker_comes() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .consumers(2)
                .register(consumer("known", sleeps, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(task("unknown", 5)).await.unwrap();
            let delayed = manager.enqueue(task("unknown", 5).delay(secs(10))).await.unwrap();
            let passes = manager.enqueue(task("known", 1)).await.unwrap();
            passes.wait().await.unwrap();
            sim.advance(secs(100)).await;
            let metrics = manager.metrics();
            assert_eq!((metrics.parked, metrics.queued, metrics.active), (2, 0, 0));
            assert_eq!((metrics.failed, metrics.kind("unknown").parked), (0, 2));
            let began = sim.elapsed();
            manager.register(consumer("unknown", sleeps, default)).unwrap();
            receipt.wait().await.unwrap();
            delayed.wait().await.unwrap();
            assert_eq!(sim.elapsed() - began, millis(5));
            assert_eq!(manager.metrics().parked, 0);
        });
    });
}

/// With an idle consumer a task starts at the very instant at which it is enqueued or due.
#[test]
fn no_wake_up_is_lost() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let consumers = 1 + (sim.random() % 4) as usize;
            let log = Log::new();
            let starts = {
                let (log, sim) = (log.clone(), sim.clone());
                // The payload: when it is to start, in microseconds.
                move |due: u64, _: Context| {
                    let now = u64::try_from(sim.elapsed().as_micros()).unwrap();
                    log.push((due, now));
                    async {}
                }
            };
            let manager = manager(&sim)
                .consumers(consumers + 1)
                .consumers_for(Priority::HIGH, 1)
                .register(consumer("work", starts, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let producers: Vec<_> = (0..1 + sim.random() % 3)
                .map(|_| sim.spawn("producer", produce(sim.clone(), manager.clone())))
                .collect();
            let count = producers.len() * 20;
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(secs(1)).await;
            sim.run_until_idle().await;
            let started = log.all();
            assert_eq!(started.len(), count, "tasks never started: {:?}", manager.metrics());
            for (due, now) in started {
                assert_eq!(due, now);
            }
        });
    });
}

/// Enqueues twenty tasks that take no time, some of them together, some for later.
async fn produce(sim: Sim, manager: Manager) {
    let mut left = 20;
    while left > 0 {
        let batch = (1 + sim.random() % 4).min(left);
        left -= batch;
        let tasks: Vec<_> = (0..batch)
            .map(|_| {
                let delay = sim.random() % 3 * 500;
                let now = u64::try_from(sim.elapsed().as_micros()).unwrap();
                let urgent = [Priority::NORMAL, Priority::HIGH][(sim.random() % 2) as usize];
                task("work", now + delay).priority(urgent).delay(Duration::from_micros(delay))
            })
            .collect();
        if sim.random().is_multiple_of(2) {
            for new in tasks {
                manager.enqueue(new).await.unwrap();
            }
        } else {
            for receipt in manager.enqueue_all(tasks).await {
                receipt.unwrap();
            }
        }
        sim.advance(Duration::from_micros(sim.random() % 3 * 250)).await;
    }
}

/// It may block, and would hold up for as long what was claimed with it, however many consumers of
/// other processes are idle.
#[test]
fn nothing_waits_behind_the_first_attempt_of_a_kind() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let (within, held) = (Arc::clone(&store), Log::new());
            let log = held.clone();
            let may_block = move |_: u64, _: Context| {
                let filter = Filter { state: Some(TaskState::Active), ..Filter::default() };
                let Ok(page) = within.inspect(&filter).now_or_later() else {
                    unreachable!("memory answers at once")
                };
                log.push(page.unwrap().tasks.len());
                async {}
            };
            let manager = manager(&sim)
                .consumers(1)
                .store(store)
                .register(consumer("cheap", |_: u64, _: Context| async {}, default))
                .register(consumer("may block", may_block, default))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            // So many that the consumer takes several at once.
            for number in 0..100 {
                manager.enqueue(task("cheap", number)).await.unwrap();
            }
            sim.run_until_idle().await;
            manager.pause("default").await.unwrap();
            for number in 0..9 {
                manager.enqueue(task("cheap", number)).await.unwrap();
            }
            let urgent = task("may block", 9).priority(Priority::HIGH);
            manager.enqueue(urgent).await.unwrap();
            manager.resume("default").await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(held.all(), [1], "the others were handed back first");
            assert_eq!(manager.metrics().processed, 110);
        });
    });
}

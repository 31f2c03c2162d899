//! No consumer idles beside a task that it could start, whatever woke whom, and when the store
//! answers.
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::Arc;
use std::time::Duration;

use conveyor::{Context, Manager, MemoryStore, PoolSize, Priority, Receipt, Store, Task};
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::slow_store::SlowStore;
use conveyor_tests::{Log, consumer};

const MS: Duration = Duration::from_millis(1);

/// A worker whose tasks take as many milliseconds as they say, and are noted when they start.
fn sleeper(kind: &'static str, started: &Log<(u32, Duration)>, sim: &Sim) -> impl conveyor::Worker {
    sleeper_with(kind, started, sim, |_| {})
}

fn sleeper_with(
    kind: &'static str,
    started: &Log<(u32, Duration)>,
    sim: &Sim,
    settings: impl Fn(&mut KindDefinition) + Send + Sync + 'static,
) -> impl conveyor::Worker {
    let (started, sim) = (started.clone(), sim.clone());
    let handler = move |(number, millis): (u32, u64), ctx: Context| {
        started.push((number, sim.elapsed()));
        async move {
            if millis > 0 {
                ctx.sleep(Duration::from_millis(millis)).await;
            }
        }
    };
    consumer(kind, handler, settings)
}

fn numbers(started: &Log<(u32, Duration)>) -> Vec<u32> {
    started.all().into_iter().map(|(number, _)| number).collect()
}

/// A number below `bound`, from the seed.
fn below(sim: &Sim, bound: u64) -> u64 {
    (sim.random() >> 11) % bound
}

/// The manager's own store, or one whose replies take their time.
fn with_store(
    builder: conveyor::ManagerBuilder,
    sim: &Sim,
    slow: bool,
) -> conveyor::ManagerBuilder {
    let builder = builder.runtime(sim.runtime());
    if !slow {
        return builder;
    }
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(sim.clock()));
    builder.store(Arc::new(SlowStore::new(memory, sim.runtime())))
}

/// How many tasks start when every idle consumer is made to look: each had been overlooked.
async fn overlooked(sim: &Sim, manager: &Manager, started: &Log<(u32, Duration)>) -> usize {
    sim.run_until_idle().await;
    let before = started.len();
    // A new worker wakes everybody.
    manager.register(consumer("nobody", |(): (), _| async {}, |_| {})).unwrap();
    sim.run_until_idle().await;
    manager.unregister("nobody");
    started.len() - before
}

#[test]
fn a_task_starts_within_sixteen_times_the_tasks_that_are_older() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let flood = {
                let started = started.clone();
                // Each urgent task makes the next one, or two: there are always some.
                move |number: u32, ctx: Context| {
                    let started = started.clone();
                    async move {
                        started.push((number, Duration::ZERO));
                        let more = 1 + u32::from(number < 1_000) * (number % 2);
                        for _ in 0..more {
                            let next = Task::new("flood", number + 1).priority(Priority::HIGH);
                            ctx.enqueue(next).await.unwrap();
                        }
                        ctx.sleep(MS).await;
                    }
                }
            };
            let manager = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(consumer("flood", flood, |_| {}))
                .register(sleeper("low", &started, &sim))
                .consumers(1 + below(&sim, 4) as usize)
                .build()
                .unwrap();
            for _ in 0..10 {
                let task = Task::new("flood", 1_000).priority(Priority::HIGH);
                manager.enqueue(task).await.unwrap();
            }
            manager.start().await.unwrap();
            sim.advance(below(&sim, 50) as u32 * MS).await;
            for number in 0..below(&sim, 5) as u32 {
                let low = Task::new("low", (1_000_000 + number, 1)).priority(Priority::LOW);
                manager.enqueue(low).await.unwrap();
            }
            let last = Task::new("low", (2_000_000, 1)).priority(Priority::LOW);
            let older = manager.metrics().queued as usize;
            let before = started.len();
            let receipt = manager.enqueue(last).await.unwrap();
            assert!(receipt.wait().await.unwrap().is_success());
            let at = numbers(&started).iter().position(|&number| number == 2_000_000).unwrap();
            let claims = at - before + 1;
            let bound = 16 * (older + 1);
            assert!(claims <= bound, "it started as number {claims}, with {older} older ones");
            manager.shutdown(MS).await.unwrap();
        });
    });
}

#[test]
fn an_urgent_task_that_a_general_consumer_takes_leaves_none_behind() {
    // The consumer that was woken for the first takes the second; the reserved one, woken for the
    // second, finds nothing for it.
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let manager = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(sleeper("any", &started, &sim))
                .consumers(3)
                .consumers_for(Priority::HIGH, 1)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            manager.enqueue(Task::new("any", (0, 10))).await.unwrap();
            manager.enqueue(Task::new("any", (1, 10)).priority(Priority::HIGH)).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(started.len(), 2, "there is a consumer for each");
        });
    });
}

#[test]
fn a_due_task_takes_no_other_tasks_wake_up() {
    // Who was woken for the second task may find the first one due, before anybody was told of it.
    for_seeds(0..200, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let manager = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(sleeper("any", &started, &sim))
                .consumers(3)
                .consumers_for(Priority::HIGH, 1)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let first = [Priority::NORMAL, Priority::HIGH][below(&sim, 2) as usize];
            let first = Task::new("any", (0, 10)).priority(first).delay(10 * MS);
            manager.enqueue(first).await.unwrap();
            sim.advance(10 * MS).await;
            manager.enqueue(Task::new("any", (1, 10))).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(started.len(), 2, "there is a consumer for each");
        });
    });
}

#[test]
fn a_wake_up_for_who_has_just_found_something_is_passed_on() {
    // He has found the first task by himself, and has room for more; the wake-up is the second's.
    for_seeds(6_000..8_000, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let manager = with_store(Manager::builder(), &sim, true)
                .register(sleeper("quick", &started, &sim))
                .register(sleeper("long", &started, &sim))
                .consumers(2)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            // Who runs these finds them cheap, and asks for several from then on.
            let quick = 1 + below(&sim, 8) as u32;
            for number in 0..quick {
                manager.enqueue(Task::new("quick", (number, 0))).await.unwrap();
            }
            let (one, other) = (Task::new("long", (100, 10)), Task::new("long", (101, 10)));
            let both = futures::join!(manager.enqueue(one), manager.enqueue(other));
            assert!(both.0.is_ok() && both.1.is_ok());
            sim.run_until_idle().await;
            assert_eq!(started.len() as u32, quick + 2, "there is a consumer for each long one");
        });
    });
}

#[test]
fn a_queue_that_is_served_from_now_on_gets_every_idle_consumer() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let started = Log::new();
            let builder = || Manager::builder().runtime(sim.runtime()).store(store.clone());
            let front = builder().build().unwrap();
            let back =
                builder().register(sleeper("any", &started, &sim)).consumers(4).build().unwrap();
            back.start().await.unwrap();
            sim.run_until_idle().await;
            for number in 0..3 {
                front.enqueue(Task::new("any", (number, 10)).queue("other")).await.unwrap();
            }
            sim.run_until_idle().await;
            assert!(started.is_empty(), "the other manager does not know of that queue");
            back.enqueue(Task::new("any", (3, 10)).queue("other")).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(started.len(), 4);
        });
    });
}

#[test]
fn a_limited_kind_in_two_pools_wakes_the_pool_that_has_to_wait() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let manager = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(sleeper_with("one", &started, &sim, |one| _ = one.concurrency(1)))
                .consumers(2)
                .pool("mail", PoolSize::new(2))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("one", (0, 10))).await.unwrap();
            sim.run_until_idle().await;
            let mail = Task::new("one", (1, 10)).queue("mail");
            let receipt = manager.enqueue(mail).await.unwrap();
            assert!(receipt.wait().await.unwrap().is_success());
            assert_eq!(started.all(), [(0, Duration::ZERO), (1, 10 * MS)]);
        });
    });
}

#[test]
fn permits_that_reserved_consumers_give_back_reach_the_others() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let manager = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(sleeper_with("two", &started, &sim, |two| _ = two.concurrency(2)))
                .consumers(4)
                .consumers_for(Priority::HIGH, 2)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.run_until_idle().await;
            for number in 0..2 {
                let urgent = Task::new("two", (number, 10)).priority(Priority::HIGH);
                manager.enqueue(urgent).await.unwrap();
            }
            sim.run_until_idle().await;
            for number in 2..4 {
                manager.enqueue(Task::new("two", (number, 10))).await.unwrap();
            }
            sim.advance(10 * MS).await;
            sim.run_until_idle().await;
            assert_eq!(started.len(), 4, "both permits are used at once");
        });
    });
}

#[test]
fn two_managers_on_one_store_share_the_work() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let started = Log::new();
            let mut managers = Vec::new();
            for _ in 0..2 {
                let manager = Manager::builder()
                    .runtime(sim.runtime())
                    .store(store.clone())
                    .register(sleeper("any", &started, &sim))
                    .consumers(2)
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                managers.push(manager);
            }
            let mut receipts: Vec<Receipt> = Vec::new();
            for number in 0..8 {
                let manager = &managers[below(&sim, 2) as usize];
                receipts.push(manager.enqueue(Task::new("any", (number, 10))).await.unwrap());
            }
            for receipt in receipts {
                // Either can tell of any task.
                let end = managers[below(&sim, 2) as usize].wait(receipt.id()).await;
                assert!(end.unwrap().is_success());
            }
            let mut ran = numbers(&started);
            ran.sort_unstable();
            assert_eq!(ran, (0..8).collect::<Vec<_>>(), "each of them once");
            assert_eq!(sim.elapsed(), 20 * MS, "all four consumers work");
        });
    });
}

#[test]
fn whatever_happens_no_task_is_overlooked() {
    for_seeds(0..400, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let consumers = 2 + below(&sim, 5) as usize;
            let mut builder = with_store(Manager::builder(), &sim, seed % 2 == 1)
                .register(sleeper("free", &started, &sim))
                .register(sleeper_with("one", &started, &sim, |one| _ = one.concurrency(1)))
                .register(sleeper_with("two", &started, &sim, |two| _ = two.concurrency(2)))
                .consumers(consumers);
            let mut reserved = 0;
            for priority in [Priority::HIGH, Priority::CRITICAL] {
                let count = below(&sim, (consumers - reserved) as u64) as usize;
                builder = builder.consumers_for(priority, count);
                reserved += count;
            }
            if below(&sim, 2) == 0 {
                builder = builder.pool("mail", PoolSize::new(1 + below(&sim, 3) as usize));
            }
            let manager = builder.build().unwrap();
            if below(&sim, 2) == 0 {
                manager.start().await.unwrap();
            }
            let mut receipts = Vec::new();
            let mut number = 0;
            let mut task = || {
                number += 1;
                let kind = ["free", "free", "one", "two"][below(&sim, 4) as usize];
                // Half of them are done at once.
                let millis = below(&sim, 2) * below(&sim, 30);
                let priority =
                    [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::CRITICAL]
                        [below(&sim, 4) as usize];
                let queue = ["default", "default", "mail"][below(&sim, 3) as usize];
                let task = Task::new(kind, (number, millis)).priority(priority).queue(queue);
                match below(&sim, 4) {
                    0 => task.delay(Duration::from_millis(below(&sim, 20))),
                    _ => task,
                }
            };
            for _ in 0..40 {
                match below(&sim, 10) {
                    0..5 => receipts.push(manager.enqueue(task()).await.unwrap()),
                    5 => {
                        let batch: Vec<_> = (0..below(&sim, 6)).map(|_| task()).collect();
                        let all = manager.enqueue_all(batch).await;
                        receipts.extend(all.into_iter().map(Result::unwrap));
                    }
                    6 => sim.advance(Duration::from_millis(1 + below(&sim, 10))).await,
                    7 => manager.start().await.unwrap(),
                    8 => {
                        let queue = ["default", "mail"][below(&sim, 2) as usize];
                        if below(&sim, 2) == 0 {
                            manager.pause(queue).await.unwrap();
                        } else {
                            manager.resume(queue).await.unwrap();
                        }
                    }
                    _ => assert_eq!(overlooked(&sim, &manager, &started).await, 0),
                }
            }
            manager.start().await.unwrap();
            manager.resume("default").await.unwrap();
            manager.resume("mail").await.unwrap();
            let ends = receipts.len();
            for receipt in receipts {
                assert!(receipt.wait().await.unwrap().is_success());
            }
            assert_eq!(started.len(), ends, "each of them once");
            let metrics = manager.metrics();
            assert_eq!((metrics.live(), metrics.processed), (0, ends as u64));
        });
    });
}

/// Each consumer takes a permit before it looks, and whoever goes without is told when it was not
/// needed: that must come to an end when there is nothing.
#[test]
fn consumers_that_find_nothing_come_to_rest() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let started = Log::new();
            let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(sim.clock()));
            let store = Arc::new(SlowStore::new(memory, sim.runtime()));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(store.clone())
                .register(sleeper_with("one", &started, &sim, |one| _ = one.concurrency(1)))
                .register(sleeper_with("two", &started, &sim, |two| _ = two.concurrency(2)))
                .consumers(6)
                .consumers_for(Priority::HIGH, 2)
                .pool("mail", PoolSize::new(2))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            for number in 0..4 {
                let before = store.claims();
                sim.run_until_idle().await;
                let claims = store.claims() - before;
                assert!(claims < 60, "eight consumers claimed {claims} times");
                let kind = ["one", "two"][number as usize % 2];
                manager.enqueue(Task::new(kind, (number, 0))).await.unwrap();
            }
        });
    });
}

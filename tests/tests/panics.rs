//! Panics: each costs its own attempt, no other task, and no consumer.
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

use std::fmt;
use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use conveyor::{
    Backoff, Context, Definition, End, Manager, ManagerBuilder, Outcome, Schedule, Task,
};
use conveyor_core::outcome::Failure;
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, Simulation, for_seeds};
use conveyor_tests::{Defined, Log, consumer};
use futures::FutureExt;
use serde::{Deserialize, Deserializer, Serialize};

const WIDTH: usize = 4;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// For a day at most: a consumer that panics again and again is to fail its test soon.
fn simulate<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Sim) -> F) {
    Simulation::new(seed).max_time(secs(86_400)).run(test);
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(WIDTH).backoff(Backoff::fixed(secs(1)))
}

fn failed(why: &str) -> End {
    End::Failed(why.to_owned())
}

fn once(kind: &mut KindDefinition) {
    kind.retries(0);
}

/// Panics when it is dropped, with a payload that does the same.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Bomb);
    }
}

/// Panics when it is shown.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it cannot be said")
    }
}

impl std::error::Error for Unspeakable {}

/// Panics when it is decoded.
#[derive(Clone, Debug, Serialize)]
struct Undecodable;

impl<'de> Deserialize<'de> for Undecodable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in the decode")
    }
}

/// A payload that panics when it is dropped.
#[derive(Debug, Serialize, Deserialize)]
struct Touchy(bool);

impl Drop for Touchy {
    fn drop(&mut self) {
        if std::mem::take(&mut self.0) {
            panic!("a payload's drop");
        }
    }
}

/// Is done at once, and panics when it is dropped.
struct DoneButTouchy;

impl Future for DoneButTouchy {
    type Output = Result<Outcome, Failure>;

    fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(Outcome::success()))
    }
}

impl Drop for DoneButTouchy {
    fn drop(&mut self) {
        panic!("in the future's drop");
    }
}

/// Panics; its return type is one that a handler may have, as `!` is not.
fn blow(text: &str) {
    panic!("{text}")
}

fn detonate() {
    panic_any(Bomb)
}

/// Every way to panic that a worker has; the kind, and what its end says.
const WAYS: [(&str, &str); 9] = [
    ("first", "panicked: before the first wait"),
    ("later", "panicked: after a wait"),
    ("local", "panicked: a local's drop"),
    ("future", "panicked: in the future's drop"),
    ("payload", "panicked: a panic without a text"),
    ("display", "panicked: it cannot be said"),
    ("decode", "panicked: in the decode"),
    ("blocking", "panicked: on another thread"),
    ("state", "panicked: no state of type u64; give the manager's builder one by `.state(…)`"),
];

struct Local;

impl Drop for Local {
    fn drop(&mut self) {
        panic!("a local's drop");
    }
}

fn every_way(definition: &mut Definition) {
    once(definition.consume("first", |(): (), _| {
        blow("before the first wait");
        async {}
    }));
    once(definition.consume("later", |(): (), ctx: Context| async move {
        ctx.sleep(secs(1)).await;
        blow("after a wait");
    }));
    once(definition.consume("local", |(): (), ctx: Context| async move {
        let _local = Local;
        ctx.sleep(secs(1)).await;
    }));
    once(definition.handle("future", |_| Ok(DoneButTouchy)));
    once(definition.consume("payload", |(): (), _| async {
        detonate();
    }));
    once(definition.consume("display", |(): (), _| async { Err::<(), _>(Unspeakable) }));
    once(definition.consume("decode", |_: Undecodable, _| async {}));
    once(definition.consume("blocking", |(): (), ctx: Context| async move {
        ctx.spawn_blocking(|| blow("on another thread")).await;
    }));
    once(definition.consume("state", |(): (), ctx: Context| async move {
        drop(ctx.state::<u64>());
    }));
}

/// As many tasks run at once as the pool has consumers, and no consumer was replaced.
async fn assert_full_width(sim: &Sim, manager: &Manager) {
    let tasks = (0..3 * WIDTH).map(|_| Task::new("wait", ()));
    let receipts = manager.enqueue_all(tasks).await;
    sim.advance(Duration::from_millis(1)).await;
    assert_eq!(manager.metrics().kind("wait").active, WIDTH as u64);
    for receipt in receipts {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
    }
    assert_eq!(sim.panics(), [], "a panic reached a task of the engine's");
}

fn waiter(definition: &mut Definition) {
    definition
        .consume("wait", |(): (), ctx: Context| async move { ctx.sleep(secs(100)).await })
        .retries(0);
}

#[test]
fn every_panic_is_its_own_attempts_end_and_no_consumers() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .register(Defined(every_way))
                .register(Defined(waiter))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let bystanders = manager.enqueue_all((0..2).map(|_| Task::new("wait", ()))).await;
            sim.run_until_idle().await;
            let mut receipts = Vec::new();
            for round in 0..3 {
                for (kind, why) in WAYS {
                    let receipt = manager.enqueue(Task::new(kind, ())).await.unwrap();
                    receipts.push((round, kind, why, receipt));
                }
            }
            for (round, kind, why, receipt) in receipts {
                assert_eq!(receipt.wait().await, Ok(failed(why)), "{kind}, round {round}");
            }
            let panics = 3 * WAYS.len() as u64;
            let metrics = manager.metrics();
            assert_eq!((metrics.panicked, metrics.failed), (panics, panics));
            for (kind, _) in WAYS {
                assert_eq!(metrics.kind(kind).panicked, 3, "{kind}");
            }
            for bystander in bystanders {
                assert_eq!(bystander.unwrap().wait().await, Ok(End::Succeeded));
            }
            assert_full_width(&sim, &manager).await;
        });
    });
}

#[test]
fn a_panic_is_retried_as_an_error_is() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handler = {
            let (log, sim) = (log.clone(), sim.clone());
            move |(): (), ctx: Context| {
                log.push((ctx.attempt(), sim.elapsed()));
                async move {
                    match ctx.attempt() {
                        1 => panic!("one"),
                        2 => Err("two"),
                        3 => panic!("three"),
                        _ => Ok(()),
                    }
                }
            }
        };
        let manager = manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        assert_eq!(log.all(), [(1, secs(0)), (2, secs(1)), (3, secs(2)), (4, secs(3))]);
        let metrics = manager.metrics();
        assert_eq!((metrics.panicked, metrics.retried, metrics.processed), (2, 3, 1));
    });
}

#[test]
fn a_panic_is_retried_only_if_the_worker_or_else_the_manager_says_so() {
    for default in [true, false] {
        for worker in [None, Some(true), Some(false)] {
            simulate(7, |sim| async move {
                let handler = |(): (), ctx: Context| async move {
                    blow(&format!("attempt {}", ctx.attempt()));
                };
                let settings = move |kind: &mut KindDefinition| {
                    kind.retries(2);
                    if let Some(retry) = worker {
                        kind.retry_on_panic(retry);
                    }
                };
                let manager = manager(&sim)
                    .retry_on_panic(default)
                    .register(consumer("work", handler, settings))
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
                let attempts = if worker.unwrap_or(default) { 3 } else { 1 };
                let why = format!("panicked: attempt {attempts}");
                assert_eq!(receipt.wait().await, Ok(failed(&why)), "{default}, {worker:?}");
                assert_eq!(manager.metrics().panicked, attempts, "{default}, {worker:?}");
            });
        }
    }
}

/// A panic in the drop of a handler that outlasted its timeout hides neither the timeout nor a
/// consumer.
#[test]
fn a_handler_that_panics_when_it_is_dropped_timed_out_all_the_same() {
    simulate(7, |sim| async move {
        let handler = |(): (), ctx: Context| async move {
            let _local = Local;
            ctx.sleep(secs(1_000)).await;
        };
        let settings = |kind: &mut KindDefinition| _ = kind.retries(0).timeout(secs(2));
        let manager = manager(&sim)
            .register(consumer("work", handler, settings))
            .register(Defined(waiter))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        let why = "the attempt took longer than its timeout of 2s";
        assert_eq!(receipt.wait().await, Ok(failed(why)));
        assert_eq!(manager.metrics().timed_out, 1);
        assert_full_width(&sim, &manager).await;
    });
}

/// The engine calls a backoff function, a key function and a payload's drop outside the handler.
#[test]
fn a_backoff_that_panics_costs_no_consumer_and_no_retry() {
    for_seeds(0..5, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let attempts = log.clone();
            let handler = move |(): (), ctx: Context| {
                attempts.push(ctx.attempt());
                async { Err::<(), _>("no") }
            };
            let settings = |kind: &mut KindDefinition| {
                kind.retries(2).backoff(Backoff::custom(|_| panic!("in the backoff")));
            };
            let manager = manager(&sim)
                .register(consumer("work", handler, settings))
                .register(Defined(waiter))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            sim.advance(secs(3_600)).await;
            assert_eq!(sim.panics(), [], "a panic reached a task of the engine's");
            assert_eq!(receipt.wait().await, Ok(failed("no")));
            assert_eq!(log.all(), [1, 2, 3]);
            assert_full_width(&sim, &manager).await;
        });
    });
}

#[test]
fn a_key_that_panics_fails_the_producer_and_costs_no_consumer() {
    for_seeds(0..5, |seed| {
        simulate(seed, |sim| async move {
            let worker = Defined(|definition: &mut Definition| {
                definition.consume("child", |_: u8, _| async {}).key(|_: &u8| panic!("in the key"));
                definition
                    .produce("child", |_| async { Ok::<_, String>(vec![Task::new("child", 1u8)]) })
                    .retries(0)
                    .schedule(Schedule::every(secs(10)).unwrap());
            });
            let manager = manager(&sim).register(worker).register(Defined(waiter)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(95)).await;
            assert_eq!(sim.panics(), [], "a panic reached a task of the engine's");
            assert_eq!(manager.metrics().kind("child.produce").failed, 10);
            assert_full_width(&sim, &manager).await;
        });
    });
}

#[test]
fn a_tick_whose_key_panics_does_not_stop_the_other_schedules() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let ticks = log.clone();
        let worker = Defined(move |definition: &mut Definition| {
            let ticks = ticks.clone();
            definition
                .consume("a", |(): (), _| async {})
                .key(|(): &()| panic!("in the key"))
                .schedule(Schedule::every(secs(10)).unwrap());
            definition
                .consume("b", move |(): (), _| {
                    ticks.push(());
                    async {}
                })
                .schedule(Schedule::every(secs(10)).unwrap());
        });
        let manager = manager(&sim).register(worker).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(95)).await;
        assert_eq!(sim.panics(), [], "a panic reached a task of the engine's");
        assert_eq!(log.len(), 10);
    });
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_costs_no_consumer() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let worker = Defined(|definition: &mut Definition| {
                definition.consume_shared("touchy", |_: std::sync::Arc<Touchy>, _| async {});
            });
            let manager = manager(&sim).register(worker).register(Defined(waiter)).build().unwrap();
            manager.start().await.unwrap();
            for _ in 0..3 * WIDTH {
                let receipt = manager.enqueue(Task::new("touchy", Touchy(true))).await.unwrap();
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
            assert_full_width(&sim, &manager).await;
        });
    });
}

/// A payload that calls the manager when it is dropped.
#[derive(Serialize, Deserialize)]
struct Calls {
    #[serde(skip)]
    cancels: Option<(Manager, conveyor::TaskId)>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some((manager, id)) = self.cancels.take() {
            manager.cancel(id).now_or_never().expect("a store in memory answers at once").unwrap();
        }
    }
}

/// The engine holds no lock while it drops a payload: else this is a deadlock.
#[test]
fn a_payload_may_call_the_manager_when_it_is_dropped() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let worker = Defined(|definition: &mut Definition| {
                definition.consume_shared("calls", |_: std::sync::Arc<Calls>, _| async {});
            });
            let manager = manager(&sim).register(worker).register(Defined(waiter)).build().unwrap();
            manager.start().await.unwrap();
            let waiting = manager.enqueue(Task::new("wait", ())).await.unwrap();
            sim.run_until_idle().await;
            for _ in 0..3 * WIDTH {
                let payload = Calls { cancels: Some((manager.clone(), waiting.id())) };
                let receipt = manager.enqueue(Task::new("calls", payload)).await.unwrap();
                assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            }
            assert!(matches!(waiting.wait().await, Ok(End::Cancelled(_))));
            assert_full_width(&sim, &manager).await;
        });
    });
}

#[test]
fn a_worker_that_panics_when_it_is_dropped_costs_no_consumer() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let worker = Defined(|definition: &mut Definition| {
                let local = Local;
                definition.consume("touchy", move |(): (), _| {
                    let _kept = &local;
                    async {}
                });
            });
            let manager = manager(&sim).register(worker).register(Defined(waiter)).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("touchy", ())).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            sim.run_until_idle().await;
            assert!(manager.unregister("touchy"));
            let tasks = (0..3 * WIDTH).map(|_| Task::new("wait", ()));
            let receipts = manager.enqueue_all(tasks).await;
            // The last consumer that hears of it drops the worker, ends by that, and starts again.
            sim.advance(secs(1)).await;
            assert_eq!(manager.metrics().kind("wait").active, WIDTH as u64);
            for receipt in receipts {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
        });
    });
}

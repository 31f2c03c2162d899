//! Panics: each costs its own attempt, no other task, and no consumer.

use std::fmt;
use std::future::Future;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use conveyor::prelude::*;
use conveyor::{Definition, ManagerBuilder, Schedule, TaskId};
use conveyor_core::outcome::Failure;
use conveyor_core::worker::KindDefinition;
use conveyor_tests::{Defined, Gate, Setting, consumer};
use futures::FutureExt;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{NEVER, Started, failed, millis, waits};

conveyor_tests::on_every_runtime!(
    every_panic_is_its_own_attempts_end_and_no_consumers,
    a_pool_keeps_its_width_whatever_panics,
    a_panic_is_retried_as_an_error_is,
    a_panic_is_retried_only_if_the_worker_or_else_the_manager_says_so,
    a_handler_that_panics_when_it_is_dropped_timed_out_all_the_same,
    a_key_that_panics_fails_the_producer_and_costs_no_consumer,
    a_tick_whose_key_panics_does_not_stop_the_other_schedules,
    a_payload_that_panics_when_it_is_dropped_costs_no_consumer,
    a_payload_may_call_the_manager_when_it_is_dropped,
    a_worker_that_panics_when_it_is_dropped_costs_no_consumer,
);

const WIDTH: usize = 4;

/// A manager whose every consumer can be held up.
struct Held {
    started: Started,
    gate: Gate,
}

impl Held {
    fn new() -> Self {
        Held { started: Started::new(), gate: Gate::new() }
    }

    fn manager(&self, setting: &Setting) -> ManagerBuilder {
        setting
            .manager()
            .consumers(WIDTH)
            .backoff(Backoff::fixed(millis(2)))
            .cancel_grace(millis(5))
            .state(self.started.clone())
            .state(self.gate.clone())
            .register(waits)
    }

    /// As many tasks run at once as the pool has consumers.
    async fn assert_full_width(&self, manager: &Manager) {
        let before = self.started.len();
        let tasks = (0..3 * WIDTH as u64).map(|number| waits.task(number));
        let receipts = manager.enqueue_all(tasks).await;
        self.started.reaches(before + WIDTH).await;
        assert_eq!(manager.metrics().kind("waits").active, WIDTH as u64);
        self.gate.open();
        for receipt in receipts {
            assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
        }
    }
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
        ctx.sleep(millis(1)).await;
        blow("after a wait");
    }));
    once(definition.consume("local", |(): (), ctx: Context| async move {
        let _local = Local;
        ctx.sleep(millis(1)).await;
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

async fn every_panic_is_its_own_attempts_end_and_no_consumers(setting: Setting) {
    let held = Held::new();
    let manager = held.manager(&setting).register(Defined(every_way)).build().unwrap();
    manager.start().await.unwrap();
    let bystanders = manager.enqueue_all([waits.task(0), waits.task(1)]).await;
    held.started.reaches(2).await;
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
    assert_eq!((metrics.panicked, metrics.failed, metrics.active), (panics, panics, 2));
    for (kind, _) in WAYS {
        assert_eq!(metrics.kind(kind).panicked, 3, "{kind}");
    }
    held.gate.open();
    for bystander in bystanders {
        assert_eq!(bystander.unwrap().wait().await, Ok(End::Succeeded));
    }
}

/// All of the consumers are there after every way to panic was gone.
async fn a_pool_keeps_its_width_whatever_panics(setting: Setting) {
    let held = Held::new();
    let manager = held.manager(&setting).register(Defined(every_way)).build().unwrap();
    manager.start().await.unwrap();
    for (kind, why) in [WAYS, WAYS, WAYS].concat() {
        let receipt = manager.enqueue(Task::new(kind, ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(failed(why)), "{kind}");
    }
    held.assert_full_width(&manager).await;
}

async fn a_panic_is_retried_as_an_error_is(setting: Setting) {
    let held = Held::new();
    let log = Started::new();
    let attempts = log.clone();
    let handler = move |(): (), ctx: Context| {
        attempts.push(ctx.attempt().into());
        async move {
            match ctx.attempt() {
                1 => panic!("one"),
                2 => Err("two"),
                3 => panic!("three"),
                _ => Ok(()),
            }
        }
    };
    let manager =
        held.manager(&setting).register(consumer("work", handler, |_| {})).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    assert_eq!(log.all(), [1, 2, 3, 4]);
    let metrics = manager.metrics();
    assert_eq!((metrics.panicked, metrics.retried, metrics.processed), (2, 3, 1));
}

async fn a_panic_is_retried_only_if_the_worker_or_else_the_manager_says_so(setting: Setting) {
    for default in [true, false] {
        for worker in [None, Some(true), Some(false)] {
            let handler = |(): (), ctx: Context| async move {
                blow(&format!("attempt {}", ctx.attempt()));
            };
            let settings = move |kind: &mut KindDefinition| {
                kind.retries(2);
                if let Some(retry) = worker {
                    kind.retry_on_panic(retry);
                }
            };
            let manager = setting
                .manager()
                .backoff(Backoff::none())
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
        }
    }
}

/// A panic in the drop of a handler that outlasted its timeout hides neither the timeout nor a
/// consumer.
async fn a_handler_that_panics_when_it_is_dropped_timed_out_all_the_same(setting: Setting) {
    let held = Held::new();
    let handler = |(): (), ctx: Context| async move {
        let _local = Local;
        ctx.sleep(NEVER).await;
    };
    let settings = |kind: &mut KindDefinition| {
        kind.retries(0).timeout(millis(5)).cancel_grace(millis(5));
    };
    let worker = consumer("work", handler, settings);
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    for round in 1..=WIDTH as u64 {
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        let why = "the attempt took longer than its timeout of 5ms";
        assert_eq!(receipt.wait().await, Ok(failed(why)));
        assert_eq!(manager.metrics().timed_out, round);
    }
    held.assert_full_width(&manager).await;
}

/// The engine calls a key function and a payload's drop outside the handler.
async fn a_key_that_panics_fails_the_producer_and_costs_no_consumer(setting: Setting) {
    let held = Held::new();
    let log = Started::new();
    let ticks = log.clone();
    let worker = Defined(move |definition: &mut Definition| {
        let ticks = ticks.clone();
        definition.consume("child", |_: u8, _| async {}).key(|_: &u8| panic!("in the key"));
        definition
            .produce("child", move |_| {
                ticks.push(0);
                async { Ok::<_, String>(vec![Task::new("child", 1u8)]) }
            })
            .retries(0)
            .schedule(Schedule::every(millis(5)).unwrap());
    });
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    // When the sixth begins, the others have ended: one does not overlap another.
    log.reaches(6).await;
    let counts = manager.metrics().kind("child.produce");
    assert!(counts.failed >= 5 && counts.processed == 0, "{counts:?}");
    held.assert_full_width(&manager).await;
}

async fn a_tick_whose_key_panics_does_not_stop_the_other_schedules(setting: Setting) {
    let held = Held::new();
    let log = Started::new();
    let ticks = log.clone();
    let worker = Defined(move |definition: &mut Definition| {
        let ticks = ticks.clone();
        definition
            .consume("a", |(): (), _| async {})
            .key(|(): &()| panic!("in the key"))
            .schedule(Schedule::every(millis(5)).unwrap());
        definition
            .consume("b", move |(): (), _| {
                ticks.push(0);
                async {}
            })
            .schedule(Schedule::every(millis(5)).unwrap());
    });
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    log.reaches(10).await;
    held.assert_full_width(&manager).await;
}

async fn a_payload_that_panics_when_it_is_dropped_costs_no_consumer(setting: Setting) {
    let held = Held::new();
    let worker = Defined(|definition: &mut Definition| {
        definition.consume_shared("touchy", |_: Arc<Touchy>, _| async {});
    });
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    for _ in 0..3 * WIDTH {
        let receipt = manager.enqueue(Task::new("touchy", Touchy(true))).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    held.assert_full_width(&manager).await;
}

/// A payload that calls the manager when it is dropped.
#[derive(Serialize, Deserialize)]
struct Calls {
    #[serde(skip)]
    cancels: Option<(Manager, TaskId)>,
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let Some((manager, id)) = self.cancels.take() {
            // A slow store may not answer here; then the request was not made, or nobody knows.
            if let Some(reply) = manager.cancel(id).now_or_never() {
                reply.unwrap();
            }
        }
    }
}

/// The engine holds no lock while it drops a payload: else this is a deadlock.
async fn a_payload_may_call_the_manager_when_it_is_dropped(setting: Setting) {
    let held = Held::new();
    let worker = Defined(|definition: &mut Definition| {
        definition.consume_shared("calls", |_: Arc<Calls>, _| async {});
    });
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    let waiting = manager.enqueue(waits.task(0)).await.unwrap();
    held.started.reaches(1).await;
    for _ in 0..3 * WIDTH {
        let payload = Calls { cancels: Some((manager.clone(), waiting.id())) };
        let receipt = manager.enqueue(Task::new("calls", payload)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    manager.cancel(waiting.id()).await.unwrap();
    assert!(matches!(waiting.wait().await, Ok(End::Cancelled(_))));
    held.assert_full_width(&manager).await;
}

async fn a_worker_that_panics_when_it_is_dropped_costs_no_consumer(setting: Setting) {
    let held = Held::new();
    let worker = Defined(|definition: &mut Definition| {
        let local = Local;
        definition.consume("touchy", move |(): (), _| {
            let _kept = &local;
            async {}
        });
    });
    let manager = held.manager(&setting).register(worker).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(Task::new("touchy", ())).await.unwrap();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    assert!(manager.unregister("touchy"));
    // The last consumer that hears of it drops the worker, ends by that, and starts again.
    held.assert_full_width(&manager).await;
}

//! The counters against the truth: a hundred thousand tasks with every kind of end, at random.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{CancelReply, Counts, EnqueueError, Error};
use conveyor_testkit::{Sim, simulate};
use conveyor_tests::consumer;
use serde::{Deserialize, Serialize};

/// What a task does at each of its attempts; the last is repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Script(Vec<Act>);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Act {
    Succeed,
    Fail,
    Fatal,
    Panic,
    /// Outlasts its timeout, and has to be dropped.
    Hang,
    Snooze,
    Cancel,
    /// Waits to be cancelled on request, and then stops.
    Obey,
}

/// What was seen to happen, by queue and kind, independently of the store's counts.
type Truth = Arc<Mutex<BTreeMap<(String, String), Counts>>>;

fn note(truth: &Truth, queue: &str, kind: &str, change: impl FnOnce(&mut Counts)) {
    change(truth.lock().unwrap().entry((queue.to_owned(), kind.to_owned())).or_default());
}

const RETRIES: u32 = 2;
const TIMEOUT: Duration = Duration::from_millis(20);

fn worker(kind: &'static str, truth: &Truth) -> impl Worker {
    let truth = Arc::clone(truth);
    consumer(
        kind,
        move |script: Script, ctx: Context| {
            let truth = Arc::clone(&truth);
            async move {
                let last = script.0.len() - 1;
                let act = script.0[(ctx.epoch() as usize - 1).min(last)];
                let final_attempt = ctx.attempt() > RETRIES;
                let queue = ctx.queue().to_string();
                let count = |change: &dyn Fn(&mut Counts)| note(&truth, &queue, kind, change);
                let failed = |counts: &mut Counts| {
                    if final_attempt { counts.failed += 1 } else { counts.retried += 1 }
                };
                match act {
                    Act::Succeed => {
                        count(&|counts| counts.processed += 1);
                        Ok(Outcome::success())
                    }
                    Act::Fail => {
                        count(&failed);
                        Err(Error::from("failed"))
                    }
                    Act::Fatal => {
                        count(&|counts| counts.failed += 1);
                        Err(Error::fatal("fatal"))
                    }
                    Act::Panic => {
                        count(&|counts| {
                            failed(counts);
                            counts.panicked += 1;
                        });
                        std::panic::panic_any("as told");
                    }
                    Act::Hang => {
                        count(&|counts| {
                            failed(counts);
                            counts.timed_out += 1;
                        });
                        std::future::pending().await
                    }
                    Act::Snooze => {
                        count(&|counts| counts.snoozed += 1);
                        Ok(Outcome::snooze(Duration::from_millis(3)))
                    }
                    Act::Cancel => {
                        count(&|counts| counts.cancelled += 1);
                        Ok(Outcome::cancel("as told"))
                    }
                    Act::Obey => {
                        ctx.cancelled().await;
                        Err(Error::from("stopped"))
                    }
                }
            }
        },
        |kind| {
            kind.retries(RETRIES)
                .timeout(TIMEOUT)
                .cancel_grace(Duration::from_millis(5))
                .backoff(Backoff::exponential(Duration::from_millis(1), Duration::from_millis(9)));
        },
    )
}

fn script(sim: &Sim) -> Script {
    let acts = [
        Act::Succeed,
        Act::Succeed,
        Act::Succeed,
        Act::Fail,
        Act::Fail,
        Act::Fatal,
        Act::Panic,
        Act::Hang,
        Act::Snooze,
        Act::Cancel,
    ];
    let length = 1 + sim.random() % 4;
    let mut acts: Vec<Act> =
        (0..length).map(|_| acts[(sim.random() % acts.len() as u64) as usize]).collect();
    // A script must come to an end by itself.
    acts.push(Act::Succeed);
    Script(acts)
}

async fn produce(sim: Sim, manager: Manager, truth: Truth, tasks: u32) {
    let queues = ["default", "mail", "bulk"];
    let kinds = ["one", "two"];
    let priorities = [Priority::LOW, Priority::NORMAL, Priority::HIGH];
    for _ in 0..tasks {
        let (queue, kind) =
            (queues[(sim.random() % 3) as usize], kinds[(sim.random() % 2) as usize]);
        let obeys = sim.random().is_multiple_of(50);
        let script = if obeys { Script(vec![Act::Obey]) } else { script(&sim) };
        let mut task =
            Task::new(kind, script).queue(queue).priority(priorities[(sim.random() % 3) as usize]);
        if sim.random().is_multiple_of(4) {
            task = task.delay(Duration::from_millis(sim.random() % 30));
        }
        // Few enough keys that many are taken.
        if !obeys && sim.random().is_multiple_of(3) {
            task = task.key(format!("key {}", sim.random() % 40));
        }
        match manager.enqueue(task).await {
            Ok(receipt) => {
                note(&truth, queue, kind, |counts| counts.enqueued += 1);
                if obeys {
                    sim.advance(Duration::from_millis(sim.random() % 15)).await;
                    cancel(&manager, &truth, queue, kind, &receipt).await;
                } else if sim.random().is_multiple_of(20) {
                    // At once: it may have started, or not.
                    let reply = manager.cancel(receipt.id()).await.unwrap();
                    if reply == CancelReply::Cancelled {
                        note(&truth, queue, kind, |counts| counts.cancelled += 1);
                    }
                }
            }
            Err(EnqueueError::Duplicate { .. }) => {
                note(&truth, queue, kind, |counts| counts.duplicates += 1);
            }
            Err(error) => panic!("{error}"),
        }
        if sim.random().is_multiple_of(8) {
            sim.advance(Duration::from_millis(1)).await;
        }
    }
}

/// Cancels a task that does nothing else than wait for that, before its timeout can run out.
async fn cancel(
    manager: &Manager,
    truth: &Truth,
    queue: &str,
    kind: &str,
    receipt: &conveyor::Receipt,
) {
    match manager.cancel(receipt.id()).await.unwrap() {
        CancelReply::Cancelled | CancelReply::Requested => {
            note(truth, queue, kind, |counts| counts.cancelled += 1);
        }
        // Its timeout was first, so the handler's error was one: it went on to its retries. The
        // delays above are shorter than that, so this cannot be.
        CancelReply::AlreadyEnded | CancelReply::Unknown => panic!("it cannot have ended"),
    }
}

#[test]
fn counters_equal_the_truth_at_rest() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut all = 0;
    for seed in 0..5 {
        all += simulate(seed, |sim| async move {
            let truth = Truth::default();
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .register(worker("one", &truth))
                .register(worker("two", &truth))
                .consumers(24)
                .consumers_for(Priority::HIGH, 4)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let producers: Vec<_> = (0..4)
                .map(|_| {
                    let produce = produce(sim.clone(), manager.clone(), truth.clone(), 5_000);
                    sim.spawn("producer", produce)
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(Duration::from_secs(60)).await;
            let metrics = manager.metrics();
            assert_eq!(metrics.live(), 0, "everything ended: {metrics:?}");
            let mut total = Counts::default();
            for ((queue, kind), expected) in truth.lock().unwrap().iter() {
                let (_, _, counted) = metrics
                    .each()
                    .find(|(q, k, _)| q.as_str() == queue && k.as_str() == kind)
                    .unwrap();
                assert_eq!(counted, expected, "{kind} tasks of {queue}, seed {seed}");
                total += expected;
            }
            assert_eq!(*metrics, total);
            let by_kind = metrics.kind("one").ended() + metrics.kind("two").ended();
            let by_queue: u64 =
                ["default", "mail", "bulk"].map(|queue| metrics.queue(queue).ended()).iter().sum();
            assert_eq!((by_kind, by_queue), (total.enqueued, total.enqueued));
            assert!(total.timed_out > 0 && total.panicked > 0 && total.duplicates > 0);
            total.enqueued + total.duplicates
        });
    }
    assert_eq!(all, 100_000);
}

/// Requests to cancel come at any moment, so what they meet is not known beforehand; the receipts
/// know how each task ended, and the handlers how often they were called.
#[test]
fn counters_equal_what_receipts_and_handlers_saw_when_cancels_come_at_any_moment() {
    std::panic::set_hook(Box::new(|_| {}));
    for seed in 0..20 {
        simulate(seed, |sim| async move {
            let calls = Arc::new(Mutex::new(0));
            let counted = Arc::clone(&calls);
            let worker = consumer(
                "one",
                move |script: Script, ctx: Context| {
                    *counted.lock().unwrap() += 1;
                    let act = script.0[(ctx.epoch() as usize - 1).min(script.0.len() - 1)];
                    async move {
                        ctx.sleep(Duration::from_millis(ctx.epoch() % 4)).await;
                        match act {
                            Act::Succeed | Act::Obey => Ok(Outcome::success()),
                            Act::Fail => Err(Error::from("failed")),
                            Act::Fatal => Err(Error::fatal("fatal")),
                            Act::Panic => std::panic::panic_any("as told"),
                            Act::Hang => std::future::pending().await,
                            Act::Snooze => Ok(Outcome::snooze(Duration::from_millis(3))),
                            Act::Cancel => Ok(Outcome::cancel("as told")),
                        }
                    }
                },
                |kind| {
                    kind.retries(RETRIES)
                        .timeout(TIMEOUT)
                        .cancel_grace(Duration::from_millis(5))
                        .backoff(Backoff::fixed(Duration::from_millis(4)));
                },
            );
            let builder = Manager::builder().runtime(sim.runtime()).register(worker);
            let manager = builder.consumers(8).build().unwrap();
            manager.start().await.unwrap();
            let mut receipts = Vec::new();
            for _ in 0..1_000 {
                let task = Task::new("one", script(&sim));
                let late = Duration::from_millis(sim.random() % 20);
                receipts.push(manager.enqueue(task.delay(late)).await.unwrap());
                let any = &receipts[(sim.random() as usize) % receipts.len()];
                if sim.random().is_multiple_of(2) {
                    manager.cancel(any.id()).await.unwrap();
                }
                sim.advance(Duration::from_micros(sim.random() % 3_000)).await;
            }
            manager.idle().await.unwrap();
            let metrics = manager.metrics();
            let mut ends = Counts::default();
            for receipt in &receipts {
                match receipt.wait().await.unwrap() {
                    End::Succeeded => ends.processed += 1,
                    End::Failed(_) => ends.failed += 1,
                    End::Cancelled(_) => ends.cancelled += 1,
                    other => panic!("{other:?}"),
                }
            }
            let counted = (metrics.processed, metrics.failed, metrics.cancelled);
            assert_eq!(counted, (ends.processed, ends.failed, ends.cancelled), "seed {seed}");
            assert_eq!((metrics.live(), metrics.ended(), metrics.returned), (0, 1_000, 0));
            // Every call ended its task or was followed by another; tasks that were cancelled
            // before their first call, or between two, had one end more than calls.
            let calls = *calls.lock().unwrap();
            let uncancelled =
                metrics.processed + metrics.failed + metrics.retried + metrics.snoozed;
            let calls_range = uncancelled..=uncancelled + metrics.cancelled;
            assert!(calls_range.contains(&calls), "{calls} calls, not in {calls_range:?}");
            assert!(metrics.cancelled > 100, "the requests met something");
        });
    }
}

//! What can be done to tasks and queues while everything runs.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    BuildError, CancelReply, Cancelled, Filter, Kind, Retention, TaskId, TaskState, WaitError,
};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);

/// Does what its payload says when it is asked to stop: `obey`, `finish`, or `ignore`.
fn worker(log: &Log<String>) -> impl Worker {
    let log = log.clone();
    consumer(
        "act",
        move |what: String, ctx: Context| {
            let log = log.clone();
            async move {
                log.push(format!("start {what}"));
                if what == "ignore" {
                    ctx.sleep(SECOND * 3600).await;
                    return Ok(());
                }
                let work = Box::pin(ctx.sleep(SECOND * 10));
                match futures::future::select(work, Box::pin(ctx.cancelled())).await {
                    futures::future::Either::Left(_) => Ok(()),
                    futures::future::Either::Right((why, _)) => {
                        assert_eq!(why, Cancelled::Requested);
                        if what == "finish" { Ok(()) } else { Err("stopped".to_owned()) }
                    }
                }
            }
        },
        |kind| _ = kind.cancel_grace(SECOND * 2).retries(5),
    )
}

fn manager(sim: &Sim, log: &Log<String>) -> Manager {
    Manager::builder().runtime(sim.runtime()).register(worker(log)).consumers(2).build().unwrap()
}

fn act(what: &str) -> Task<String> {
    Task::new("act", what.to_owned())
}

#[test]
fn a_paused_queue_starts_nothing_and_goes_on_when_resumed() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim, &log);
            manager.start().await.unwrap();
            manager.enqueue(act("running")).await.unwrap();
            sim.run_until_idle().await;
            manager.pause("default").await.unwrap();
            manager.enqueue(act("waits")).await.unwrap();
            manager.enqueue(act("late").delay(SECOND * 5)).await.unwrap();
            manager.enqueue(act("elsewhere").queue("other")).await.unwrap();
            sim.advance(SECOND * 60).await;
            assert_eq!(log.all(), ["start running", "start elsewhere"]);
            assert_eq!(manager.metrics().processed, 2, "what ran went on");
            manager.resume("default").await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(log.len(), 4, "woken at once");
        });
    });
}

#[test]
fn a_task_that_has_not_started_never_does_once_it_is_cancelled() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim, &log);
            let queued = manager.enqueue(act("queued")).await.unwrap();
            let delayed = manager.enqueue(act("delayed").delay(SECOND)).await.unwrap();
            for receipt in [&queued, &delayed] {
                assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Cancelled));
                assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::AlreadyEnded));
                let end = receipt.wait().await.unwrap();
                assert_eq!(end, End::Cancelled("cancelled on request".to_owned()));
            }
            manager.start().await.unwrap();
            sim.advance(SECOND * 60).await;
            assert!(log.is_empty());
            assert_eq!(manager.cancel(TaskId::from_u128(7)).await, Ok(CancelReply::Unknown));
        });
    });
}

#[test]
fn a_running_task_is_told_and_has_its_grace() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim, &log);
            manager.start().await.unwrap();
            let cancelled = End::Cancelled("cancelled on request".to_owned());
            // What it does, how it ends, and when.
            let cases = [
                ("obey", cancelled.clone(), Duration::ZERO),
                ("finish", End::Succeeded, Duration::ZERO),
                ("ignore", cancelled, SECOND * 2),
            ];
            for (what, end, after) in cases {
                let receipt = manager.enqueue(act(what)).await.unwrap();
                sim.advance(SECOND).await;
                let asked = sim.elapsed();
                assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Requested));
                assert_eq!(receipt.wait().await, Ok(end), "{what}");
                assert_eq!(sim.elapsed() - asked, after, "{what}");
            }
            assert_eq!(manager.metrics().retried, 0);
        });
    });
}

#[test]
fn an_end_is_told_to_everybody_until_it_is_forgotten() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .register(worker(&log))
                .retention(Retention { count: 1, age: SECOND * 3600 })
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let first = manager.enqueue(act("first")).await.unwrap();
            let ends = Log::new();
            for _ in 0..20 {
                let (receipt, ends) = (first.clone(), ends.clone());
                sim.spawn("waiter", async move { ends.push(receipt.wait().await) });
            }
            sim.advance(SECOND * 20).await;
            assert_eq!(ends.all(), vec![Ok(End::Succeeded); 20]);
            assert_eq!(manager.wait(first.id()).await, Ok(End::Succeeded));
            manager.enqueue(act("second")).await.unwrap().wait().await.unwrap();
            let forgotten = Err(WaitError::Unknown { id: first.id() });
            assert_eq!(manager.wait(first.id()).await, forgotten);
            let id = TaskId::from_u128(7);
            assert_eq!(manager.wait(id).await, Err(WaitError::Unknown { id }));
        });
    });
}

#[test]
fn even_without_retention_who_waits_is_told() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .register(worker(&log))
                .retention(Retention { count: 0, age: SECOND })
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(act("once")).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            assert!(receipt.wait().await.is_err(), "it is forgotten");
        });
    });
}

#[test]
fn idle_waits_for_everything_but_what_nobody_can_do() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim, &log);
            manager.start().await.unwrap();
            manager.idle().await.unwrap();
            assert_eq!(sim.elapsed(), Duration::ZERO);
            for what in ["a", "b", "c"] {
                manager.enqueue(act(what)).await.unwrap();
            }
            manager.enqueue(act("late").delay(SECOND * 60)).await.unwrap();
            manager.enqueue(Task::new("unknown", 7u8)).await.unwrap();
            // What does not decode is parked, which is no end.
            manager.enqueue(Task::new("act", 7u8).delay(SECOND * 65)).await.unwrap();
            manager.idle().await.unwrap();
            assert_eq!(sim.elapsed(), SECOND * 70, "when the last one ended");
            let metrics = manager.metrics();
            assert_eq!((metrics.processed, metrics.parked, metrics.live()), (4, 2, 2));
        });
    });
}

#[test]
fn a_kind_cannot_be_registered_twice_at_any_time() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager = manager(&sim, &log);
        manager.start().await.unwrap();
        let kind = Kind::from_static("act");
        assert_eq!(manager.register(worker(&log)), Err(BuildError::RepeatedKind { kind }));
        assert!(manager.unregister("act"));
        assert!(!manager.unregister("act"));
        manager.register(worker(&log)).unwrap();
    });
}

#[test]
fn tasks_are_listed_by_pages_and_filters() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager = manager(&sim, &log);
        let mut ids = Vec::new();
        for number in 0..25 {
            let task = act("listed").key(format!("key {number}"));
            ids.push(manager.enqueue(task).await.unwrap().id());
        }
        manager.enqueue(act("later").delay(SECOND)).await.unwrap();
        let mut filter = Filter { state: Some(TaskState::Queued), limit: 10, ..Filter::default() };
        let mut listed = Vec::new();
        loop {
            let page = manager.inspect(&filter).await.unwrap();
            assert!(page.tasks.len() <= 10);
            listed.extend(page.tasks.iter().map(|task| task.id));
            match page.next {
                Some(next) => filter.after = Some(next),
                None => break,
            }
        }
        assert_eq!(listed, ids);
        let by_key = Filter { key: Some("key 7".try_into().unwrap()), ..Filter::default() };
        let found = manager.inspect(&by_key).await.unwrap().tasks;
        assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[7]]);
    });
}

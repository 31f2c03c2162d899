//! Shutdown: what finishes, what is handed back and at what cost, and that nothing leaks.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

mod any_moment;
mod dropped;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    Cancelled, EnqueueError, ManagerBuilder, MemoryStore, StartError, Store, TaskState, WaitError,
};
use conveyor_core::runtime::StopSignal;
use conveyor_core::store::Budgets;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::slow_store::SlowStore;
use conveyor_tests::{Log, consumer};
use futures::FutureExt;

const SECOND: Duration = Duration::from_secs(1);

/// Works for that many seconds, and stops in good order when it is asked to.
fn works(log: &Log<String>) -> impl Worker {
    let log = log.clone();
    consumer(
        "works",
        move |seconds: u64, ctx: Context| {
            let log = log.clone();
            async move {
                log.push(format!("start {seconds} attempt {}", ctx.attempt()));
                let mut work = Box::pin(ctx.sleep(SECOND * seconds as u32));
                let mut stop = Box::pin(ctx.cancelled());
                match futures::future::select(&mut work, &mut stop).await {
                    futures::future::Either::Left(_) => {
                        log.push(format!("end {seconds}"));
                        Ok(())
                    }
                    futures::future::Either::Right((why, _)) => {
                        log.push(format!("stop {seconds}"));
                        Err(format!("{why:?}"))
                    }
                }
            }
        },
        |_| {},
    )
}

/// Works for that many seconds, whatever it is told.
fn deaf() -> impl Worker {
    consumer(
        "deaf",
        |seconds: u64, ctx: Context| async move {
            ctx.sleep(SECOND * seconds as u32).await;
        },
        |_| {},
    )
}

fn builder(sim: &Sim, log: &Log<String>) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).register(works(log)).register(deaf()).consumers(4)
}

#[test]
fn what_is_done_within_the_grace_finishes() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).build().unwrap();
            manager.start().await.unwrap();
            let receipts =
                manager.enqueue_all([1, 2, 3].map(|n| Task::new("works", n as u64))).await;
            sim.run_until_idle().await;
            let report = manager.shutdown(SECOND * 10).await.unwrap();
            assert_eq!((report.finished, report.returned, report.abandoned), (3, 0, 0));
            assert_eq!(sim.elapsed(), SECOND * 3, "as long as it took, and no longer");
            for receipt in receipts {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
        });
    });
}

#[test]
fn what_is_not_done_is_handed_back_at_no_cost() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let first = builder(&sim, &log).store(store.clone()).build().unwrap();
            first.start().await.unwrap();
            for task in [Task::new("works", 60u64), Task::new("deaf", 60u64)] {
                first.enqueue(task).await.unwrap();
            }
            // More than there are consumers for, a delayed one, and one that was not started yet.
            for _ in 0..4 {
                first.enqueue(Task::new("works", 50u64)).await.unwrap();
            }
            let delayed = Task::new("works", 1u64).delay(SECOND * 3600);
            first.enqueue(delayed).await.unwrap();
            sim.advance(SECOND).await;
            let before = sim.elapsed();
            let report = first.shutdown(SECOND * 5).await.unwrap();
            let took = sim.elapsed() - before;
            assert!(took >= SECOND * 5, "handlers have all of the grace");
            assert!(took <= SECOND * 5 + Duration::from_millis(250), "took {took:?}");
            assert_eq!((report.finished, report.returned, report.abandoned), (0, 4, 0));
            let metrics = first.metrics();
            assert_eq!((metrics.queued, metrics.scheduled, metrics.active), (6, 1, 0));
            assert_eq!(metrics.retried, 0);

            let second = builder(&sim, &log).store(store).build().unwrap();
            second.start().await.unwrap();
            sim.advance(SECOND * 2 * 3600).await;
            let metrics = second.metrics();
            assert_eq!((metrics.processed, metrics.failed, metrics.live()), (7, 0, 0));
            let attempts = log.all();
            assert!(attempts.iter().all(|line| !line.ends_with("attempt 2")), "{attempts:?}");
            second.shutdown(SECOND).await.unwrap();
        });
    });
}

#[test]
fn a_handler_is_told_at_the_deadline_and_may_still_succeed() {
    simulate(1, |sim| async move {
        let worker = consumer(
            "saves",
            |(): (), ctx: Context| async move {
                assert_eq!(ctx.cancelled().await, Cancelled::Shutdown);
                ctx.sleep(Duration::from_millis(50)).await;
            },
            |_| {},
        );
        let manager = Manager::builder().runtime(sim.runtime()).register(worker).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("saves", ())).await.unwrap();
        sim.run_until_idle().await;
        let report = manager.shutdown(SECOND).await.unwrap();
        assert_eq!((report.finished, report.returned), (1, 0));
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    });
}

#[test]
fn a_grace_of_zero_stops_at_once() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).build().unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("deaf", 60u64)).await.unwrap();
            sim.run_until_idle().await;
            let report = manager.shutdown(Duration::ZERO).await.unwrap();
            assert_eq!((report.finished, report.returned), (0, 1));
            assert!(sim.elapsed() <= Duration::from_millis(250));
        });
    });
}

#[test]
fn a_second_call_is_harmless_and_gets_the_same_report() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).build().unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("works", 2u64)).await.unwrap();
            sim.run_until_idle().await;
            let (one, two) = futures::future::join(
                manager.shutdown(SECOND * 5),
                manager.shutdown(Duration::ZERO),
            )
            .await;
            assert_eq!(one.unwrap().finished, 1);
            assert_eq!(one, two);
            assert_eq!(manager.shutdown(SECOND).await, one);
        });
    });
}

#[test]
fn it_goes_on_if_the_caller_loses_patience() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).build().unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("works", 3u64)).await.unwrap();
            sim.run_until_idle().await;
            let first = Box::pin(manager.shutdown(SECOND * 10));
            futures::future::select(first, Box::pin(sim.advance(SECOND))).await;
            assert_eq!(manager.shutdown(Duration::ZERO).await.unwrap().finished, 1);
        });
    });
}

#[test]
fn after_it_nothing_is_accepted_or_started() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager = builder(&sim, &log).build().unwrap();
        manager.start().await.unwrap();
        manager.shutdown(SECOND).await.unwrap();
        let task = || Task::new("works", 1u64);
        assert_eq!(manager.enqueue(task()).await.unwrap_err(), EnqueueError::Stopped);
        assert_eq!(manager.try_enqueue(task()).await.unwrap_err(), EnqueueError::Stopped);
        let all = manager.enqueue_all([task(), task()]).await;
        assert!(all.iter().all(|answer| matches!(answer, Err(EnqueueError::Stopped))));
        assert_eq!(manager.start().await, Err(StartError::Stopped));
        assert!(log.is_empty());
    });
}

#[test]
fn a_manager_that_was_never_started_can_be_shut_down() {
    simulate(1, |sim| async move {
        let log = Log::new();
        let manager = builder(&sim, &log).build().unwrap();
        manager.enqueue(Task::new("works", 1u64)).await.unwrap();
        let report = manager.shutdown(SECOND).await.unwrap();
        assert_eq!((report.finished, report.returned, report.abandoned), (0, 0, 0));
        assert_eq!(manager.metrics().queued, 1, "the task stays in the store");
    });
}

#[test]
fn who_waits_is_told_the_end_or_that_there_is_none() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).build().unwrap();
            manager.start().await.unwrap();
            let done = manager.enqueue(Task::new("works", 1u64)).await.unwrap();
            let live = manager.enqueue(Task::new("works", 60u64)).await.unwrap();
            let waits = live.clone();
            let waiting = Log::new();
            let told = waiting.clone();
            sim.spawn("waiter", async move { told.push(waits.wait().await) });
            sim.advance(SECOND * 2).await;
            manager.shutdown(SECOND).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(done.wait().await, Ok(End::Succeeded));
            assert_eq!(waiting.all(), [Err(WaitError::Stopped { id: live.id() })]);
        });
    });
}

#[test]
fn run_ends_by_a_signal_or_another_shutdown() {
    for signal in [Some(StopSignal::Terminate), Some(StopSignal::Interrupt), None] {
        simulate(1, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).shutdown_grace(SECOND * 5).build().unwrap();
            let (handle, reports) = (manager.clone(), Log::new());
            let told = reports.clone();
            sim.spawn("main", async move { told.push(handle.run().await) });
            sim.run_until_idle().await;
            manager.enqueue(Task::new("works", 3u64)).await.unwrap();
            sim.advance(SECOND).await;
            match signal {
                Some(signal) => sim.send_stop(signal),
                None => drop(manager.shutdown(SECOND * 5).await),
            }
            sim.advance(SECOND * 10).await;
            let reports = reports.all();
            assert_eq!(reports.len(), 1);
            assert_eq!(reports[0].as_ref().unwrap().finished, 1, "{signal:?}");
        });
    }
}

#[test]
fn what_waits_is_not_started_any_more() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = builder(&sim, &log).consumers(2).build().unwrap();
            manager.start().await.unwrap();
            let answers =
                manager.enqueue_all([2, 3, 4, 5].map(|n| Task::new("works", n as u64))).await;
            assert!(answers.iter().all(Result::is_ok));
            sim.run_until_idle().await;
            let report = manager.shutdown(SECOND * 3600).await.unwrap();
            assert_eq!((report.finished, report.returned), (2, 0));
            assert_eq!(sim.elapsed(), SECOND * 3, "for what ran, not for what waits");
            assert_eq!(log.len(), 4, "two starts and two ends: {:?}", log.all());
            assert_eq!(manager.metrics().queued, 2);
        });
    });
}

/// Nor is what was claimed together with the task that stops its own manager.
#[test]
fn what_was_claimed_and_has_not_started_is_handed_back_at_no_cost() {
    simulate(7, |sim| async move {
        let started = Log::new();
        let manager = Manager::builder().runtime(sim.runtime()).consumers(1).build().unwrap();
        let handler = {
            let (started, manager) = (started.clone(), manager.clone());
            move |number: u64, _: Context| {
                started.push(number);
                if number == 9 {
                    let shutdown = manager.shutdown(SECOND * 60).now_or_never();
                    assert_eq!(shutdown, None, "it goes on by itself");
                }
                async {}
            }
        };
        manager.register(consumer("work", handler, |_| {})).unwrap();
        // The consumer claims 1, 2, 4 and 8 at once.
        manager.enqueue_all((0..20u64).map(|number| Task::new("work", number))).await;
        manager.start().await.unwrap();
        sim.run_until_idle().await;
        manager.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(sim.elapsed(), Duration::ZERO);
        assert_eq!(started.all(), (0..=9).collect::<Vec<_>>());
        assert_eq!((manager.metrics().processed, manager.metrics().queued), (10, 10));
        for task in manager.inspect().state(TaskState::Queued).all().await.unwrap() {
            assert_eq!((task.budgets, task.suspect), (Budgets::default(), false));
        }
    });
}

/// Nor is what a claim brings that was under way.
#[test]
fn what_is_claimed_meanwhile_does_not_start() {
    for_seeds(0..200, |seed| {
        simulate(seed, |sim| async move {
            let (started, stops) = (Log::new(), Arc::new(AtomicBool::new(false)));
            let handler = {
                let (started, stops) = (started.clone(), Arc::clone(&stops));
                move |number: u64, _: Context| {
                    assert!(!stops.load(Ordering::Relaxed), "{number} starts");
                    started.push(number);
                    async {}
                }
            };
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(Arc::new(SlowStore::new(store.clone(), sim.runtime())))
                .consumers(2)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.enqueue_all((0..9u64).map(|number| Task::new("work", number))).await;
            manager.start().await.unwrap();
            for _ in 0..sim.random() % 20 {
                smol::future::yield_now().await;
            }
            let shutdown = manager.shutdown(SECOND * 60).now_or_never();
            stops.store(true, Ordering::Relaxed);
            assert_eq!(shutdown, None);
            let report = manager.shutdown(Duration::ZERO).await.unwrap();
            assert_eq!(
                (report.finished, sim.elapsed()),
                (0, Duration::ZERO),
                "nobody is in its way"
            );
            let counts = store.counters().await.unwrap().total();
            let ended = started.len() as u64;
            assert_eq!((counts.processed, counts.queued, counts.active), (ended, 9 - ended, 0));
        });
    });
}

#[test]
fn after_a_shutdown_before_the_start_there_is_no_start() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let first = builder(&sim, &log).store(store.clone()).build().unwrap();
            let receipt = first.enqueue(Task::new("works", 1u64)).await.unwrap();
            let (report, started) =
                futures::future::join(first.shutdown(SECOND), first.start()).await;
            assert_eq!((report.unwrap().finished, started), (0, Err(StartError::Stopped)));
            sim.advance(SECOND * 60).await;
            assert!(log.is_empty());
            assert_eq!(receipt.wait().await, Err(WaitError::Stopped { id: receipt.id() }));
            drop((first, receipt));
            sim.run_until_idle().await;
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0));

            let second = builder(&sim, &log).store(store).build().unwrap();
            second.start().await.unwrap();
            second.idle().await.unwrap();
            assert_eq!(second.metrics().processed, 1);
        });
    });
}

/// A start and a shutdown at once: whichever is first, nothing is left running.
#[test]
fn a_start_that_meets_a_shutdown_leaves_nothing_running() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let manager = builder(&sim, &Log::new()).build().unwrap();
            manager.enqueue(Task::new("works", 1u64)).await.unwrap();
            let (starts, stops) = (manager.clone(), manager.clone());
            let starts = sim.spawn("starts", async move { drop(starts.start().await) });
            let stops = sim.spawn("stops", async move {
                stops.shutdown(SECOND * 9).await.unwrap();
            });
            starts.await.unwrap();
            stops.await.unwrap();
            sim.run_until_idle().await;
            let metrics = manager.metrics();
            assert_eq!((metrics.active, metrics.queued + metrics.processed), (0, 1));
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
        });
    });
}

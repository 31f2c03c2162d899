//! `manager.explain` says why a task has not run yet, or how it came to run more than once.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    ExplainError, Incarnation, Kind, ManagerBuilder, MemoryStore, QueueName, Reason, Store, TaskId,
    Timestamp,
};
use conveyor_core::store::{ClaimRequest, Demand, KindRoom, RescueRequest};
use conveyor_testkit::{Sim, simulate};
use conveyor_tests::consumer;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(15);

/// A process that dies.
const DEAD: Incarnation = Incarnation::new(0xdead);

fn shared(sim: &Sim) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(sim.clock()).shared_by_managers())
}

fn manager(sim: &Sim, store: &Arc<MemoryStore>) -> ManagerBuilder {
    Manager::builder()
        .runtime(sim.runtime())
        .store(store.clone())
        .lease(LEASE)
        .consumers(1)
        .register(consumer("work", works, |kind| _ = kind.retries(30).backoff(backoff())))
}

fn backoff() -> conveyor::Backoff {
    conveyor::Backoff::fixed(SECOND)
}

/// Takes a minute, unless it fails at once: as often as the payload says.
async fn works(failures: u32, ctx: Context) -> Result<(), String> {
    if ctx.attempt() <= failures {
        return Err(format!("no luck {}", ctx.attempt()));
    }
    ctx.sleep(SECOND * 60).await;
    Ok(())
}

fn work() -> Task<u32> {
    Task::new("work", 0)
}

/// What is said of a task, with the names that chance gave it replaced.
async fn said(manager: &Manager, id: TaskId) -> String {
    let explanation = manager.explain(id).await.unwrap();
    let text = explanation.to_string().replace(&id.to_string(), "ID");
    text.replace(&explanation.by.to_string(), "ME").replace(&DEAD.to_string(), "DEAD")
}

fn at(sim: &Sim, after: Duration) -> Timestamp {
    sim.runtime().wall() + after
}

#[test]
fn a_task_that_waits_for_its_time_says_until_when() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, &shared(&sim)).build().unwrap();
        let due = at(&sim, SECOND * 90);
        let task = work().delay(SECOND * 90).priority(Priority::HIGH).queue("mail");
        let id = manager.enqueue(task).await.unwrap().id();
        sim.advance(SECOND * 30).await;
        let text = said(&manager, id).await;
        assert_eq!(
            text,
            format!(
                "work task ID (queue mail, priority high) is scheduled:\n  \
                 it is scheduled until {due}, in 60s"
            )
        );
        // Due, though nobody has promoted it: then it waits for something else.
        sim.advance(SECOND * 60).await;
        let reasons = manager.explain(id).await.unwrap().reasons;
        assert_eq!(reasons, [Reason::NotStarted]);
    });
}

#[test]
fn all_that_keeps_a_claimable_task_from_running_is_said() {
    simulate(1, |sim| async move {
        let store = shared(&sim);
        let other = manager(&sim, &store).build().unwrap();
        let id = other.enqueue(Task::new("play", ()).queue("mail")).await.unwrap().id();
        other.pause("mail").await.unwrap();
        let manager = manager(&sim, &store).build().unwrap();
        assert_eq!(
            said(&manager, id).await,
            "play task ID (queue mail, priority normal) is queued:\n  \
             this manager is not started; call `start` or `run`\n  \
             its queue mail is paused; `resume` it\n  \
             no worker for the kind play is registered here\n  \
             no consumer here takes tasks from the queue mail"
        );
        manager.shutdown(Duration::ZERO).await.unwrap();
        other.resume("mail").await.unwrap();
        let text = said(&manager, id).await;
        assert!(
            text.contains("\n  this manager was shut down, and claims nothing more\n"),
            "{text}"
        );
        assert!(!text.contains("paused"), "{text}");
    });
}

#[test]
fn how_many_tasks_come_before_it_is_said() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, &shared(&sim)).build().unwrap();
        manager.start().await.unwrap();
        let running = manager.enqueue(work()).await.unwrap().id();
        sim.run_until_idle().await;
        let low = manager.enqueue(work().priority(Priority::LOW)).await.unwrap().id();
        let behind = async || said(&manager, low).await.split_once("\n  ").unwrap().1.to_owned();
        let next = "nothing comes before it: it is the next that a free consumer takes";
        assert_eq!(behind().await, next);
        manager.enqueue(work().priority(Priority::LOW)).await.unwrap();
        manager.enqueue(work().queue("elsewhere")).await.unwrap();
        manager.enqueue(Task::new("unknown", ())).await.unwrap();
        assert_eq!(behind().await, next, "later, elsewhere, of no worker here");
        manager.enqueue(work()).await.unwrap();
        assert_eq!(behind().await, "1 task of its queue comes before it, more urgent or older");
        for _ in 0..2 {
            manager.enqueue(work().priority(Priority::HIGH)).await.unwrap();
        }
        assert_eq!(behind().await, "3 tasks of its queue come before it, more urgent or older");
        assert_eq!(
            said(&manager, running).await,
            "work task ID (queue default, priority normal) is active:\n  \
             it is held by ME (this process), by claim 1"
        );
        for receipt in manager.enqueue_all((0..10_000).map(|_| work())).await {
            receipt.unwrap();
        }
        let text = behind().await;
        assert!(text.starts_with("at least 9"), "{text}");
        assert!(
            text.ends_with(" tasks of its queue come before it, more urgent or older"),
            "{text}"
        );
    });
}

#[test]
fn each_attempt_of_a_task_that_ran_more_than_once_is_said() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, &shared(&sim)).build().unwrap();
        manager.start().await.unwrap();
        let start = at(&sim, Duration::ZERO);
        let receipt = manager.enqueue(Task::new("work", 1_u32)).await.unwrap();
        sim.advance(SECOND / 2).await;
        let due = start + SECOND;
        let once = format!(
            "work task ID (queue default, priority normal) is scheduled:\n  \
             it is scheduled until {due}, in 500ms\n  \
             it ran before:\n    \
             claim 1, by ME (this process), until {start}: it failed: no luck 1"
        );
        assert_eq!(said(&manager, receipt.id()).await, once);
        receipt.wait().await.unwrap();
        let succeeded = format!(
            "work task ID (queue default, priority normal) is ended:\n  \
             it succeeded; held by ME (this process), by claim 2\n  \
             it ran before:\n    \
             claim 1, by ME (this process), until {start}: it failed: no luck 1"
        );
        assert_eq!(said(&manager, receipt.id()).await, succeeded);

        let often = manager.enqueue(Task::new("work", 20_u32)).await.unwrap();
        sim.advance(SECOND * 30).await;
        let text = said(&manager, often.id()).await;
        assert!(text.contains("by claim 21\n  it ran before, the last 16 times:\n    claim 5, by"));
        assert_eq!(text.lines().count(), 3 + 16, "{text}");
    });
}

/// Claims like a process that dies then, until that is found out.
async fn die_with(sim: &Sim, store: &Arc<MemoryStore>, room: usize, alone: bool, token: u64) {
    let rescue =
        RescueRequest { by: Incarnation::new(1), lease: LEASE, crash_budget: 2, limit: 100 };
    store.rescue(rescue).await.unwrap();
    sim.advance(LEASE / 2).await;
    store.rescue(rescue).await.unwrap();
    let kinds = [KindRoom { kind: Kind::from_static("work"), room }];
    let queues = [QueueName::DEFAULT];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room };
    let request = ClaimRequest { by: DEAD, token, lease: LEASE, demand, alone };
    assert_eq!(store.claim(request).await.unwrap().tasks.len(), room);
    for _ in 0..4 {
        sim.advance(LEASE / 2).await;
        store.rescue(rescue).await.unwrap();
    }
}

#[test]
fn what_became_of_a_task_with_its_processes_is_said() {
    simulate(1, |sim| async move {
        let store = shared(&sim);
        let manager = manager(&sim, &store).build().unwrap();
        let id = manager.enqueue(work()).await.unwrap().id();
        manager.enqueue(work()).await.unwrap();
        die_with(&sim, &store, 2, false, 1).await;
        let text = said(&manager, id).await;
        let alone = "\n  it was there when a process died, so it is claimed only alone: by a \
                     process that holds nothing else\n  it ran before:\n    claim 1, by DEAD, until ";
        assert!(text.contains(alone), "{text}");
        let together = ": it lost its process, which died while it held other tasks too";
        assert!(text.ends_with(together), "{text}");

        die_with(&sim, &store, 1, true, 2).await;
        let text = said(&manager, id).await;
        assert!(
            text.contains("\n  it ran before, 2 times:\n    claim 1, by DEAD, until "),
            "{text}"
        );
        let charged = ": it lost its process, which died while it held this task alone";
        assert!(text.ends_with(charged), "{text}");

        die_with(&sim, &store, 1, true, 3).await;
        let text = said(&manager, id).await;
        let crashed = " is ended:\n  its process died, alone with it, as often as the crash budget \
                       allows; held by DEAD, by claim 3\n";
        assert!(text.contains(crashed), "{text}");
    });
}

#[test]
fn a_parked_a_cancelled_and_a_failed_task_say_why() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, &shared(&sim)).build().unwrap();
        let cancelled = manager.enqueue(work()).await.unwrap().id();
        manager.cancel(cancelled).await.unwrap();
        assert_eq!(
            said(&manager, cancelled).await,
            "work task ID (queue default, priority normal) is ended:\n  \
             it was cancelled: cancelled on request; nobody held it"
        );
        manager.start().await.unwrap();
        let parked = manager.enqueue(Task::new("work", "a text".to_owned())).await.unwrap().id();
        let failed = manager.enqueue(Task::new("work", 1_u32).retries(0)).await.unwrap();
        failed.wait().await.unwrap();
        let text = said(&manager, parked).await;
        let why = " is parked:\n  it waits for a process that can decode its payload: cannot decode \
                   the payload as u32";
        assert!(text.contains(why), "{text}");
        assert!(text.contains(": it could not decode its payload: cannot decode"), "{text}");
        let text = said(&manager, failed.id()).await;
        let why = "\n  it failed for good: no luck 1; held by ME (this process), by claim 1";
        assert!(text.ends_with(why), "{text}");
    });
}

#[test]
fn a_task_that_is_not_known_is_told_so() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, &shared(&sim)).build().unwrap();
        manager.enqueue(work()).await.unwrap();
        for id in [TaskId::from_u128(0), TaskId::from_u128(u128::MAX)] {
            let error = manager.explain(id).await.unwrap_err();
            assert_eq!(error, ExplainError::Unknown { id });
            assert_eq!(
                error.to_string(),
                format!(
                    "task {id} is not known: it never was in this store, or its end is forgotten \
                     (see `retention`)"
                )
            );
        }
    });
}

//! At most one live task for each kind and key, from its acceptance to its end.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{EnqueueError, Error, TaskId};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::consumer;

const SECOND: Duration = Duration::from_secs(1);

/// A manager whose worker does what the payload says, for a second each attempt.
fn manager(sim: &Sim) -> Manager {
    let worker = consumer(
        "act",
        |what: String, ctx: Context| async move {
            ctx.sleep(SECOND).await;
            match what.as_str() {
                "fail" => Err(Error::from("no")),
                "fatal" => Err(Error::fatal("never")),
                "panic" => panic!("as told"),
                "cancel" => Ok(Outcome::cancel("as told")),
                "retry" if ctx.attempt() == 1 => Err(Error::from("again")),
                "snooze" if ctx.epoch() == 1 => Ok(Outcome::snooze(SECOND)),
                _ => Ok(Outcome::success()),
            }
        },
        |kind| _ = kind.retries(1).backoff(Backoff::fixed(SECOND)),
    );
    let other =
        consumer("other", |_: String, ctx: Context| async move { ctx.sleep(SECOND).await }, |_| {});
    Manager::builder().runtime(sim.runtime()).register(worker).register(other).build().unwrap()
}

fn act(what: &str) -> Task<String> {
    Task::new("act", what.to_owned()).key("k")
}

async fn is_held_by(manager: &Manager, holder: TaskId) -> bool {
    match manager.enqueue(act("")).await {
        Err(EnqueueError::Duplicate { id, kind, key }) => {
            assert_eq!((id, kind.as_str(), key.as_str()), (Some(holder), "act", "k"));
            true
        }
        Ok(_) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_key_is_held_through_the_whole_life_and_free_at_every_end() {
    for what in ["succeed", "fail", "fatal", "panic", "cancel", "retry", "snooze"] {
        for_seeds(0..20, |seed| {
            simulate(seed, |sim| async move {
                let manager = manager(&sim);
                manager.start().await.unwrap();
                let receipt = manager.enqueue(act(what).delay(SECOND)).await.unwrap();
                let waiting = receipt.clone();
                let ended =
                    sim.spawn("waiter", async move { waiting.wait().await.map(drop).unwrap() });
                let mut ended = Box::pin(ended);
                // Asked all the time: while it is delayed, runs, backs off, is snoozed, runs again.
                loop {
                    let tick = Box::pin(sim.advance(Duration::from_millis(100)));
                    match futures::future::select(&mut ended, tick).await {
                        futures::future::Either::Left(_) => break,
                        futures::future::Either::Right(_) => {
                            let live = manager.metrics().kind("act").live() > 0;
                            if live {
                                assert!(is_held_by(&manager, receipt.id()).await, "{what}");
                            }
                        }
                    }
                }
                // Whoever saw the end can enqueue at once.
                assert!(!is_held_by(&manager, receipt.id()).await, "{what} freed its key");
                manager.shutdown(SECOND * 5).await.unwrap();
            });
        });
    }
}

#[test]
fn a_request_to_cancel_frees_the_key_of_a_task_that_waits() {
    simulate(1, |sim| async move {
        let manager = manager(&sim);
        manager.start().await.unwrap();
        let delayed = manager.enqueue(act("").delay(SECOND * 60)).await.unwrap();
        assert!(is_held_by(&manager, delayed.id()).await);
        manager.cancel(delayed.id()).await.unwrap();
        assert!(!is_held_by(&manager, delayed.id()).await);
    });
}

#[test]
fn keys_are_of_a_kind_and_tasks_without_one_are_never_duplicates() {
    simulate(1, |sim| async move {
        let manager = manager(&sim);
        manager.enqueue(act("")).await.unwrap();
        manager.enqueue(Task::new("other", String::new()).key("k")).await.unwrap();
        for _ in 0..3 {
            manager.enqueue(Task::new("act", String::new())).await.unwrap();
        }
        assert!(manager.enqueue(act("")).await.is_err());
        assert_eq!(manager.metrics().kind("act").duplicates, 1);
        assert_eq!(manager.metrics().kind("other").duplicates, 0);
    });
}

#[test]
fn a_worker_may_derive_the_key_and_the_task_may_override_it() {
    simulate(1, |sim| async move {
        let worker = consumer(
            "mail",
            |_: String, _: Context| async {},
            |kind| {
                kind.key(|to: &String| format!("to:{to}"));
            },
        );
        let manager = Manager::builder().runtime(sim.runtime()).register(worker).build().unwrap();
        let mail = || Task::new("mail", "ada".to_owned());
        manager.enqueue(mail()).await.unwrap();
        let error = manager.enqueue(mail()).await.unwrap_err();
        assert!(error.to_string().contains("\"to:ada\""), "{error}");
        manager.enqueue(mail().key("another")).await.unwrap();
    });
}

#[test]
fn in_one_batch_the_first_of_a_key_is_accepted() {
    simulate(1, |sim| async move {
        let manager = manager(&sim);
        let answers = manager.enqueue_all([act("a"), act("b"), act("c").key("other")]).await;
        let accepted: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(accepted, [true, false, true]);
    });
}

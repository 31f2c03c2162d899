//! What an operator has to know is told to the log, and nothing else is.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::Arc;
use std::time::Duration;

use conveyor::{Context, Error, Manager, MemoryStore, Task};
use conveyor_testkit::simulate;
use conveyor_tests::{Keeper, Log, consumer};

fn told(payload: impl conveyor::Payload, retries: u32) -> Vec<String> {
    let log = Log::new();
    tracing::subscriber::with_default(Keeper(log.clone()), || {
        simulate(7, |sim| async move {
            let handler = async |how: u32, _: Context| match how {
                0 => Ok(()),
                1 => Err(Error::from("no luck")),
                _ => panic!("no way"),
            };
            let handler = move |how, ctx| Box::pin(handler(how, ctx));
            let backoff = conveyor::Backoff::fixed(Duration::from_secs(2));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .consumers(1)
                .backoff(backoff)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("work", payload).retries(retries)).await.unwrap();
            sim.advance(Duration::from_secs(10)).await;
        });
    });
    log.all()
}

#[test]
fn a_task_that_succeeds_is_nothing_to_tell_of() {
    assert!(told(0_u32, 1).is_empty());
}

#[test]
fn each_error_is_told_and_whether_it_was_the_last() {
    let retried =
        "WARN the task will be retried: kind=work attempt=1 panicked=false delay=2s error=no luck";
    let failed = "ERROR the task failed: kind=work attempt=2 panicked=false error=no luck";
    assert_eq!(told(1_u32, 1), [retried, failed]);
}

#[test]
fn a_panic_is_told_as_one() {
    let failed = "ERROR the task failed: kind=work attempt=1 panicked=true error=panicked: no way";
    assert_eq!(told(2_u32, 0), [failed]);
}

#[test]
fn what_does_not_decode_is_told_with_the_reason() {
    let told = told("zero".to_owned(), 1);
    let [parked] = told.as_slice() else { panic!("{told:?}") };
    let reason = "ERROR the task was parked: kind=work reason=cannot decode the payload as u32";
    assert!(parked.starts_with(reason), "{parked}");
}

#[test]
fn an_attempt_that_ends_after_its_lease_was_lost_is_told_of() {
    const LEASE: Duration = Duration::from_secs(10);
    let log = Log::new();
    tracing::subscriber::with_default(Keeper(log.clone()), || {
        simulate(7, |sim| async move {
            let store = Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
            let sleeps = |(): (), ctx: Context| async move { ctx.sleep(LEASE / 2).await };
            let build = |runtime| {
                let worker = consumer("work", sleeps, |_| {});
                Manager::builder()
                    .runtime(runtime)
                    .store(store.clone())
                    .lease(LEASE)
                    .register(worker)
                    .build()
                    .unwrap()
            };
            let stopped = sim.process("stopped");
            let (first, other) = (build(stopped.runtime()), build(sim.runtime()));
            first.start().await.unwrap();
            let receipt = first.enqueue(Task::new("work", ())).await.unwrap();
            sim.advance(LEASE / 10).await;
            stopped.pause();
            other.start().await.unwrap();
            assert!(other.wait(receipt.id()).await.is_ok());
            stopped.resume();
            sim.advance(LEASE).await;
        });
    });
    let told = log.all();
    let late = "WARN attempts ended after their lease was lost: fenced=1";
    assert_eq!(told.iter().filter(|line| *line == late).count(), 1, "{told:?}");
}

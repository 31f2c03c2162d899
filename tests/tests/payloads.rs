//! Payloads: what a handler gets is what was enqueued, or the task waits for somebody who can.

use std::sync::Arc;
use std::time::Duration;

use conveyor::{
    CancelReply, Context, Definition, End, EnqueueError, Filter, Kind, Manager, MemoryStore, Task,
    TaskState,
};
use conveyor_testkit::{for_seeds, simulate};
use conveyor_tests::slow_store::SlowStore;
use conveyor_tests::{Defined, Log, consumer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Email {
    to: String,
    copies: u32,
}

/// The same shape by another name, as another service would have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Message {
    to: String,
    copies: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct NotClone(u32);

fn manager(sim: &conveyor_testkit::Sim) -> conveyor::ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(2)
}

fn email() -> Email {
    Email { to: "ada".to_owned(), copies: 3 }
}

#[test]
fn what_does_not_decode_is_parked_with_the_reason_at_no_cost() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handled = log.clone();
            let handler = move |email: Email, _: Context| {
                handled.push(email);
                async {}
            };
            let manager =
                manager(&sim).register(consumer("mail", handler, |_| {})).build().unwrap();
            manager.start().await.unwrap();
            let bad = manager.enqueue(Task::new("mail", "ada".to_owned()).key("k")).await.unwrap();
            let good = manager.enqueue(Task::new("mail", email())).await.unwrap();
            assert_eq!(good.wait().await, Ok(End::Succeeded), "it holds up no other");
            sim.advance(Duration::from_secs(3_600)).await;

            let filter = Filter { state: Some(TaskState::Parked), ..Filter::default() };
            let page = manager.inspect().matching(filter.clone()).page().await.unwrap();
            assert_eq!(page.tasks.len(), 1);
            let parked = &page.tasks[0];
            assert_eq!(parked.id, bad.id());
            let note = parked.note.as_deref().unwrap();
            let type_name = std::any::type_name::<Email>();
            let reason = format!("cannot decode the payload as {type_name} from json: ");
            assert!(note.starts_with(&reason), "{note}");
            assert!(note.contains("expected struct Email"), "{note}");
            assert_eq!((parked.budgets.errors, parked.epoch), (0, 1), "it is not tried again");
            let metrics = manager.metrics();
            assert_eq!((metrics.parked, metrics.failed, metrics.retried), (1, 0, 0));
            assert_eq!(log.all(), [email()]);

            assert!(manager.enqueue(Task::new("mail", email()).key("k")).await.is_err());
            assert_eq!(manager.cancel(bad.id()).await, Ok(CancelReply::Cancelled));
            manager.enqueue(Task::new("mail", email()).key("k")).await.unwrap();
        });
    });
}

#[test]
fn another_type_of_the_same_shape_goes_through_the_codec() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handled = log.clone();
        let handler = move |email: Email, _: Context| {
            handled.push(email);
            async {}
        };
        let manager = manager(&sim).register(consumer("mail", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let message = Message { to: "ada".to_owned(), copies: 3 };
        let receipt = manager.enqueue(Task::new("mail", message)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        let too_many = Message { to: "ada".to_owned(), copies: u64::MAX };
        manager.enqueue(Task::new("mail", too_many)).await.unwrap();
        sim.run_until_idle().await;
        assert_eq!(log.all(), [email()]);
        assert_eq!(manager.metrics().parked, 1, "a value that does not fit is no Email");
    });
}

#[test]
fn a_payload_that_is_not_clone_is_shared_by_all_its_attempts() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handled = log.clone();
        let worker = Defined(move |definition: &mut Definition| {
            let handled = handled.clone();
            definition
                .consume_shared("work", move |payload: Arc<NotClone>, ctx: Context| {
                    handled.push((payload.0, std::ptr::from_ref(&*payload) as usize));
                    async move { if ctx.attempt() < 3 { Err("no") } else { Ok(()) } }
                })
                .backoff(conveyor::Backoff::none());
        });
        let manager = manager(&sim).register(worker).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", NotClone(7))).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        let seen = log.all();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|&one| one == seen[0] && one.0 == 7), "never copied: {seen:?}");
    });
}

#[test]
fn a_kind_without_a_worker_waits_for_one() {
    simulate(7, |sim| async move {
        let manager = manager(&sim).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("mail", email())).await.unwrap();
        sim.advance(Duration::from_secs(3_600)).await;
        assert_eq!((manager.metrics().parked, manager.metrics().queued), (1, 0));
        let handler = |_: Email, ctx: Context| async move { assert_eq!(ctx.attempt(), 1) };
        manager.register(consumer("mail", handler, |_| {})).unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        assert_eq!(manager.metrics().parked, 0);
    });
}

#[test]
fn a_payload_has_as_many_bytes_as_the_store_takes_and_no_more() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handled = log.clone();
        let handler = move |text: String, _: Context| {
            handled.push(text.len());
            async {}
        };
        let store = SlowStore::new(Arc::new(MemoryStore::new(sim.clock())), sim.runtime());
        let manager = manager(&sim)
            .store(Arc::new(store.with_max_payload(12)))
            .register(consumer("mail", handler, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        // JSON adds two quotes.
        for (len, taken) in [(0, true), (10, true), (11, false), (99, false)] {
            let answer = manager.enqueue(Task::new("mail", "x".repeat(len))).await;
            let expected =
                EnqueueError::TooLarge { kind: Kind::from_static("mail"), len: len + 2, limit: 12 };
            assert_eq!(answer.map(drop), if taken { Ok(()) } else { Err(expected) });
        }
        manager.idle().await.unwrap();
        let mut lengths = log.all();
        lengths.sort_unstable();
        assert_eq!(lengths, [0, 10]);
    });
}

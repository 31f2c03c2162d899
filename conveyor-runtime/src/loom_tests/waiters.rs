//! Waits for the ends of tasks: an end is told, or found, whatever comes first.

use std::future::poll_fn;
use std::pin::pin;

use conveyor_core::{Receipt, Retention, WaitError};

use super::*;

/// An engine whose store keeps so many ends, with a task in it.
fn keeping(count: usize) -> (Model, Receipt) {
    let retention = Retention { count, ..Retention::default() };
    let model = Model::with(1, |store| store.with_retention(retention), |_| {});
    let receipt = block_on(model.engine.enqueue(work())).unwrap();
    (model, receipt)
}

#[test]
fn an_end_that_comes_while_its_waiter_lies_down_is_told() {
    check_within(2, || {
        let (model, receipt) = keeping(1);
        let id = receipt.id();
        let waits = [receipt.clone(), receipt].map(|receipt| {
            spawn(async move { assert!(matches!(receipt.wait().await, Ok(End::Cancelled(_)))) })
        });
        block_on(model.store().cancel(&[id])).unwrap();
        join(waits);
        assert!(!model.engine.signals.waiters.are_there());
    });
}

#[test]
fn an_end_that_is_forgotten_at_once_is_told_to_who_saw_the_task_live() {
    check(|| {
        let (model, receipt) = keeping(0);
        let id = receipt.id();
        let waits = spawn(async move {
            let mut wait = pin!(receipt.wait());
            let lies_down = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_pending())).await;
            if lies_down {
                assert!(matches!(wait.await, Ok(End::Cancelled(_))));
            }
        });
        block_on(model.store().cancel(&[id])).unwrap();
        waits.join().unwrap();
    });
}

#[test]
fn a_wait_ends_with_the_manager() {
    check(|| {
        let (model, receipt) = keeping(1);
        let id = receipt.id();
        let wait = spawn(async move { receipt.wait().await });
        model.engine.phases.advance(Phase::Stopped);
        model.engine.signals.waiters.tell_all();
        assert_eq!(wait.join().unwrap(), Err(WaitError::Stopped { id }));
    });
}

#[test]
fn who_waits_for_all_tasks_hears_of_the_last_end() {
    check(|| {
        let (model, receipt) = keeping(1);
        let engine = Arc::clone(&model.engine);
        let wait = spawn(async move { engine.idle().await.unwrap() });
        block_on(model.store().cancel(&[receipt.id()])).unwrap();
        wait.join().unwrap();
        assert!(!model.engine.signals.waiters.are_there());
    });
}

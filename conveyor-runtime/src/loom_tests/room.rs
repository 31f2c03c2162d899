//! Room in a bounded store: whoever waits for it gets what comes free.

use conveyor_core::TaskId;

use super::*;

/// A full store, and the task in it.
fn full() -> (Model, TaskId) {
    let model = Model::bounded(1, 1);
    let receipt = block_on(model.engine.enqueue(work())).unwrap();
    (model, receipt.id())
}

/// Enqueues a task, waiting for room, and makes room again.
fn enqueue_and_cancel(model: &Model) -> thread::JoinHandle<()> {
    let engine = Arc::clone(&model.engine);
    spawn(async move {
        let receipt = engine.enqueue(work()).await.unwrap();
        engine.door.store().cancel(&[receipt.id()]).await.unwrap();
    })
}

#[test]
fn room_that_comes_while_an_enqueue_lies_down_is_taken() {
    check(|| {
        let (model, first) = full();
        let producer = enqueue_and_cancel(&model);
        block_on(model.store().cancel(&[first])).unwrap();
        producer.join().unwrap();
        assert!(model.engine.signals.line.is_empty());
    });
}

#[test]
fn room_goes_on_to_the_next_in_the_line() {
    check_within(2, || {
        let (model, first) = full();
        let producers = [enqueue_and_cancel(&model), enqueue_and_cancel(&model)];
        block_on(model.store().cancel(&[first])).unwrap();
        join(producers);
        assert!(model.engine.signals.line.is_empty());
    });
}

#[test]
fn who_was_faster_leaves_its_room_to_the_line() {
    check_within(2, || {
        let (model, first) = full();
        let producer = enqueue_and_cancel(&model);
        let engine = Arc::clone(&model.engine);
        let faster = spawn(async move {
            if let Ok(receipt) = engine.try_enqueue(work()).await {
                engine.door.store().cancel(&[receipt.id()]).await.unwrap();
            }
        });
        block_on(model.store().cancel(&[first])).unwrap();
        producer.join().unwrap();
        faster.join().unwrap();
    });
}

#[test]
fn a_batch_that_did_not_fit_waits_its_turn() {
    check_within(2, || {
        let (model, first) = full();
        let one = enqueue_and_cancel(&model);
        let engine = Arc::clone(&model.engine);
        let batch = spawn(async move {
            let receipts = engine.enqueue_all(vec![work()]).await;
            let id = receipts[0].as_ref().unwrap().id();
            engine.door.store().cancel(&[id]).await.unwrap();
        });
        block_on(model.store().cancel(&[first])).unwrap();
        one.join().unwrap();
        batch.join().unwrap();
    });
}

//! The shutdown beside what goes on: consumers that look or lie down, claims, attempts, enqueues, a
//! start.

use std::time::Duration;

use conveyor_core::EnqueueError;

use super::*;
use crate::manager::StartError;

#[test]
fn a_consumer_that_looks_or_lies_down_hears_of_the_stop() {
    check(|| {
        let model = Model::new(2);
        let consumers = [model.consume(0), model.consume(1)];
        model.stop();
        join(consumers);
        assert_eq!(model.pool.idle.len(), 0);
    });
}

#[test]
fn a_task_that_is_claimed_beside_the_stop_is_run_or_handed_back() {
    check(|| {
        let model = Model::new(1);
        block_on(model.engine.enqueue(work())).unwrap();
        let consumer = model.consume(0);
        model.stop();
        consumer.join().unwrap();
        let counts = model.counts();
        assert_eq!((counts.queued + counts.processed, counts.active), (1, 0));
        assert_eq!(model.engine.held.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_task_that_is_enqueued_beside_the_stop_is_in_the_store_if_accepted() {
    check(|| {
        let model = Model::new(1);
        let consumer = model.consume(0);
        let engine = Arc::clone(&model.engine);
        let producer = spawn(async move { engine.enqueue(work()).await.is_ok() });
        model.stop();
        consumer.join().unwrap();
        let accepted = producer.join().unwrap();
        let counts = model.counts();
        assert_eq!(counts.queued + counts.processed, u64::from(accepted));
    });
}

#[test]
fn who_waits_for_room_hears_of_the_stop() {
    check_within(2, || {
        let model = Model::bounded(1, 1);
        block_on(model.engine.enqueue(work())).unwrap();
        let producers = [0, 1].map(|_| {
            let engine = Arc::clone(&model.engine);
            spawn(async move { engine.enqueue(work()).await.map(|_| ()) })
        });
        model.stop();
        for producer in producers {
            assert_eq!(producer.join().unwrap(), Err(EnqueueError::Stopped));
        }
        assert!(model.engine.signals.line.is_empty());
    });
}

#[test]
fn an_attempt_that_starts_beside_the_deadline_is_asked_to_stop() {
    check(|| {
        let model = Model::with(1, |store| store, wait_for_the_stop);
        block_on(model.engine.enqueue(work())).unwrap();
        let consumer = model.spawn_consumer(0);
        model.engine.phases.advance(Phase::Draining);
        // It waits for as long as the attempt takes: no timer is ever over.
        let report = block_on(model.engine.shut_down(vec![consumer], vec![], Duration::ZERO));
        let counts = model.counts();
        assert_eq!((counts.queued + counts.processed, counts.active), (1, 0));
        assert_eq!((report.finished, report.abandoned), (counts.processed, 0));
        model.runtime.join();
    });
}

#[test]
fn a_start_beside_a_shutdown_leaves_no_consumer_behind() {
    check_within(2, || {
        let model = Model::new(1);
        let manager = Manager::new(Arc::clone(&model.engine));
        let starts = manager.clone();
        let start = spawn(async move { starts.start().await });
        block_on(manager.shutdown(Duration::from_secs(1))).unwrap();
        // What a shutdown leaves behind would run on, and find this.
        assert_eq!(model.engine.phases.now(), Phase::Stopped);
        assert_eq!(model.pool.idle.len(), 0);
        assert!(matches!(start.join().unwrap(), Ok(()) | Err(StartError::Stopped)));
        model.runtime.join();
    });
}

#[test]
fn whoever_shuts_down_is_told_when_it_is_over() {
    check_within(2, || {
        let model = Model::new(1);
        let manager = Manager::new(Arc::clone(&model.engine));
        let another = manager.clone();
        let other = spawn(async move { another.shutdown(Duration::ZERO).await.unwrap() });
        let report = block_on(manager.shutdown(Duration::ZERO)).unwrap();
        assert_eq!(report, other.join().unwrap());
        model.runtime.join();
    });
}

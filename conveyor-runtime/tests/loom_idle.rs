//! The wake-up path in every interleaving of its steps: nobody waits for what is there.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(unreachable_pub, dead_code, reason = "the modules are the crate's own, seen from here")]

#[path = "../src/idle.rs"]
mod idle;
#[path = "../src/sync.rs"]
mod sync;

use conveyor_core::Priority;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use self::idle::IdleList;
use self::sync::{Mutex, lock};

/// A pool's idle list, and a store that holds nothing but a number of claimable tasks.
struct Model {
    idle: IdleList,
    store: Mutex<usize>,
    stop: AtomicBool,
}

impl Model {
    fn new(consumers: usize) -> Arc<Self> {
        Arc::new(Model {
            idle: IdleList::new(consumers),
            store: Mutex::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// As the store does: first the task, then the wake-up.
    fn enqueue(&self) {
        *lock(&self.store) += 1;
        self.idle.wake(Priority::NORMAL, 1);
    }

    fn claim(&self) -> bool {
        let mut store = lock(&self.store);
        let found = *store > 0;
        *store -= usize::from(found);
        found
    }

    /// As a consumer does: looks, enters the list, looks again, waits. `false` if it was stopped.
    fn consume_one(&self, consumer: usize) -> bool {
        loop {
            if self.claim() {
                return true;
            }
            self.idle.enter(consumer, Priority::MIN);
            let found = self.claim();
            if found || self.stop.load(Ordering::SeqCst) {
                if self.idle.leave(consumer) {
                    // The wake-up may have been for what is still there.
                    self.idle.wake(Priority::NORMAL, 1);
                }
                return found;
            }
            loom::future::block_on(self.idle.wait(consumer));
        }
    }
}

#[test]
fn a_consumer_never_sleeps_on_a_task() {
    loom::model(|| {
        let model = Model::new(1);
        let producer = thread::spawn({
            let model = Arc::clone(&model);
            move || model.enqueue()
        });
        assert!(model.consume_one(0));
        producer.join().unwrap();
        assert_eq!(*lock(&model.store), 0);
    });
}

#[test]
fn two_tasks_find_two_consumers() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let model = Model::new(2);
        let other = thread::spawn({
            let model = Arc::clone(&model);
            move || assert!(model.consume_one(1))
        });
        let producer = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                model.enqueue();
                model.enqueue();
            }
        });
        assert!(model.consume_one(0));
        producer.join().unwrap();
        other.join().unwrap();
        assert_eq!(*lock(&model.store), 0);
    });
}

#[test]
fn a_stop_reaches_who_waits_and_who_is_about_to() {
    loom::model(|| {
        let model = Model::new(1);
        let stopper = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                model.stop.store(true, Ordering::SeqCst);
                model.idle.wake_all();
            }
        });
        // Returns, since it is stopped.
        assert!(!model.consume_one(0));
        stopper.join().unwrap();
    });
}

#[test]
fn a_task_and_a_stop_at_once_leave_nobody_behind() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let model = Model::new(1);
        let producer = thread::spawn({
            let model = Arc::clone(&model);
            move || model.enqueue()
        });
        let stopper = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                model.stop.store(true, Ordering::SeqCst);
                model.idle.wake_all();
            }
        });
        model.consume_one(0);
        producer.join().unwrap();
        stopper.join().unwrap();
        assert_eq!(model.idle.len(), 0, "nobody is on the list who is not there");
    });
}

#[test]
fn who_leaves_while_it_is_woken_passes_the_wake_up_on() {
    loom::model(|| {
        let model = Model::new(2);
        // The first has looked in vain and waits; the second is about to leave with what it found.
        model.idle.enter(0, Priority::MIN);
        model.idle.enter(1, Priority::MIN);
        let producer = thread::spawn({
            let model = Arc::clone(&model);
            move || model.enqueue()
        });
        let leaver = thread::spawn({
            let model = Arc::clone(&model);
            move || {
                if model.idle.leave(1) {
                    model.idle.wake(Priority::NORMAL, 1);
                }
            }
        });
        loom::future::block_on(model.idle.wait(0));
        assert!(model.claim());
        producer.join().unwrap();
        leaver.join().unwrap();
        assert!(!model.idle.leave(1), "no wake-up is left to who is gone");
    });
}

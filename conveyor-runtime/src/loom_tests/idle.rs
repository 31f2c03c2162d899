//! The idle list by itself, with a count for a store: smaller than [`super::wake_up`], so that more
//! consumers and producers fit.

use conveyor_core::Priority;

use super::*;
use crate::idle::IdleList;
use crate::sync::AtomicBool;

/// An idle list, with a number of claimable tasks for a store and a mark for the stop.
struct Model {
    idle: IdleList,
    claimable: Mutex<usize>,
    stopped: AtomicBool,
}

impl Model {
    fn new(consumers: usize) -> Arc<Self> {
        Arc::new(Model {
            idle: IdleList::new(consumers),
            claimable: Mutex::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// As the store does: first the tasks, then the wake-up.
    fn enqueue(&self, count: usize) {
        *lock(&self.claimable) += count;
        self.idle.wake(Priority::NORMAL, count);
    }

    fn claim(&self) -> bool {
        let mut claimable = lock(&self.claimable);
        let found = *claimable > 0;
        *claimable -= usize::from(found);
        found
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.idle.wake_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// As a consumer does, until it has a task, which it then works on for ever: whatever else
    /// there is must be another's. `false` if it was stopped.
    async fn consume(&self, consumer: usize) -> bool {
        while !self.is_stopped() {
            if self.claim() {
                return true;
            }
            if self.enter_and_look(consumer).await {
                return true;
            }
        }
        false
    }

    /// Whether it found a task; if not, it was woken or stopped.
    async fn enter_and_look(&self, consumer: usize) -> bool {
        self.idle.enter(consumer, Priority::MIN);
        let found = self.claim();
        if !found && !self.is_stopped() {
            self.idle.wait(consumer).await;
        } else if self.idle.leave(consumer) {
            // The wake-up may have been for what is still there.
            self.idle.wake(Priority::MIN, 1);
        }
        found
    }
}

fn consume(model: &Arc<Model>, consumer: usize, tasks: usize) -> thread::JoinHandle<bool> {
    let model = Arc::clone(model);
    spawn(async move {
        for _ in 0..tasks {
            if !model.consume(consumer).await {
                return false;
            }
        }
        true
    })
}

fn enqueue(model: &Arc<Model>, count: usize) -> thread::JoinHandle<()> {
    let model = Arc::clone(model);
    thread::spawn(move || model.enqueue(count))
}

#[test]
fn a_task_reaches_an_idle_consumer() {
    check(|| {
        let model = Model::new(1);
        let consumer = consume(&model, 0, 1);
        model.enqueue(1);
        assert!(consumer.join().unwrap());
        assert_eq!(model.idle.len(), 0);
    });
}

#[test]
fn a_consumer_waits_again_and_is_told_again() {
    check(|| {
        let model = Model::new(1);
        let consumer = consume(&model, 0, 2);
        model.enqueue(1);
        model.enqueue(1);
        assert!(consumer.join().unwrap());
    });
}

#[test]
fn two_tasks_reach_two_consumers() {
    check(|| {
        let model = Model::new(2);
        let consumers = [consume(&model, 0, 1), consume(&model, 1, 1)];
        model.enqueue(1);
        model.enqueue(1);
        assert_eq!(join(consumers), [true, true]);
        assert_eq!(model.idle.len(), 0);
    });
}

#[test]
fn a_batch_reaches_two_consumers() {
    check(|| {
        let model = Model::new(2);
        let consumers = [consume(&model, 0, 1), consume(&model, 1, 1)];
        model.enqueue(2);
        assert_eq!(join(consumers), [true, true]);
    });
}

#[test]
fn two_producers_wake_for_a_task_each() {
    check(|| {
        let model = Model::new(1);
        let consumer = consume(&model, 0, 2);
        let producer = enqueue(&model, 1);
        model.enqueue(1);
        assert!(consumer.join().unwrap());
        producer.join().unwrap();
    });
}

#[test]
fn a_wake_up_goes_on_from_who_found_a_task_by_itself() {
    check(|| {
        let model = Model::new(2);
        // Nobody was idle when the first task came; then one was, but will not get it.
        model.enqueue(1);
        model.idle.enter(1, Priority::MIN);
        let finds = {
            let model = Arc::clone(&model);
            spawn(async move { model.enter_and_look(0).await })
        };
        let waits = {
            let model = Arc::clone(&model);
            spawn(async move {
                model.idle.wait(1).await;
                model.consume(1).await
            })
        };
        model.enqueue(1);
        assert!(finds.join().unwrap() && waits.join().unwrap());
    });
}

#[test]
fn a_wake_up_goes_on_from_who_leaves_for_something_else() {
    check(|| {
        let model = Model::new(2);
        model.idle.enter(0, Priority::MIN);
        model.idle.enter(1, Priority::MIN);
        let producer = enqueue(&model, 1);
        let leaver = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                if model.idle.leave(1) {
                    model.idle.wake(Priority::MIN, 1);
                }
            })
        };
        block_on(model.idle.wait(0));
        assert!(model.claim());
        producer.join().unwrap();
        leaver.join().unwrap();
        assert!(!model.idle.leave(1), "no wake-up is left to who is gone");
    });
}

#[test]
fn no_consumer_sleeps_through_the_stop() {
    check(|| {
        let model = Model::new(2);
        let consumers = [consume(&model, 0, 1), consume(&model, 1, 1)];
        model.stop();
        assert_eq!(join(consumers), [false, false]);
        assert_eq!(model.idle.len(), 0);
    });
}

#[test]
fn a_task_and_a_stop_at_once_leave_nobody_on_the_list() {
    check(|| {
        let model = Model::new(1);
        let producer = enqueue(&model, 1);
        let consumer = consume(&model, 0, 1);
        model.stop();
        producer.join().unwrap();
        consumer.join().unwrap();
        assert_eq!(model.idle.len(), 0, "nobody is on the list who is not there");
    });
}

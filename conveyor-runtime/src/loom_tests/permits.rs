//! Permits: who goes without one because of another's look is woken when that look was in vain, and
//! two who find nothing do not wake each other for ever.
//!
//! The permits, signals and idle list are the engine's; the consumers go about them as
//! `Consumer::claim_or_wait` and `Wants::claim` do, with a count for a store. Whole consumers have
//! too many interleavings.

use conveyor_core::Priority;
use conveyor_core::store::Wake;

use super::*;
use crate::permits::{Look, Permits};
use crate::sync::AtomicBool;

struct Limited {
    permits: Permits,
    signals: Signals,
    pool: Arc<Pool>,
    claimable: Mutex<usize>,
    stopped: AtomicBool,
}

impl Limited {
    fn new() -> Arc<Self> {
        let pool = Arc::new(Pool::new(0, BTreeSet::from([QueueName::DEFAULT]), 2, &[]));
        let signals = Signals::default();
        signals.count_news();
        signals.set_pools(vec![Arc::clone(&pool)]);
        Arc::new(Limited {
            permits: Permits::new(1),
            signals,
            pool,
            claimable: Mutex::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    fn enqueue(&self, count: usize) {
        *lock(&self.claimable) += count;
        let (queue, priority) = (&QueueName::DEFAULT, Priority::NORMAL);
        self.signals.wake(Wake::Claimable { queue, priority, count });
    }

    /// Whether it has a task, and the permit for it.
    fn claim(&self) -> bool {
        let look = Look { sort: self.pool.sort(Priority::MIN), news: self.signals.news() };
        if !self.permits.try_take(look) {
            return false;
        }
        let found = {
            let mut claimable = lock(&self.claimable);
            let found = *claimable > 0;
            *claimable -= usize::from(found);
            found
        };
        if !found {
            self.permits.give_back_unused(Some(look), &self.signals);
        }
        found
    }

    async fn claim_or_wait(&self, consumer: usize) -> bool {
        if self.claim() {
            return true;
        }
        self.pool.idle.enter(consumer, Priority::MIN);
        let found = self.claim();
        if !found && !self.stopped.load(Ordering::SeqCst) {
            self.pool.idle.wait(consumer).await;
        } else if self.pool.idle.leave(consumer) {
            self.pool.look();
        }
        found
    }

    /// Runs one task, unless it is stopped before, and stops all.
    async fn consume_one(&self, consumer: usize) {
        while !self.stopped.load(Ordering::SeqCst) {
            if self.claim_or_wait(consumer).await {
                self.permits.give_back_used(&self.signals);
                self.stop();
            }
        }
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.signals.wake_all();
    }

    fn claimable(&self) -> usize {
        *lock(&self.claimable)
    }
}

fn consume_one(limited: &Arc<Limited>, consumer: usize) -> thread::JoinHandle<()> {
    let limited = Arc::clone(limited);
    spawn(async move { limited.consume_one(consumer).await })
}

#[test]
fn a_task_is_run_though_another_had_the_permit_when_it_came() {
    check(|| {
        let limited = Limited::new();
        let consumer = consume_one(&limited, 0);
        let another = {
            let limited = Arc::clone(&limited);
            thread::spawn(move || {
                if limited.claim() {
                    limited.permits.give_back_used(&limited.signals);
                    limited.stop();
                }
            })
        };
        limited.enqueue(1);
        consumer.join().unwrap();
        another.join().unwrap();
        assert_eq!(limited.claimable(), 0);
    });
}

#[test]
fn the_permit_of_an_attempt_goes_on_to_who_waits() {
    check_within(2, || {
        let limited = Limited::new();
        limited.enqueue(2);
        assert!(limited.claim());
        let consumers = [consume_one(&limited, 0), consume_one(&limited, 1)];
        limited.permits.give_back_used(&limited.signals);
        join(consumers);
        assert_eq!(limited.claimable(), 0);
    });
}

#[test]
fn two_who_find_nothing_do_not_wake_each_other_for_ever() {
    check_within(2, || {
        let limited = Limited::new();
        let consumers = [consume_one(&limited, 0), consume_one(&limited, 1)];
        limited.stop();
        join(consumers);
    });
}

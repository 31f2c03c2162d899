//! The wake-up path: consumers that found nothing, and how they are told that there is something.
//!
//! Waking is edge-triggered: telling of a new task costs one load of a counter unless a consumer
//! is idle. No wake-up is lost by the order of things:
//!
//! - a consumer *enters* the list, then looks into the store once more, then waits;
//! - whoever makes a task claimable does so in the store first, and reads the counter then.
//!
//! So either the consumer's last look comes after the task was made claimable, and finds it; or it
//! comes before, and then the counter was raised before it is read.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use conveyor_core::Priority;

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

/// The idle consumers of a pool.
pub(crate) struct IdleList {
    count: AtomicUsize,
    waiting: Mutex<Vec<Waiting>>,
    parked: Box<[Mutex<Parked>]>,
}

#[derive(Clone, Copy)]
struct Waiting {
    consumer: usize,
    min: Priority,
}

#[derive(Default)]
struct Parked {
    notified: bool,
    waker: Option<Waker>,
}

impl IdleList {
    pub(crate) fn new(consumers: usize) -> Self {
        IdleList {
            count: AtomicUsize::new(0),
            waiting: Mutex::new(Vec::with_capacity(consumers)),
            parked: (0..consumers).map(|_| Mutex::new(Parked::default())).collect(),
        }
    }

    /// How many consumers are idle.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Puts a consumer that takes tasks from `min` up on the list.
    pub(crate) fn enter(&self, consumer: usize, min: Priority) {
        let mut waiting = lock(&self.waiting);
        waiting.push(Waiting { consumer, min });
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes a consumer off the list, since it found something by itself; `true` if it had been
    /// notified meanwhile, and that wake-up was another's due.
    pub(crate) fn leave(&self, consumer: usize) -> bool {
        let mut waiting = lock(&self.waiting);
        if let Some(at) = waiting.iter().position(|waiting| waiting.consumer == consumer) {
            waiting.remove(at);
            self.count.store(waiting.len(), Ordering::SeqCst);
        }
        // Under the lock of the list: whoever took it off has said so by now.
        std::mem::take(&mut lock(&self.parked[consumer]).notified)
    }

    /// Waits until the consumer is notified, which takes it off the list. After this returned, or
    /// its future was dropped, the consumer must enter again to wait again.
    pub(crate) async fn wait(&self, consumer: usize) {
        poll_fn(|cx| {
            let mut parked = lock(&self.parked[consumer]);
            if std::mem::take(&mut parked.notified) {
                parked.waker = None;
                return Poll::Ready(());
            }
            if !parked.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                parked.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Notifies up to `count` consumers that take tasks of that priority: first those that are
    /// reserved for the most urgent ones, so that the others stay free for everything.
    pub(crate) fn wake(&self, priority: Priority, count: usize) {
        for _ in 0..count {
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            let waker = {
                let mut waiting = lock(&self.waiting);
                let best = waiting
                    .iter()
                    .enumerate()
                    .filter(|(_, waiting)| waiting.min <= priority)
                    .max_by_key(|(at, waiting)| (waiting.min, *at))
                    .map(|(at, _)| at);
                let Some(best) = best else { return };
                let woken = waiting.swap_remove(best);
                self.count.store(waiting.len(), Ordering::SeqCst);
                self.notify(woken.consumer)
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Notifies every idle consumer.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> = {
            let mut waiting = lock(&self.waiting);
            self.count.store(0, Ordering::SeqCst);
            waiting.drain(..).filter_map(|waiting| self.notify(waiting.consumer)).collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// Notes that a consumer is notified. To be called in one step with taking it off the list, or
    /// it could leave in between and nobody would pass its wake-up on. The waker is called when the
    /// list is free again.
    fn notify(&self, consumer: usize) -> Option<Waker> {
        let mut parked = lock(&self.parked[consumer]);
        parked.notified = true;
        parked.waker.take()
    }
}

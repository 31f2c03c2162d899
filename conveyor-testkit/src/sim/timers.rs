//! Timers, in the order in which they come due.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use conveyor_core::time::Instant;

use super::executor::{Executor, lock};

/// What names a timer: when it comes due, then which was set first.
pub(super) type TimerKey = (Instant, u64);

/// A timer that is set.
pub(super) struct Timer {
    waker: Waker,
    /// The process whose task waits for it.
    process: u64,
}

/// The timers that are set. A timer is there from the first poll of its [`Sleep`] until it comes
/// due or the `Sleep` is dropped.
#[derive(Default)]
pub(super) struct Timers {
    set: BTreeMap<TimerKey, Timer>,
    next: u64,
}

impl Timers {
    fn insert(&mut self, deadline: Instant, waker: Waker, process: u64) -> TimerKey {
        let key = (deadline, self.next);
        self.next += 1;
        self.set.insert(key, Timer { waker, process });
        key
    }

    /// Has the timer wake another; gives back the old waker, to be dropped outside of the lock.
    fn replace(&mut self, key: TimerKey, waker: &Waker) -> Option<Waker> {
        let held = &mut self.set.get_mut(&key)?.waker;
        (!held.will_wake(waker)).then(|| std::mem::replace(held, waker.clone()))
    }

    fn remove(&mut self, key: TimerKey) -> Option<Timer> {
        self.set.remove(&key)
    }

    /// When the first timer comes due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.set.first_key_value().map(|(&(deadline, _), _)| deadline)
    }

    /// Takes every timer that is due at `now`, in order.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<Waker>) {
        while let Some(first) = self.set.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove().waker);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    /// Takes back the timers that a process's tasks wait for.
    pub(super) fn take_of(&mut self, process: u64) -> BTreeMap<TimerKey, Timer> {
        let theirs = |timer: &Timer| timer.process == process;
        let (taken, kept) = self.take_all().into_iter().partition(|(_, timer)| theirs(timer));
        self.set = kept;
        taken
    }

    pub(super) fn take_all(&mut self) -> BTreeMap<TimerKey, Timer> {
        std::mem::take(&mut self.set)
    }
}

/// A future that is ready at its deadline.
pub(super) struct Sleep {
    executor: Arc<Executor>,
    deadline: Instant,
    timer: Option<TimerKey>,
}

impl Sleep {
    pub(super) fn new(executor: Arc<Executor>, deadline: Instant) -> Self {
        Sleep { executor, deadline, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.executor.clock.now() >= self.deadline {
            // The clock moves only together with `take_due`, so the timer is gone already.
            self.timer = None;
            return Poll::Ready(());
        }
        if self.deadline == Instant::FAR_FUTURE {
            // It never comes: a timer would only have the clock jump to the end of time instead
            // of telling a deadlock.
            return Poll::Pending;
        }
        match self.timer {
            None => {
                let waker = cx.waker().clone();
                let process = self.executor.running();
                let key = lock(&self.executor.timers).insert(self.deadline, waker, process);
                self.timer = Some(key);
            }
            Some(key) => {
                let replaced = lock(&self.executor.timers).replace(key, cx.waker());
                drop(replaced);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let removed = lock(&self.executor.timers).remove(key);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_due_timers_are_taken() {
        let mut timers = Timers::default();
        for nanos in [30, 10, 20, 10] {
            timers.insert(Instant::from_nanos(nanos), Waker::noop().clone(), nanos / 20);
        }
        let mut due = Vec::new();
        timers.take_due(Instant::from_nanos(9), &mut due);
        assert_eq!(due.len(), 0);
        timers.take_due(Instant::from_nanos(20), &mut due);
        assert_eq!(due.len(), 3);
        assert_eq!(timers.next_deadline(), Some(Instant::from_nanos(30)));
    }

    #[test]
    fn a_process_s_timers_are_taken_back_and_no_others() {
        let mut timers = Timers::default();
        for (nanos, process) in [(30, 1), (10, 2), (20, 1)] {
            timers.insert(Instant::from_nanos(nanos), Waker::noop().clone(), process);
        }
        assert_eq!(timers.take_of(1).len(), 2);
        assert_eq!(timers.take_of(1).len(), 0);
        assert_eq!(timers.next_deadline(), Some(Instant::from_nanos(10)));
    }
}

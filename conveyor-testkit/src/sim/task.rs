//! One simulated task: its future, its waker, and how it ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use conveyor_core::runtime::{BoxFuture, JoinError, Joinable};
use conveyor_core::time::Instant;
use conveyor_core::worker::catch_panic;

use super::executor::{Executor, lock};
use super::process::Owner;

/// A task. It is its own waker, so that polling and waking allocate nothing.
pub(super) struct Task {
    /// Counted from the first spawn; 0 is the root.
    pub(super) id: u64,
    pub(super) name: &'static str,
    /// Its place among the live tasks.
    pub(super) slot: usize,
    pub(super) owner: Arc<Owner>,
    executor: Arc<Executor>,
    /// Whether it is among the ready tasks, or will never be again.
    queued: AtomicBool,
    aborted: AtomicBool,
    /// Polled and dropped by the executor alone, so this lock is never waited for.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    join: Mutex<Join>,
    polls: AtomicU64,
    last_poll: AtomicU64,
}

#[derive(Default)]
struct Join {
    end: Option<Result<(), JoinError>>,
    waiting: Option<Waker>,
}

impl Task {
    pub(super) const ROOT: u64 = 0;

    pub(super) fn new(
        id: u64,
        name: &'static str,
        slot: usize,
        executor: Arc<Executor>,
        owner: Arc<Owner>,
        future: Option<BoxFuture<'static, ()>>,
    ) -> Self {
        let now = executor.clock.now().as_nanos();
        Task {
            id,
            name,
            slot,
            owner,
            executor,
            queued: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            future: Mutex::new(future),
            join: Mutex::default(),
            polls: AtomicU64::new(0),
            last_poll: AtomicU64::new(now),
        }
    }

    /// Notes that the task is about to run. From here on a wake-up makes it ready again.
    pub(super) fn begin_step(&self, now: Instant) {
        self.queued.store(false, Ordering::Release);
        // The executor alone writes these, so no wake-up is lost by reading and then writing.
        let polls = self.polls.load(Ordering::Relaxed);
        self.polls.store(polls + 1, Ordering::Relaxed);
        self.last_poll.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Runs the task until it waits, or drops it if it was aborted; how it ended, if it did.
    pub(super) fn step(self: &Arc<Self>) -> Option<Result<(), JoinError>> {
        let mut slot = lock(&self.future);
        let Some(future) = slot.as_mut() else {
            // It has ended already, and was woken in its last step.
            self.queued.store(true, Ordering::Release);
            return None;
        };
        let end = if self.aborted.load(Ordering::Acquire) {
            Err(JoinError::Aborted)
        } else {
            let waker = Waker::from(Arc::clone(self));
            let mut cx = Context::from_waker(&waker);
            match catch_panic(|| future.as_mut().poll(&mut cx)) {
                Ok(_) if self.owner.has_crashed() => Err(JoinError::Aborted),
                Ok(Poll::Pending) => return None,
                Ok(Poll::Ready(())) => Ok(()),
                Err(text) => Err(JoinError::Panicked(text)),
            }
        };
        let done = slot.take();
        drop(slot);
        if self.owner.has_crashed() {
            // It took its own process down in this step.
            std::mem::forget(done);
            return Some(end);
        }
        Some(drop_future(done, end))
    }

    /// Drops the future, at the end of the simulation; how the task ended.
    pub(super) fn end_now(&self) -> Result<(), JoinError> {
        self.queued.store(true, Ordering::Release);
        let future = lock(&self.future).take();
        drop_future(future, Err(JoinError::Aborted))
    }

    /// Has the task be gone as `kill -9` has it: nothing of it runs any more, not even its drop.
    /// `false` if it runs at this moment: then [`step`](Task::step) sees to it.
    pub(super) fn vanish(&self) -> bool {
        self.queued.store(true, Ordering::Release);
        let Ok(mut future) = self.future.try_lock() else { return false };
        std::mem::forget(future.take());
        true
    }

    /// Tells whoever joins it how it ended.
    pub(super) fn finish(&self, end: Result<(), JoinError>) {
        self.queued.store(true, Ordering::Release);
        let waiting = {
            let mut join = lock(&self.join);
            join.end = Some(end);
            join.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    pub(super) fn last_poll(&self) -> Instant {
        Instant::from_nanos(self.last_poll.load(Ordering::Relaxed))
    }
}

/// Drops what is left of a task. The first panic is the one that is told.
fn drop_future(
    future: Option<BoxFuture<'static, ()>>,
    end: Result<(), JoinError>,
) -> Result<(), JoinError> {
    match catch_panic(|| drop(future)) {
        Err(text) if !matches!(end, Err(JoinError::Panicked(_))) => Err(JoinError::Panicked(text)),
        _ => end,
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.executor.make_ready(Arc::clone(self));
        }
    }
}

/// The handle of a spawned task.
pub(super) struct Joined(pub(super) Arc<Task>);

impl Joinable for Joined {
    fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        self.0.wake_by_ref();
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        let waker = cx.waker().clone();
        let mut join = lock(&self.0.join);
        if let Some(end) = &join.end {
            return Poll::Ready(end.clone());
        }
        let replaced = join.waiting.replace(waker);
        drop(join);
        drop(replaced);
        Poll::Pending
    }
}

//! Shutdown: claims stop, attempts finish or are asked to stop, and the rest is handed back.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use conveyor_core::context::Cancelled;
use conveyor_core::runtime::{JoinError, JoinHandle};
use conveyor_core::store::Verdict;
use futures::future::{Either, select};

use crate::engine::Engine;
use crate::phase::Phase;
use crate::sync::lock;
use crate::verdict::settle_unstarted;

/// What a shutdown may take after its deadline: for handlers to return, for those that do not to
/// be dropped, and in all, with what the store is told of them.
const FOR_RETURNS: Duration = Duration::from_millis(130);
const FOR_DROPS: Duration = Duration::from_millis(40);
const AFTER_DEADLINE: Duration = Duration::from_millis(240);

/// What became of the tasks that a manager held when it was shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Attempts that came to an end of their own, whatever it was, after the shutdown began.
    pub finished: u64,
    /// Tasks that were handed back to the store unfinished, at no cost.
    pub returned: u64,
    /// Attempts that could not be stopped, since their handler blocks. Their leases are marked as
    /// interrupted, and run out at no cost.
    pub abandoned: u64,
}

/// What ended, for the report and for maintenance.
#[derive(Default)]
pub(crate) struct Tally {
    ended: AtomicU64,
    finished: AtomicU64,
    returned: AtomicU64,
}

impl Tally {
    /// Notes how an attempt ended.
    pub(crate) fn note(&self, phase: Phase, verdict: &Verdict) {
        if phase >= Phase::Draining {
            let count = match verdict {
                Verdict::Return { .. } => &self.returned,
                _ => &self.finished,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        if verdict.is_end() {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many tasks this process has ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Shuts down, within `grace` and a quarter of a second.
    ///
    /// The caller has begun it by advancing to [`Phase::Draining`].
    pub(crate) async fn shut_down(
        &self,
        consumers: Vec<JoinHandle>,
        loops: Vec<JoinHandle>,
        grace: Duration,
    ) -> ShutdownReport {
        let mut consumers = AllDone(consumers);
        let until = self.runtime.now() + grace + AFTER_DEADLINE;
        self.signals.wake_all();
        if !self.finish_within(grace, &mut consumers).await {
            self.phases.advance(Phase::Cancelling);
            self.cancel_running(Cancelled::Shutdown);
            if !self.finish_within(FOR_RETURNS, &mut consumers).await {
                // A consumer that waits hands back what it holds when it is dropped.
                for consumer in &consumers.0 {
                    consumer.abort();
                }
                self.finish_within(FOR_DROPS, &mut consumers).await;
            }
        }
        let abandoned = self.interrupt_the_rest();
        let mut left = AllDone(std::mem::take(&mut *lock(&self.left)));
        self.finish_within(until.saturating_since(self.runtime.now()), &mut left).await;
        self.phases.advance(Phase::Stopped);
        self.signals.waiters.tell_all();
        for task in loops {
            task.abort();
        }
        ShutdownReport {
            finished: self.tally.finished.load(Ordering::Relaxed),
            returned: self.tally.returned.load(Ordering::Relaxed),
            abandoned,
        }
    }

    /// Asks every attempt under way to stop.
    pub(crate) fn cancel_running(&self, why: Cancelled) {
        for pool in self.signals.pools() {
            for seat in &pool.seats {
                seat.cancel(why);
            }
        }
    }

    /// Waits for all of them to be done; `false` if that takes longer.
    async fn finish_within(&self, limit: Duration, tasks: &mut AllDone) -> bool {
        let timer = self.runtime.sleep_until(self.runtime.now() + limit);
        matches!(select(tasks, timer).await, Either::Left(_))
    }

    /// Marks the leases of attempts that block, and hands back what waits behind them.
    fn interrupt_the_rest(&self) -> u64 {
        let mut batch = Vec::new();
        let mut abandoned = 0;
        for pool in self.signals.pools() {
            for seat in &pool.seats {
                batch.extend(seat.take_waiting().iter().map(Engine::hand_back));
                if let Some(ctx) = seat.running() {
                    abandoned += 1;
                    batch.push(settle_unstarted(ctx.claimed(), Verdict::Interrupt));
                }
            }
        }
        self.settle_left(batch);
        abandoned
    }
}

/// The tasks that are not done yet; ready when there is none.
struct AllDone(Vec<JoinHandle>);

impl Future for AllDone {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.retain_mut(|task| match Pin::new(task).poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(()) | Err(JoinError::Aborted)) => false,
            Poll::Ready(Err(error)) => {
                tracing::error!(%error, "a task of the engine ended by a panic of its own");
                false
            }
        });
        if self.0.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}

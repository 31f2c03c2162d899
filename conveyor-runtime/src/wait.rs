//! Wait: for the end of a task, or of all.

use std::time::Duration;

use conveyor_core::store::{EndState, StoreError};
use conveyor_core::{Counts, End, TaskId, WaitError};
use futures::future::{Either, select};

use crate::engine::{Engine, RetryPause};
use crate::metrics::Metrics;
use crate::phase::Phase;

/// How long a store may fail before a wait gives up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Waits until no task is claimable, waits for its time, or is held by anybody.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub(crate) async fn idle(&self) -> Result<(), StoreError> {
        let watch = self.signals.waiters.watch_any();
        loop {
            let ended = watch.listen();
            let counters = self.door.call("counters", |store| store.counters()).await?;
            let Counts { queued, scheduled, active, .. } =
                *Metrics::new(counters, &self.registry.workers());
            if queued + scheduled + active == 0 {
                return Ok(());
            }
            // What is parked is no end, and what others do may not be told.
            let look = self.pause(self.settings.poll_interval);
            select(ended, std::pin::pin!(look)).await;
        }
    }

    /// Waits for the end of a task.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    pub(crate) async fn wait(&self, id: TaskId) -> Result<End, WaitError> {
        let ids = [id];
        let watch = self.signals.waiters.watch(id);
        let mut failing_since = None;
        let mut pause = RetryPause::new();
        loop {
            let news = watch.listen();
            if let Some(end) = watch.end() {
                return Ok(end);
            }
            match self.ask("ends", |store| store.ends(&ids)).await {
                Ok(states) => match states.into_iter().next() {
                    Some(EndState::Ended(end)) => return Ok(end),
                    Some(EndState::Live) => {}
                    // Told just now, and forgotten already.
                    Some(EndState::Gone) | None => {
                        return watch.end().ok_or(WaitError::Unknown { id });
                    }
                },
                Err(error) => {
                    let now = self.runtime.now();
                    let since = *failing_since.get_or_insert(now);
                    let waited = now.saturating_since(since);
                    if waited > PATIENCE {
                        return Err(WaitError::Store { waited, error });
                    }
                    pause.wait(self).await;
                    continue;
                }
            }
            failing_since = None;
            pause.reset();
            if self.phases.now() == Phase::Stopped {
                return Err(WaitError::Stopped { id });
            }
            let stopped = std::pin::pin!(self.phases.reached(Phase::Stopped));
            let news = select(news, stopped);
            if self.door.capabilities.shared {
                // Another process's end may never be told.
                let poll = self.pause(self.settings.poll_interval);
                if let Either::Left(_) = select(news, std::pin::pin!(poll)).await {}
            } else {
                news.await;
            }
        }
    }
}

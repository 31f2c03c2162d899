//! Settle: how attempts ended goes to the store, and is tried until it got there.

use conveyor_core::store::{Settle, Settled, StoreError, StoreErrorKind, Verdict};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

impl Engine {
    /// Settles a batch, and empties it.
    ///
    /// While the store cannot be reached, or refuses, it is tried again until the manager has
    /// stopped, however long ago the leases ran out: the fence sees to it that what comes too late
    /// counts for nothing, and a process never rescues its own claims, so that one which is given
    /// up is stranded for as long as the process lives.
    pub(crate) async fn settle(&self, batch: &mut Vec<Settle>) {
        if batch.is_empty() {
            return;
        }
        let claims = batch.iter().filter(|settle| settle.verdict != Verdict::Interrupt).count();
        let give_up = self.runtime.now() + self.settings.lease * 2;
        let mut pause = RetryPause::new();
        loop {
            let sent = if self.door.capabilities.immediate {
                std::mem::take(batch)
            } else {
                batch.clone()
            };
            match self.door.call("settle", |store| store.settle(sent)).await {
                Ok(settled) => {
                    let fenced = settled.iter().filter(|&&s| s == Settled::Fenced).count();
                    if fenced > 0 {
                        tracing::warn!(fenced, "attempts ended after their lease was lost");
                    }
                    break;
                }
                Err(error)
                    if self.phases.now() == Phase::Stopped
                        || (is_hopeless(&error) && self.runtime.now() > give_up) =>
                {
                    tracing::error!(
                        tasks = batch.len(),
                        "the store did not take how attempts ended; they will run again"
                    );
                    break;
                }
                Err(_) => pause.wait(self).await,
            }
        }
        batch.clear();
        self.release(claims);
    }
}

/// Whether a store that answers so will hardly ever answer otherwise.
fn is_hopeless(error: &StoreError) -> bool {
    !matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Refused)
}

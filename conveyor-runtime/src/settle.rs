//! Settle: how attempts ended goes to the store, and is tried until it got there.

use conveyor_core::store::{Settle, Settled, Verdict};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

impl Engine {
    /// Settles a batch, and empties it.
    ///
    /// While the store fails it is tried again, until the leases must have run out: after that
    /// the tasks are another's, and what was to be settled counts for nothing.
    pub(crate) async fn settle(&self, batch: &mut Vec<Settle>) {
        if batch.is_empty() {
            return;
        }
        let claims = batch.iter().filter(|settle| settle.verdict != Verdict::Interrupt).count();
        let give_up = self.runtime.now() + self.settings.lease * 2;
        let children = batch.iter().map(|settle| settle.children.len()).sum();
        let mut pause = RetryPause::new();
        loop {
            let sent = if self.door.capabilities.immediate {
                std::mem::take(batch)
            } else {
                batch.clone()
            };
            match self.ask_for(children, "settle", |store| store.settle(sent)).await {
                Ok(settled) => {
                    let fenced = settled.iter().filter(|&&s| s == Settled::Fenced).count();
                    if fenced > 0 {
                        tracing::warn!(fenced, "attempts ended after their lease was lost");
                    }
                    break;
                }
                Err(_) if self.runtime.now() > give_up || self.phases.now() == Phase::Stopped => {
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

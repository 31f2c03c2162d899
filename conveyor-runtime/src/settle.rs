//! Settle: how attempts ended goes to the store, and is tried until it got there.

use conveyor_core::store::{Settle, Settled, StoreErrorKind, Verdict};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

impl Engine {
    /// Settles a batch, and empties it.
    ///
    /// While the store is away it is tried again, for as long as that takes: nobody takes back what
    /// a process that lives has let go of, but other processes, and they would take it for dead.
    /// What the store itself cannot take is given up after two leases.
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
                        || (self.runtime.now() > give_up && !may_pass(error.kind())) =>
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

/// Whether the store may take tomorrow what it did not take today.
fn may_pass(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Refused)
}

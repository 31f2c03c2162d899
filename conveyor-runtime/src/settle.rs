//! Settle: how attempts ended goes to the store, and is tried until it got there.

use conveyor_core::store::{Settle, Settled, StoreErrorKind, Verdict};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;
use crate::sync::lock;

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
        let claims = released_by(batch);
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

    /// Settles what a consumer leaves behind that can wait for nothing any more: at once, or by a
    /// task of its own if the store takes its time, so that the leases need not run out.
    pub(crate) fn settle_left(&self, mut batch: Vec<Settle>) {
        if batch.is_empty() {
            return;
        }
        if self.door.capabilities.immediate {
            let claims = released_by(&batch);
            if let Ok(Err(error)) = self.door.store().settle(batch).now_or_later() {
                tracing::warn!(%error, "claims could not be handed back");
            }
            self.release(claims);
            return;
        }
        let engine = self.this.upgrade().expect("invariant: a method's engine is there");
        let settle = async move { engine.settle(&mut batch).await };
        let task = self.runtime.spawn("hand back", Box::pin(settle));
        if (Phase::Draining..Phase::Stopped).contains(&self.phases.now()) {
            // The shutdown waits for it, as long as it can.
            lock(&self.left).push(task);
        }
    }
}

/// How many claims the process holds no longer when these are settled.
fn released_by(batch: &[Settle]) -> usize {
    batch.iter().filter(|settle| settle.verdict != Verdict::Interrupt).count()
}

/// Whether the store may take tomorrow what it did not take today.
fn may_pass(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Refused)
}

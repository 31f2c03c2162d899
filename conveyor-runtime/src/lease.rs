//! The lease keeper: renews what this process holds, and tells handlers whose lease is lost.

use std::sync::Arc;

use conveyor_core::Fence;
use conveyor_core::context::Cancelled;
use conveyor_core::store::Renewed;
use futures::future::select;
use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::phase::Phase;

/// Keeps the leases until the manager has stopped. It sleeps without a timer while nothing is held.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let period = engine.settings.lease / 3;
    let mut fences = Vec::new();
    while engine.phases.now() < Phase::Stopped {
        let changed = engine.held_changed.listen();
        if engine.held.load(Ordering::SeqCst) == 0 {
            select(changed, std::pin::pin!(engine.phases.reached(Phase::Stopped))).await;
            continue;
        }
        let wait = engine.runtime.sleep_until(engine.runtime.now() + period);
        select(wait, std::pin::pin!(engine.phases.reached(Phase::Stopped))).await;
        // A store that does not answer within a period is asked again by then.
        while renew_all(&engine, &mut fences).await.is_none() {
            warn_of_lost_leases(&engine);
            engine.pause(period / 8).await;
            if engine.phases.now() == Phase::Stopped {
                return;
            }
        }
    }
}

/// Renews all leases; `None` if the store did not do so.
async fn renew_all(engine: &Engine, fences: &mut Vec<Fence>) -> Option<()> {
    fences.clear();
    for pool in engine.signals.pools() {
        for seat in &pool.seats {
            seat.fences(fences);
        }
    }
    if fences.is_empty() {
        return Some(());
    }
    let asked_at = engine.runtime.now();
    let renewed = {
        let lease = engine.settings.lease;
        engine.ask("renew", |store| store.renew(engine.incarnation, fences, lease)).await.ok()?
    };
    let mut all = true;
    for (&fence, renewed) in fences.iter().zip(renewed) {
        for pool in engine.signals.pools() {
            for seat in &pool.seats {
                match renewed {
                    Renewed::Held { cancel: true } => _ = seat.cancel_task(fence.task),
                    Renewed::Held { cancel: false } => {}
                    Renewed::Lost => seat.lose(fence),
                    Renewed::Busy => all = false,
                }
            }
        }
    }
    if all {
        for pool in engine.signals.pools() {
            for seat in &pool.seats {
                seat.renewed(asked_at);
            }
        }
    }
    Some(())
}

/// Asks attempts to stop whose lease may run out before it can be renewed, so that they stop
/// before another process starts the same task.
fn warn_of_lost_leases(engine: &Engine) {
    let margin = engine.settings.lease / 6;
    for pool in engine.signals.pools() {
        for seat in &pool.seats {
            let runs_out = seat.leased_at().map(|at| at + (engine.settings.lease - margin));
            if runs_out.is_some_and(|runs_out| runs_out <= engine.runtime.now()) {
                seat.cancel(Cancelled::LeaseLost);
            }
        }
    }
}

//! The lease keeper: renews what this process holds, and tells handlers whose lease is lost.

use std::sync::Arc;
use std::time::Duration;

use conveyor_core::Fence;
use conveyor_core::context::Cancelled;
use conveyor_core::store::Renewed;
use conveyor_core::time::Instant;
use futures::future::select;

use crate::engine::Engine;
use crate::phase::Phase;
use crate::seat::Seat;
use crate::sync::Ordering;

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
        // A store that does not answer within a period is asked again by then, and handlers are
        // warned in time, however long it takes to answer.
        while renew_all(&engine, &mut fences, patience(&engine, period)).await.is_none() {
            warn_of_lost_leases(&engine);
            engine.pause(period / 8).await;
            warn_of_lost_leases(&engine);
            if engine.phases.now() == Phase::Stopped {
                return;
            }
        }
    }
}

/// Renews all leases before anything is settled, once this process was stopped for longer than they
/// last. Were the claims settled first that ended meanwhile, the last one left would look to others
/// like that of a process which this very task took down, and be charged for it.
pub(crate) async fn renew_after_sleep(engine: &Engine) {
    // Without an answer it is up to the keeper, who goes on asking.
    let _ = renew_all(engine, &mut Vec::new(), engine.settings.lease / 3).await;
}

/// Renews all leases; `None` if the store did not do so.
async fn renew_all(engine: &Engine, fences: &mut Vec<Fence>, limit: Duration) -> Option<()> {
    fences.clear();
    // Before they are listed: what comes into a seat later is not renewed with them.
    let asked_at = engine.runtime.now();
    for pool in engine.signals.pools() {
        for seat in &pool.seats {
            seat.fences(fences);
        }
    }
    if fences.is_empty() {
        return Some(());
    }
    let renewed = {
        let lease = engine.settings.lease;
        let door = &engine.door;
        let renewed = door.call_within(&*engine.runtime, limit, "renew", |store| {
            store.renew(engine.incarnation, fences, lease)
        });
        renewed.await.ok()?
    };
    let mut busy = Vec::new();
    for (&fence, renewed) in fences.iter().zip(renewed) {
        if renewed == Renewed::Busy {
            busy.push(fence);
        }
        for pool in engine.signals.pools() {
            for seat in &pool.seats {
                match renewed {
                    Renewed::Held { cancel: true } => _ = seat.cancel_task(fence.task),
                    Renewed::Lost => seat.lose(fence),
                    Renewed::Held { cancel: false } | Renewed::Busy => {}
                }
            }
        }
    }
    for pool in engine.signals.pools() {
        for seat in &pool.seats {
            seat.renewed(asked_at, &busy);
        }
    }
    Some(())
}

/// How long to wait for a renewal, at most: until it is time to warn of a lease.
fn patience(engine: &Engine, most: Duration) -> Duration {
    let now = engine.runtime.now();
    let seats = engine.signals.pools().iter().flat_map(|pool| pool.seats.iter());
    seats
        .filter_map(Seat::leased_at)
        .map(|leased_at| last_warning(engine, leased_at))
        .filter(|&at| at > now)
        .map(|at| at.saturating_since(now))
        .fold(most, Duration::min)
}

/// Asks attempts to stop whose lease may run out before it can be renewed, so that they stop
/// before another process starts the same task.
fn warn_of_lost_leases(engine: &Engine) {
    for pool in engine.signals.pools() {
        for seat in &pool.seats {
            let warning = seat.leased_at().map(|leased_at| last_warning(engine, leased_at));
            if warning.is_some_and(|at| at <= engine.runtime.now()) {
                seat.cancel(Cancelled::LeaseLost);
            }
        }
    }
}

/// When an attempt must be asked to stop whose lease was last known to hold from `leased_at` on.
fn last_warning(engine: &Engine, leased_at: Instant) -> Instant {
    leased_at + engine.settings.sure_lease()
}

/// Whether a claim is too old to be started: its lease was last known to hold from `leased_at` on,
/// and the keeper, which looks once in a third of a lease, might warn of its end too late.
pub(crate) fn is_too_old(engine: &Engine, leased_at: Instant, now: Instant) -> bool {
    leased_at + engine.settings.lease / 2 < now
}

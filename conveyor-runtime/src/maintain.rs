//! Maintain: due tasks are promoted, dead processes' claims rescued, old ends pruned, and a store
//! whose wake-ups may be lost is asked now and then.
//!
//! The loop sleeps until the next thing is due, and without a timer if nothing is.

use std::sync::Arc;
use std::time::Duration;

use conveyor_core::store::{Rescue, RescueRequest, StoreResult};
use conveyor_core::time::Instant;
use futures::future::select;

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

/// The most tasks that are promoted, rescued or pruned in one call.
const BATCH: usize = 1_000;

/// How often ends are pruned, while tasks end.
const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Due times are the store's, whose clock may jump: while a task waits for one, it is looked at
/// least this often.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// When the loop has to do what next; `None` for never, as far as is known.
#[derive(Default)]
struct Agenda {
    promote: Option<Instant>,
    rescue: Option<Instant>,
    prune: Option<Instant>,
    poll: Option<Instant>,
}

impl Agenda {
    fn next(&self) -> Option<Instant> {
        [self.promote, self.rescue, self.prune, self.poll].into_iter().flatten().min()
    }
}

fn is_due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

/// Maintains the store until the manager stops.
pub(crate) async fn maintain(engine: Arc<Engine>) {
    let shared = engine.door.capabilities.shared;
    let start = engine.runtime.now();
    let mut agenda = Agenda {
        promote: Some(start),
        rescue: Some(start),
        prune: None,
        poll: shared.then_some(start),
    };
    let mut ended_before = 0;
    let mut pause = RetryPause::new();
    while engine.phases.now() < Phase::Draining {
        let news = engine.signals.maintain.listen();
        // Whatever is found to be due from here on is news.
        engine.signals.plan(None);
        match turn(&engine, &mut agenda, &mut ended_before).await {
            Ok(()) => pause.reset(),
            Err(_) => {
                pause.wait(&engine).await;
                continue;
            }
        }
        let stop = std::pin::pin!(engine.phases.reached(Phase::Draining));
        let news = select(news, stop);
        match agenda.next() {
            Some(at) => _ = select(news, engine.runtime.sleep_until(at)).await,
            None => _ = news.await,
        }
        // Woken by news or by time: either way the due tasks are worth a look.
        agenda.promote = Some(engine.runtime.now());
    }
}

/// Does what is due, and plans what is next.
async fn turn(engine: &Engine, agenda: &mut Agenda, ended_before: &mut u64) -> StoreResult<()> {
    let now = engine.runtime.now();
    if is_due(agenda.rescue, now) {
        agenda.rescue = rescue(engine).await?;
    }
    if is_due(agenda.poll, now) {
        engine.signals.poll();
        let interval = engine.settings.poll_interval;
        let jitter = interval.mul_f64((engine.runtime.random() >> 11) as f64 / (1u64 << 55) as f64);
        agenda.poll = Some(now + interval + jitter);
    }
    if is_due(agenda.prune, now) {
        while engine.ask("prune", |store| store.prune(BATCH)).await? == BATCH {}
        agenda.prune = None;
    }
    let ended = engine.tally.ended();
    if agenda.prune.is_none() && ended != *ended_before {
        *ended_before = ended;
        agenda.prune = Some(now + PRUNE_EVERY);
    }
    agenda.promote = promote(engine).await?;
    Ok(())
}

/// Promotes due tasks, and tells when the next one is due.
async fn promote(engine: &Engine) -> StoreResult<Option<Instant>> {
    let Some(due) = engine.ask("promote", |store| store.promote(BATCH)).await? else {
        return Ok(None);
    };
    engine.signals.plan(Some(due));
    let now = engine.ask("now", |store| store.now()).await?;
    Ok(Some(engine.runtime.now() + due.saturating_since(now).min(LONGEST_WAIT)))
}

/// Takes back what dead processes held, and tells when to look again.
async fn rescue(engine: &Engine) -> StoreResult<Option<Instant>> {
    let lease = engine.settings.lease;
    let request = RescueRequest {
        by: engine.incarnation,
        lease,
        crash_budget: engine.settings.crash_budget,
        limit: BATCH,
    };
    let Rescue { rescued, next } = engine.ask("rescue", |store| store.rescue(request)).await?;
    for task in rescued {
        tracing::warn!(
            id = %task.id, kind = %task.kind, from = %task.from, rescued_as = ?task.rescued_as,
            "took back a task of a process that is gone"
        );
    }
    let again = match next {
        Some(at) => {
            let now = engine.ask("now", |store| store.now()).await?;
            Some(engine.runtime.now() + at.saturating_since(now))
        }
        None => None,
    };
    // In a shared store others may claim, and die, at any time. And a lease that is waited for is
    // watched meanwhile: after a longer silence the store gives its holder another one.
    let watched = engine.door.capabilities.shared || next.is_some();
    let regular = watched.then(|| engine.runtime.now() + lease / 2);
    Ok(again.into_iter().chain(regular).min())
}

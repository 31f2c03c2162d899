//! Producers: schedules' instants become tasks, once in the whole cluster.
//!
//! A schedule lives in the store, and its instants are derived from it; this loop only sees to it
//! that somebody looks at the clock. Whichever process sees an instant first moves the schedule's
//! mark and inserts the task, in one step of the store's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::payload::AnyPayload;
use conveyor_core::schedule::Cadence;
use conveyor_core::store::{ScheduleDefinition, ScheduleState, StoreResult, Tick, Ticked};
use conveyor_core::task::Settings;
use conveyor_core::worker::catch_panic;
use conveyor_core::{AnyTask, Kind, Schedule, Timestamp};
use futures::future::{Either, select};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;
use crate::sync::{Mutex, lock};

/// A wall clock may jump; a cron schedule looks at it at least this often, and so does an interval
/// that waits for longer than its period.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The schedules that this process sees to.
#[derive(Default)]
pub(crate) struct Producers {
    known: Mutex<BTreeMap<Kind, Known>>,
    /// Held while a definition is put into the store: else the one that the store took last might
    /// not be the one that is seen to.
    puts: futures::lock::Mutex<()>,
}

#[derive(Clone)]
enum Known {
    /// To be put into the store.
    New(Schedule),
    /// As the store has it.
    Put(ScheduleState),
}

impl Producers {
    /// Sees to a schedule from now on; the loop puts it into the store.
    pub(crate) fn add(&self, name: Kind, schedule: Schedule) {
        lock(&self.known).insert(name, Known::New(schedule));
    }

    /// Sees to a schedule no more; it stays in the store, for other processes.
    pub(crate) fn remove(&self, name: &Kind) -> bool {
        lock(&self.known).remove(name).is_some()
    }

    /// Takes over how the store has a schedule, or that it has it no more. Unless another
    /// definition came while the store was asked: that is newer than the answer.
    fn adopt(&self, name: &Kind, asked: u64, now: Option<ScheduleState>) {
        let mut known = lock(&self.known);
        let unchanged =
            matches!(known.get(name), Some(Known::Put(state)) if state.revision == asked);
        match now {
            Some(state) if unchanged => _ = known.insert(name.clone(), Known::Put(state)),
            None if unchanged => _ = known.remove(name),
            _ => {}
        }
    }

    fn snapshot(&self) -> Vec<(Kind, Known)> {
        lock(&self.known).iter().map(|(name, known)| (name.clone(), known.clone())).collect()
    }
}

/// Changes a schedule, in the store and for this process.
pub(crate) async fn set(engine: &Engine, name: &Kind, schedule: Schedule) -> StoreResult<()> {
    let _turn = engine.producers.puts.lock().await;
    let state = put(engine, name, schedule).await?;
    lock(&engine.producers.known).insert(name.clone(), Known::Put(state));
    Ok(())
}

/// Puts a schedule that is new to this process; `None` if another came meanwhile, or none is left.
async fn put_new(engine: &Engine, name: &Kind) -> StoreResult<Option<ScheduleState>> {
    let producers = &engine.producers;
    let _turn = producers.puts.lock().await;
    let new = match lock(&producers.known).get(name) {
        Some(Known::New(schedule)) => schedule.clone(),
        _ => return Ok(None),
    };
    let state = put(engine, name, new.clone()).await?;
    let mut known = lock(&producers.known);
    if !matches!(known.get(name), Some(Known::New(still)) if *still == new) {
        return Ok(None);
    }
    known.insert(name.clone(), Known::Put(state.clone()));
    Ok(Some(state))
}

async fn put(engine: &Engine, name: &Kind, schedule: Schedule) -> StoreResult<ScheduleState> {
    let definition = ScheduleDefinition { name: name.clone(), schedule };
    engine.ask("put_schedule", |store| store.put_schedule(definition)).await
}

/// Ticks schedules until the manager stops.
pub(crate) async fn produce(engine: Arc<Engine>) {
    let shared = engine.door.capabilities.shared;
    let mut pause = RetryPause::new();
    let mut looked = engine.runtime.now();
    let mut told = false;
    while engine.phases.now() < Phase::Draining {
        let changed = engine.signals.schedules.listen();
        if shared && (told || engine.runtime.now() >= looked + LONGEST_SLEEP) {
            looked = engine.runtime.now();
            if look(&engine).await.is_err() {
                pause.wait(&engine).await;
                continue;
            }
        }
        let next = match turn(&engine).await {
            Ok(next) => {
                pause.reset();
                next
            }
            // A store that fails never ends a schedule.
            Err(_) => {
                pause.wait(&engine).await;
                continue;
            }
        };
        let stop = std::pin::pin!(engine.phases.reached(Phase::Draining));
        let news = select(changed, stop);
        told = match next {
            Some(wait) => {
                let wait = if shared { wait.min(LONGEST_SLEEP) } else { wait };
                let timer = engine.runtime.sleep_until(engine.runtime.now() + wait);
                matches!(select(news, timer).await, Either::Left(_))
            }
            None => {
                news.await;
                true
            }
        };
    }
}

/// Takes over the schedules that another process has changed: asked when the store tells of a
/// change, and now and then, since it may be lost.
async fn look(engine: &Engine) -> StoreResult<()> {
    let (mut asked, mut ticks) = (Vec::new(), Vec::new());
    for (name, known) in engine.producers.snapshot() {
        if let Known::Put(ScheduleState { revision, mark, .. }) = known {
            // A tick that moves nothing is answered by how the schedule stands.
            ticks.push(Tick { name: name.clone(), revision, from: mark, to: mark, task: None });
            asked.push((name, revision));
        }
    }
    if ticks.is_empty() {
        return Ok(());
    }
    let replies = engine.ask("tick", |store| store.tick(ticks)).await?;
    for ((name, asked), reply) in asked.into_iter().zip(replies) {
        if let Ticked::Stale(current) = reply {
            engine.producers.adopt(&name, asked, Some(current));
        }
    }
    Ok(())
}

/// Ticks every schedule that is due, and tells how long to sleep.
async fn turn(engine: &Engine) -> StoreResult<Option<Duration>> {
    let mut sleep: Option<Duration> = None;
    for (name, known) in engine.producers.snapshot() {
        let state = match known {
            Known::Put(state) => state,
            Known::New(_) => match put_new(engine, &name).await? {
                Some(state) => state,
                // Whoever changed it has told this loop.
                None => continue,
            },
        };
        let until_next = tick_due(engine, &name, state).await?;
        sleep = sleep.into_iter().chain(until_next).min();
    }
    Ok(sleep)
}

/// Ticks the instants of a schedule that have come; tells how long until the next.
async fn tick_due(
    engine: &Engine,
    name: &Kind,
    mut state: ScheduleState,
) -> StoreResult<Option<Duration>> {
    let now = engine.ask("now", |store| store.now()).await?;
    let due = state.schedule.due(state.anchor, state.mark, now);
    let last = due.fire.len().saturating_sub(1);
    let mut steps: Vec<(Timestamp, bool)> = due
        .fire
        .iter()
        .enumerate()
        // The last one moves the mark past everything that is given up.
        .map(|(at, &instant)| (if at == last { due.mark.max(instant) } else { instant }, true))
        .collect();
    if steps.is_empty() && due.mark > state.mark {
        steps.push((due.mark, false));
    }
    for (to, fires) in steps {
        let task = if fires { tick_task(engine, name) } else { None };
        let tick =
            Tick { name: name.clone(), revision: state.revision, from: state.mark, to, task };
        let ticked = engine.ask("tick", |store| store.tick(vec![tick])).await?;
        match ticked.into_iter().next() {
            Some(Ticked::Fired(_) | Ticked::Skipped) => state.mark = to,
            // Another process was first, or has another definition: go by what the store has.
            Some(Ticked::Stale(current)) => {
                engine.producers.adopt(name, state.revision, Some(current));
                return Ok(Some(Duration::ZERO));
            }
            Some(Ticked::Gone) | None => {
                engine.producers.adopt(name, state.revision, None);
                return Ok(None);
            }
        }
        engine.producers.adopt(name, state.revision, Some(state.clone()));
    }
    Ok(due.next.map(|next| {
        let wait = next.saturating_since(now);
        match state.schedule.cadence {
            Cadence::Cron(_) => wait.min(LONGEST_SLEEP),
            // Longer than its period only if the clock went back, and it may be put right.
            Cadence::Interval(interval) => wait.min(interval.period().max(LONGEST_SLEEP)),
        }
    }))
}

/// The task of a tick.
fn tick_task(engine: &Engine, name: &Kind) -> Option<conveyor_core::store::NewTask> {
    let task =
        AnyTask { kind: name.clone(), payload: AnyPayload::new(()), set: Settings::default() };
    // A worker's key is derived by its own code.
    let error = match catch_panic(|| engine.new_task(task)) {
        Ok(Ok(task)) => return Some(task),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("its key panicked: {panic}"),
    };
    tracing::error!(kind = %name, %error, "the task of a tick could not be made");
    None
}

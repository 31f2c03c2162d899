//! The reference's one schedule.

use conveyor_core::store::{Enqueued, ScheduleState, Tick, Ticked};
use conveyor_core::{Overlap, Schedule, TaskId};

use super::reference::{Held, Reference, same};

/// A schedule, with the task of its last tick.
#[derive(Clone)]
pub(super) struct Scheduled {
    state: ScheduleState,
    last: Option<TaskId>,
}

impl Reference {
    pub(super) fn put_schedule(&mut self, schedule: Schedule, told: &ScheduleState) -> Held {
        self.near("the time of a schedule", told.now, self.now)?;
        let before = self.schedule.clone();
        let state = match &before {
            Some(Scheduled { state, .. }) if state.schedule == schedule => state.clone(),
            before => {
                let before = before.as_ref().map(|before| &before.state);
                self.near("the anchor", told.anchor, self.now)?;
                // Where the mark is before the anchor, nobody can tell: no instant is between them.
                let kept = before.map(|before| before.mark).filter(|mark| *mark >= told.anchor);
                if kept.is_none() && !(told.anchor - self.slack..told.anchor).contains(&told.mark) {
                    return Err(format!("the mark of a new schedule: {told:?}"));
                }
                ScheduleState {
                    schedule,
                    revision: before.map_or(1, |before| before.revision + 1),
                    anchor: told.anchor,
                    mark: kept.unwrap_or(told.mark),
                    now: told.now,
                }
            }
        };
        same("a schedule", told, &ScheduleState { now: told.now, ..state.clone() })?;
        self.schedule = Some(Scheduled { state, last: before.and_then(|before| before.last) });
        Ok(())
    }

    pub(super) fn remove_schedule(&mut self) {
        self.schedule = None;
    }

    pub(super) fn tick(&mut self, tick: &Tick, told: &Ticked) -> Held {
        let Some(Scheduled { state, last }) = self.schedule.clone() else {
            return same("a tick", told, &Ticked::Gone);
        };
        if (state.revision, state.mark) != (tick.revision, tick.from) || tick.to <= state.mark {
            let now = match told {
                Ticked::Stale(told) => told.now,
                _ => self.now,
            };
            return same("a tick", told, &Ticked::Stale(ScheduleState { now, ..state }));
        }
        let is_live = |id| self.rows.get(&id).is_some_and(|row| row.info.state.is_live());
        let overlaps = state.schedule.overlap == Overlap::Skip && last.is_some_and(is_live);
        let new = tick.task.as_ref().filter(|_| !overlaps);
        let fired = new.filter(|new| matches!(self.insert(new), Enqueued::Accepted));
        let fired = fired.map(|new| new.id);
        let state = ScheduleState { mark: tick.to, ..state };
        self.schedule = Some(Scheduled { state, last: fired.or(last) });
        same("a tick", told, &fired.map_or(Ticked::Skipped, Ticked::Fired))
    }
}

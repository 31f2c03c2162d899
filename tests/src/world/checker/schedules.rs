//! Schedules: their marks only rise, and each instant ticks once.

use std::time::Duration;

use conveyor::{Kind, Overlap, TaskId};
use conveyor_core::store::{ScheduleState, Ticked};

use super::Findings;
use super::model::Model;
use crate::world::history::{Event, Move};

/// A schedule as it must be.
#[derive(Clone, Debug)]
pub(super) struct ScheduleRow {
    state: ScheduleState,
    last: Option<TaskId>,
}

impl Model {
    pub(super) fn put_schedule(
        &mut self,
        name: &Kind,
        state: &ScheduleState,
        found: &mut Findings,
    ) {
        let before = self.schedules.get(name);
        if let Some(before) = before
            && (state.mark < before.state.mark || state.revision < before.state.revision)
        {
            found.wrong([], format!("the mark of {name} went back"));
        }
        let last = before.and_then(|row| row.last);
        self.schedules.insert(name.clone(), ScheduleRow { state: state.clone(), last });
    }

    pub(super) fn tick(
        &mut self,
        event: &Event,
        step: &Move,
        reply: &Ticked,
        found: &mut Findings,
    ) {
        let Some(row) = self.schedules.get(&step.name) else {
            if *reply != Ticked::Gone {
                found.wrong([], format!("a schedule ticks that is not there: {}", step.name));
            }
            return;
        };
        let state = &row.state;
        let is_current =
            state.revision == step.revision && state.mark == step.from && step.to > state.mark;
        let fired = match reply {
            Ticked::Fired(id) => Some(*id),
            Ticked::Skipped => None,
            Ticked::Stale(_) => {
                if is_current {
                    found.wrong([], format!("a tick of {} is refused", step.name));
                }
                return;
            }
            Ticked::Gone => {
                found.wrong([], format!("a schedule is gone that is there: {}", step.name));
                return;
            }
        };
        if !is_current {
            let what = format!("{} ticks at {} for the second time", step.name, step.to);
            found.wrong(fired, what);
        }
        if step.to > event.wall {
            found.wrong(fired, format!("{} ticks before its time, {}", step.name, step.to));
        }
        let cadence = &state.schedule.cadence;
        if cadence.last_until(state.anchor, step.to) != Some(step.to) {
            found.wrong(fired, format!("{} does not tick at {}", step.name, step.to));
        }
        let overlaps = state.schedule.overlap == Overlap::Skip
            && row.last.is_some_and(|last| self.rows[&last].state.is_live());
        if overlaps && fired.is_some() {
            found.wrong(fired, format!("{} ticks while its last task is live", step.name));
        }
        if let Some(row) = self.schedules.get_mut(&step.name) {
            row.state.mark = step.to;
            row.last = fired.or(row.last);
        }
        match &step.task {
            Some(asked) if !overlaps && self.insert_child(event, asked) != fired.is_some() => {
                found.wrong([asked.id], format!("a tick's task, {reply:?}"));
            }
            _ => {}
        }
    }

    /// While nothing is wrong no schedule falls behind: by no more than a process takes to come back
    /// that a task took down.
    pub(super) fn schedules_are_kept(&self, event: &Event, found: &mut Findings) {
        for (name, row) in &self.schedules {
            let ScheduleState { ref schedule, anchor, mark, .. } = row.state;
            let due = schedule.cadence.last_until(anchor, event.wall - Duration::from_secs(10));
            if due.is_some_and(|due| due > mark) {
                found.wrong([], format!("{name} should have ticked at {due:?}, but is at {mark}"));
            }
        }
    }
}

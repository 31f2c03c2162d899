//! [`AtRest`]: how things stand when all is done.

use conveyor::{Counts, TaskInfo};

use super::Findings;
use super::model::Model;
use crate::world::history::Reply;

/// What the store holds at the end, and what it counted.
#[derive(Clone, Debug, Default)]
pub struct AtRest {
    /// All that it knows of.
    pub tasks: Vec<TaskInfo>,
    /// What it counted.
    pub counts: Counts,
}

impl AtRest {
    /// Holds it against what the history says it must be.
    pub(super) fn check(&self, model: &Model, found: &mut Findings) {
        self.check_tasks(model, found);
        self.check_counts(model, found);
        check_receipts(model, found);
    }

    fn check_tasks(&self, model: &Model, found: &mut Findings) {
        for info in &self.tasks {
            let Some(row) = model.rows.get(&info.id) else {
                found.wrong([info.id], "the store has a task that was never accepted");
                continue;
            };
            let (is, must_be) = (
                (&info.end, info.budgets, info.epoch, info.state.is_live()),
                (&row.end, row.budgets, row.epoch, row.state.is_live()),
            );
            if is != must_be {
                found.wrong([info.id], format!("it is {is:?} at rest, but must be {must_be:?}"));
            }
        }
        for id in model.rows.keys() {
            if !self.tasks.iter().any(|info| info.id == *id) {
                found.wrong([*id], "it is lost");
            }
        }
    }

    fn check_counts(&self, model: &Model, found: &mut Findings) {
        // How many are in a state now is for the list of tasks to say.
        let mut must_be = model.counts;
        must_be.queued = self.counts.queued;
        must_be.scheduled = self.counts.scheduled;
        must_be.parked = self.counts.parked;
        must_be.active = self.counts.active;
        if self.counts != must_be {
            let is = &self.counts;
            found.wrong([], format!("the counters are {is:#?}, but must be {must_be:#?}"));
        }
        let live = model.live().count() as u64;
        if self.counts.live() != live || self.counts.active > 0 {
            found.wrong([], format!("{live} tasks are live, but counted: {:?}", self.counts));
        }
    }
}

/// What callers were told is so.
fn check_receipts(model: &Model, found: &mut Findings) {
    for (number, reply) in &model.told {
        let copies = model.copies.get(number).cloned().unwrap_or_default();
        let fits = match reply {
            Reply::Accepted(id) => copies.iter().eq([id]),
            Reply::Refused => copies.is_empty(),
            Reply::Unknown => copies.len() <= 1,
        };
        if !fits {
            found.wrong(copies, format!("number {number}: its caller was told {reply:?}"));
        }
    }
}

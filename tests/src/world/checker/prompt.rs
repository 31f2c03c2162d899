//! [`Prompt`]: nothing waits that somebody could run, while nothing is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use conveyor::{Priority, TaskId};

use super::Findings;
use super::attempts::Attempts;
use super::model::{Model, Row};
use crate::world::cluster::{MAIL, MAIL_CONSUMERS};
use crate::world::history::{Change, Event, What};
use crate::world::options::Options;
use crate::world::workers::JobKind;

/// How long a task may wait for who is woken for it.
const BOUND: Duration = Duration::from_millis(1);

/// How long after the last fault everybody has found out.
const RECOVERY: Duration = Duration::from_secs(60);

pub(super) struct Prompt {
    options: Options,
    /// From when on nothing is wrong.
    from: Option<Duration>,
    at: Duration,
    /// Since when somebody could run a task that nobody runs.
    waits: BTreeMap<TaskId, Duration>,
    /// What was told of once is enough.
    told: bool,
}

impl Prompt {
    pub(super) fn new(options: &Options) -> Self {
        let calm = options.is_calm() && !options.crashes && !options.stops;
        Prompt {
            options: options.clone(),
            from: calm.then_some(Duration::ZERO),
            at: Duration::ZERO,
            waits: BTreeMap::new(),
            told: false,
        }
    }

    /// Looks at how things stood until now, if time has passed.
    pub(super) fn before(
        &mut self,
        event: &Event,
        model: &Model,
        attempts: &Attempts,
        found: &mut Findings,
    ) {
        let since = std::mem::replace(&mut self.at, event.at);
        let Some(from) = self.from else { return };
        if since == event.at || since < from || self.told {
            return;
        }
        if model.live().any(|row| row.suspect) {
            // They are run one at a time, with nothing beside them.
            self.waits.clear();
            return;
        }
        let could_run =
            |row: &&Row| row.is_claimable(event.wall) && self.could_run(row, model, attempts);
        let waits: Vec<TaskId> = model.live().filter(could_run).map(|row| row.asked.id).collect();
        self.waits.retain(|task, _| waits.contains(task));
        for task in waits {
            let due = model.rows[&task].due;
            let late = event.wall.saturating_since(due);
            // It could have run since, or since it became due.
            let first = since.max(event.at.saturating_sub(late));
            let since = *self.waits.entry(task).or_insert(first);
            if event.at - since > BOUND {
                found.at = event.at;
                let waited = event.at - since;
                found.wrong([task], format!("it waited for {waited:?}, and somebody could run it"));
                self.told = true;
            }
        }
    }

    /// Notes what changed.
    pub(super) fn after(&mut self, event: &Event) {
        if let What::Claim(_, given) = &event.what {
            for given in given {
                self.waits.remove(&given.fence.task);
            }
        }
        if event.what_is(Change::Calm) && self.from.is_none() {
            self.from = Some(event.at + RECOVERY);
        }
    }

    fn could_run(&self, row: &Row, model: &Model, attempts: &Attempts) -> bool {
        let Some(kind) = JobKind::named(row.asked.kind.as_str()) else {
            return false;
        };
        if model.is_paused(&row.asked.queue) {
            return false;
        }
        attempts.processes.iter().any(|(&process, state)| {
            state.works()
                && kind.is_known_to(process)
                && kind.concurrency.is_none_or(|limit| {
                    let count = attempts.count(process, model, |r| r.asked.kind == row.asked.kind);
                    count < limit as usize
                })
                && self.has_consumer(process, row, model, attempts)
        })
    }

    fn has_consumer(&self, process: usize, row: &Row, model: &Model, attempts: &Attempts) -> bool {
        let is_mail = |row: &Row| row.asked.queue.as_str() == MAIL;
        if is_mail(row) {
            return attempts.count(process, model, is_mail) < MAIL_CONSUMERS;
        }
        let Options { consumers, reserved, .. } = self.options;
        let running = attempts.count(process, model, |row| !is_mail(row));
        // Those that are not reserved may have taken urgent tasks, too.
        let is_urgent = row.asked.priority >= Priority::HIGH;
        running < if is_urgent { consumers } else { consumers - reserved }
    }
}

impl Event {
    fn what_is(&self, change: Change) -> bool {
        matches!(self.what, What::World(what) if what == change)
    }
}

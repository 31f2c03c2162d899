//! What goes out under a lease, and comes back: claims, renewals, rescues.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conveyor::{End, Fence, Kind, Priority, TaskId, TaskState};
use conveyor_core::lanes::AGEING;
use conveyor_core::store::{Renewed, Rescued, RescuedAs};

use super::Findings;
use super::model::{Model, Row};
use crate::world::history::{Event, Given, Wanted};

impl Model {
    pub(super) fn claim(
        &mut self,
        event: &Event,
        wanted: &Wanted,
        given: &[Given],
        found: &mut Findings,
    ) {
        self.processes.insert(wanted.by, event.process);
        let holds = |model: &Model| model.held.get(&wanted.by).map_or(0, BTreeSet::len);
        let is_repeat = |given: &Given| {
            self.rows.get(&given.fence.task).and_then(Row::fence) == Some(given.fence)
                && self.rows[&given.fence.task].is_active()
        };
        if given.iter().all(is_repeat) {
            return;
        }
        let alone_before = self
            .held
            .get(&wanted.by)
            .is_some_and(|held| held.iter().any(|task| self.rows[task].alone));
        if alone_before || (wanted.alone && holds(self) > 0) {
            let tasks = given.iter().map(|given| given.fence.task);
            found.wrong(tasks, "a suspect is claimed with others beside it");
        }
        let mut room: BTreeMap<&Kind, usize> =
            wanted.kinds.iter().map(|(kind, room)| (kind, *room)).collect();
        for given in given {
            self.claim_one(event, wanted, given, &mut room, found);
        }
    }

    fn claim_one<'a>(
        &mut self,
        event: &Event,
        wanted: &'a Wanted,
        given: &Given,
        room: &mut BTreeMap<&'a Kind, usize>,
        found: &mut Findings,
    ) {
        let id = given.fence.task;
        let now = event.wall;
        let Some(row) = self.rows.get(&id) else {
            found.wrong([id], "a task is given out that was never accepted");
            return;
        };
        let asked = &row.asked;
        let mut wrong = |what: &str| found.wrong([id], what);
        if !row.is_claimable(now) {
            wrong(&format!("given out while it is {}, due at {}", row.state, row.due));
        }
        if self.paused.contains(&asked.queue) {
            wrong("given out while its queue is paused");
        }
        if !wanted.queues.contains(&asked.queue) || asked.priority < wanted.min_priority {
            wrong("given to who did not ask for it");
        }
        match room.get_mut(&asked.kind) {
            Some(room) if *room > 0 => *room -= 1,
            _ => wrong("given to who has no room for its kind"),
        }
        if row.suspect != wanted.alone {
            wrong("a suspect is claimed like others, or another as a suspect");
        }
        if given.fence.epoch <= row.epoch || given.fence.incarnation != wanted.by {
            wrong("its fence is not a new one");
        }
        if given.budgets != row.budgets {
            wrong(&format!("it cost {:?}, but is said to: {:?}", row.budgets, given.budgets));
        }
        self.check_order(event, wanted, id, room, found);
        let row = self.rows.get_mut(&id).expect("it was just there");
        row.state = TaskState::Active;
        row.epoch = given.fence.epoch;
        row.holder = Some(wanted.by);
        row.lease_ends = now + wanted.lease;
        row.interrupted = false;
        row.alone = wanted.alone;
        self.held.entry(wanted.by).or_default().insert(id);
    }

    /// Outside the ageing share nothing is given out while something more urgent could be.
    fn check_order(
        &mut self,
        event: &Event,
        wanted: &Wanted,
        id: TaskId,
        room: &BTreeMap<&Kind, usize>,
        found: &mut Findings,
    ) {
        if wanted.alone {
            return;
        }
        self.claims += 1;
        let priority = self.rows[&id].asked.priority;
        let has_room = |kind: &Kind| room.get(kind).is_some_and(|&room| room > 0);
        let passed_over = self.live().find(|row| {
            row.asked.priority > priority
                && row.is_claimable(event.wall)
                && !row.suspect
                && row.asked.id != id
                && has_room(&row.asked.kind)
                && wanted.queues.contains(&row.asked.queue)
                && !self.paused.contains(&row.asked.queue)
        });
        let Some(passed_over) = passed_over.map(|row| row.asked.id) else { return };
        self.out_of_order += 1;
        let share = self.claims / u64::from(AGEING) + 1;
        if wanted.min_priority > Priority::MIN || self.out_of_order > share {
            let what = format!(
                "claimed before a more urgent one, which is not the share of the oldest: {} of {}",
                self.out_of_order, self.claims
            );
            found.wrong([id, passed_over], what);
        }
    }

    pub(super) fn renew(
        &mut self,
        event: &Event,
        fence: Fence,
        lease: Duration,
        reply: Renewed,
        found: &mut Findings,
    ) {
        let row = self.rows.get_mut(&fence.task);
        let current =
            row.filter(|row| row.is_active() && row.fence() == Some(fence) && !row.interrupted);
        let expected = match &current {
            Some(row) => Renewed::Held { cancel: row.cancel },
            None => Renewed::Lost,
        };
        if reply != expected {
            let what = format!("a renewal is {reply:?}, but must be {expected:?}");
            found.wrong([fence.task], what);
        }
        if let Some(row) = current {
            row.lease_ends = event.wall + lease;
        }
    }

    pub(super) fn crash(&mut self, process: usize) {
        for (&by, _) in self.processes.iter().filter(|&(_, of)| *of == process) {
            self.held_at_crash.insert(by, self.held.get(&by).map_or(0, BTreeSet::len));
        }
    }

    pub(super) fn rescue(
        &mut self,
        event: &Event,
        rescued: &Rescued,
        budget: u32,
        found: &mut Findings,
    ) {
        let id = rescued.id;
        let Some(row) = self.rows.get_mut(&id) else {
            found.wrong([id], "a task is taken back that was never accepted");
            return;
        };
        let mut wrong = |what: &str| found.wrong([id], what);
        if !row.is_active() || row.holder != Some(rescued.from) {
            wrong("taken back from who does not hold it");
        }
        if row.lease_ends > event.wall {
            wrong(&format!("taken back while its lease holds, until {}", row.lease_ends));
        }
        let of = self.processes.get(&rescued.from);
        if of == Some(&event.process) && !row.interrupted {
            wrong("a process took back what it holds itself");
        }
        if self.keeps_leases && !row.interrupted {
            wrong("a lease ran out, though nothing was in the way of renewing it");
        }
        let held_at_crash = self.held_at_crash.get(&rescued.from);
        let first = !self.rescued_from.contains(&rescued.from);
        let is_charge = matches!(rescued.rescued_as, RescuedAs::Charged | RescuedAs::Crashed);
        if row.interrupted != (rescued.rescued_as == RescuedAs::Interrupted)
            && rescued.rescued_as != RescuedAs::Cancelled
        {
            wrong("an interruption is not taken for one, or something else is");
        }
        if row.cancel != (rescued.rescued_as == RescuedAs::Cancelled) {
            wrong("it was to be cancelled and is not, or the other way round");
        }
        if !row.interrupted && !row.cancel {
            match held_at_crash {
                Some(1) if first && !is_charge => wrong("it died alone, and is not charged"),
                Some(2..) if is_charge => wrong("it died in company, and is charged"),
                _ => {}
            }
        }
        self.rescued_from.insert(rescued.from);
        if let Some(held) = self.held.get_mut(&rescued.from) {
            held.remove(&id);
        }
        row.holder = None;
        row.queued_at = event.at;
        row.state = TaskState::Queued;
        match rescued.rescued_as {
            RescuedAs::Interrupted => {
                row.budgets.interruptions += 1;
                self.counts.returned += 1;
            }
            RescuedAs::Suspect => {
                row.budgets.interruptions += 1;
                row.suspect = true;
                self.counts.returned += 1;
            }
            RescuedAs::Charged | RescuedAs::Crashed => {
                row.budgets.crashes += 1;
                row.suspect = true;
                let used_up = row.budgets.crashes >= budget;
                if used_up != (rescued.rescued_as == RescuedAs::Crashed) {
                    wrong(&format!("{:?} of a budget of {budget}", rescued.rescued_as));
                }
                if rescued.rescued_as == RescuedAs::Crashed {
                    self.end(id, End::Crashed);
                }
            }
            RescuedAs::Cancelled => self.end(id, End::Cancelled("cancelled on request".into())),
        }
    }
}

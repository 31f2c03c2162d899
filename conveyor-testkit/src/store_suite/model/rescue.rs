//! The reference's rescues.

use conveyor_core::store::{AttemptEnd, Rescue, RescueRequest, Rescued, RescuedAs};
use conveyor_core::{End, TaskState, Timestamp};

use super::reference::{Held, Reference, on_request, same};

impl Reference {
    pub(super) fn rescue(&mut self, request: &RescueRequest, told: &Rescue) -> Held {
        let now = self.now;
        let silence = request.lease - request.lease / 3;
        let last = self.last_rescue.replace(now);
        if last.is_none_or(|last| now > last + silence) {
            self.no_rescue_before = now + request.lease;
        }
        let dead = self.leases(request).filter(|ends| *ends <= now).count();
        same("how many are rescued", &told.rescued.len(), &dead.min(request.limit))?;
        // Whichever the store found first.
        for rescued in &told.rescued {
            let ends = self.rows.get(&rescued.id).filter(|row| row.is_active());
            let ends = ends.map(|row| row.lease_ends.max(self.no_rescue_before));
            if ends.is_none_or(|ends| ends > now) {
                return Err(format!("{rescued:?}, whose lease ends at {ends:?}"));
            }
            self.rescue_one(rescued, request.crash_budget)?;
        }
        match (told.next, self.leases(request).min()) {
            (Some(told), Some(next)) if next <= now && told <= now + self.slack => Ok(()),
            (Some(told), Some(next)) => self.near("when to ask again", told, next),
            (told, next) => same("when to ask again", &told, &next),
        }
    }

    /// When the leases end that the request is about.
    fn leases(&self, request: &RescueRequest) -> impl Iterator<Item = Timestamp> {
        let by = request.by;
        let held = self.rows.values().filter(|row| row.is_active());
        let held = held.filter(move |row| !row.is_held_by(by) || row.interrupted);
        held.map(|row| row.lease_ends.max(self.no_rescue_before))
    }

    fn rescue_one(&mut self, told: &Rescued, crash_budget: u32) -> Held {
        let id = told.id;
        let from = self.row(id)?.info.holder.ok_or("an active task is held")?;
        let held = self.rows.values().filter(|row| row.is_held_by(from)).count();
        let process = self.processes.entry(from).or_default();
        process.died_in_company |= held > 1;
        let in_company = process.died_in_company;
        self.release(id)?;
        let row = self.row(id)?;
        row.claimed_by = None;
        row.info.state = TaskState::Queued;
        let budgets = &mut row.info.budgets;
        let rescued_as = if row.cancel {
            RescuedAs::Cancelled
        } else if row.interrupted {
            budgets.interruptions += 1;
            RescuedAs::Interrupted
        } else if in_company {
            budgets.interruptions += 1;
            row.info.suspect = true;
            RescuedAs::Suspect
        } else {
            budgets.crashes += 1;
            row.info.suspect = true;
            if budgets.crashes < crash_budget { RescuedAs::Charged } else { RescuedAs::Crashed }
        };
        let kind = row.info.kind.clone();
        match rescued_as {
            RescuedAs::Crashed => self.end(id, End::Crashed, Some(from))?,
            RescuedAs::Cancelled => self.end(id, on_request(), Some(from))?,
            RescuedAs::Charged => self.note_attempt(id, from, AttemptEnd::Crashed)?,
            RescuedAs::Interrupted => {
                self.note_attempt(id, from, AttemptEnd::Interrupted)?;
                self.counts(id).returned += 1;
            }
            RescuedAs::Suspect => {
                self.note_attempt(id, from, AttemptEnd::Suspected)?;
                self.counts(id).returned += 1;
            }
        }
        same("a rescue", told, &Rescued { id, kind, from, rescued_as })
    }
}

//! The reference's claims.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use conveyor_core::lanes::AGEING;
use conveyor_core::store::{Claim, ClaimRequest, Claimed};
use conveyor_core::{Fence, Incarnation, Kind, Priority, TaskId, TaskState};

use super::reference::{Held, Reference, Row, same};
use crate::store_suite::task::encoded;

impl Row {
    /// Whether a claim told of it as it is.
    fn is_told(&self, told: &Claimed) -> Held {
        let Claimed { fence, kind, queue, key, priority, budgets, cancel, .. } = told;
        let info = &self.info;
        let holder = info.holder.ok_or("the reference has it held")?;
        let expected = Fence { task: info.id, epoch: info.epoch, incarnation: holder };
        same("the fence", fence, &expected)?;
        same("the kind", kind, &info.kind)?;
        same("the queue", queue, &info.queue)?;
        same("the key", key, &info.key)?;
        same("the priority", priority, &info.priority)?;
        same("the budgets", budgets, &info.budgets)?;
        same("whether it is to be cancelled", cancel, &self.cancel)?;
        same("the payload", &encoded(&told.payload), &self.payload)
    }
}

impl Reference {
    /// Whether a process still holds something of a request.
    pub(super) fn holds_of(&self, by: Incarnation, token: u64) -> bool {
        self.rows.values().any(|row| row.is_held_by(by) && row.token == token)
    }

    pub(super) fn claim(&mut self, request: &ClaimRequest<'_>, told: &Claim) -> Held {
        let by = request.by;
        if let Some(process) = self.processes.get_mut(&by) {
            process.died_in_company = false;
        }
        if self.holds_of(by, request.token) {
            self.is_given_again(request, &told.tasks)?;
        } else if request.alone {
            self.is_given_alone(request, &told.tasks)?;
        } else {
            self.is_given(request, &told.tasks)?;
        }
        let suspects = self.wanted(request, &[], true).next().is_some();
        same("whether suspects wait", &told.suspects, &suspects)
    }

    fn is_given_again(&self, request: &ClaimRequest<'_>, told: &[Claimed]) -> Held {
        let is_meant = |row: &&Row| row.is_held_by(request.by) && row.token == request.token;
        let held: BTreeSet<TaskId> =
            self.rows.values().filter(is_meant).map(|row| row.info.id).collect();
        let given = told.iter().map(|claimed| claimed.fence.task).collect();
        same("what the request was given before", &given, &held)?;
        told.iter().try_for_each(|claimed| self.rows[&claimed.fence.task].is_told(claimed))
    }

    fn is_given_alone(&mut self, request: &ClaimRequest<'_>, told: &[Claimed]) -> Held {
        let may = !self.processes.contains_key(&request.by) && request.demand.room > 0;
        let wanted = self.wanted(request, &[], true).filter(|_| may);
        let next = wanted.min_by_key(|row| (Reverse(row.info.priority), row.place()));
        let next: Vec<TaskId> = next.map(|row| row.info.id).into_iter().collect();
        let given: Vec<TaskId> = told.iter().map(|claimed| claimed.fence.task).collect();
        same("the suspect that is given", &given, &next)?;
        for claimed in told {
            self.take(request, claimed)?;
            self.processes.entry(request.by).or_default().alone = true;
        }
        Ok(())
    }

    fn is_given(&mut self, request: &ClaimRequest<'_>, told: &[Claimed]) -> Held {
        let room = match self.processes.get(&request.by) {
            Some(process) if process.alone => 0,
            _ => request.demand.room,
        };
        let takes_part = request.demand.min_priority == Priority::MIN;
        for (at, claimed) in told.iter().enumerate() {
            let given = claimed.fence.task;
            if at == room {
                return Err(format!("{given} is given, for which there is no room"));
            }
            let wanted = || self.wanted(request, &told[..at], false);
            let urgent = wanted().filter(|row| row.info.priority >= request.demand.min_priority);
            let next = urgent.min_by_key(|row| (Reverse(row.info.priority), row.place()));
            let next = next.map(|row| row.info.id);
            let oldest = wanted().min_by_key(|row| row.place()).map(|row| row.info.id);
            if next != Some(given) {
                if !takes_part || oldest != Some(given) {
                    return Err(format!("{given} is given, but {next:?} is next"));
                }
                self.aged += 1;
            }
            self.turns += if takes_part { request.demand.queues.len() as u64 } else { 0 };
            self.take(request, claimed)?;
        }
        let every = u64::from(AGEING);
        if self.aged > self.turns / every + 2 {
            return Err(format!("{} of {} claims went to the oldest", self.aged, self.turns));
        }
        let left = self
            .wanted(request, told, false)
            .find(|row| told.len() < room && row.info.priority >= request.demand.min_priority);
        left.map_or(Ok(()), |row| Err(format!("{:?} is not given", row.info)))
    }

    /// The claimable tasks that the request has room for, suspects or others.
    fn wanted(
        &self,
        request: &ClaimRequest<'_>,
        given: &[Claimed],
        suspects: bool,
    ) -> impl Iterator<Item = &Row> {
        let demand = request.demand;
        let now = self.now;
        let least = if suspects { demand.min_priority } else { Priority::MIN };
        let mut room: BTreeMap<Kind, usize> =
            demand.kinds.iter().map(|kind| (kind.kind.clone(), kind.room)).collect();
        for given in given {
            room.entry(given.kind.clone()).and_modify(|room| *room = room.saturating_sub(1));
        }
        self.rows.values().filter(move |row| {
            let info = &row.info;
            row.is_claimable(now)
                && info.suspect == suspects
                && info.priority >= least
                && demand.queues.contains(&info.queue)
                && !self.paused.contains(&info.queue)
                && room.get(&info.kind).is_some_and(|room| *room > 0)
        })
    }

    fn take(&mut self, request: &ClaimRequest<'_>, claimed: &Claimed) -> Held {
        let lease_ends = self.now + request.lease;
        self.processes.entry(request.by).or_default();
        let row = self.row(claimed.fence.task)?;
        row.info.state = TaskState::Active;
        row.info.epoch += 1;
        row.info.holder = Some(request.by);
        row.claimed_by = Some(request.by);
        row.token = request.token;
        row.lease_ends = lease_ends;
        row.interrupted = false;
        row.is_told(claimed)
    }
}

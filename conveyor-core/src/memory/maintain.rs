//! Maintain: leases are renewed and taken back, due tasks promoted, schedules ticked, ends pruned.

use super::MemoryStore;
use super::entry::Record;
use super::settle::ON_REQUEST;
use super::table::{Inserted, Table};
use super::wake::After;
use crate::id::{Fence, Incarnation, TaskId};
use crate::name::{Kind, QueueName};
use crate::outcome::End;
use crate::plant::{Plant, planted};
use crate::schedule::{Overlap, Schedule};
use crate::state::TaskState;
use crate::store::{
    AttemptEnd, CancelReply, Renewed, Rescue, RescueRequest, Rescued, RescuedAs,
    ScheduleDefinition, ScheduleState, Tick, Ticked,
};
use crate::time::Timestamp;
use std::time::Duration;

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct ScheduleRow {
    schedule: Schedule,
    revision: u64,
    anchor: Timestamp,
    mark: Timestamp,
    /// The task of its last tick.
    last: Option<TaskId>,
}

impl ScheduleRow {
    fn state(&self, now: Timestamp) -> ScheduleState {
        ScheduleState {
            schedule: self.schedule.clone(),
            revision: self.revision,
            anchor: self.anchor,
            mark: self.mark,
            now,
        }
    }
}

impl MemoryStore {
    pub(super) fn renew_leases(
        &self,
        by: Incarnation,
        fences: &[Fence],
        lease: Duration,
    ) -> Vec<Renewed> {
        let mut table = self.lock();
        let lease_ends = self.now() + lease;
        if let Some(holder) = table.holders.get_mut(&by) {
            holder.died_in_company = false;
        }
        let renew = |fence: &Fence| {
            let Some(task) = table.find(fence.task) else {
                return Renewed::Lost;
            };
            let entry = table.get_mut(task);
            let is_fence = entry.record.epoch == fence.epoch
                && entry.record.holder == fence.incarnation
                && fence.incarnation == by;
            let current = entry.state == TaskState::Active
                && (is_fence || planted(Plant::RenewWithoutFence))
                && !entry.interrupted;
            if !current {
                return Renewed::Lost;
            }
            entry.lease_ends = lease_ends;
            Renewed::Held { cancel: entry.cancel }
        };
        fences.iter().map(renew).collect()
    }

    pub(super) fn rescue_leases(&self, request: &RescueRequest) -> Rescue {
        let mut after = After::default();
        let rescue = {
            let mut table = self.lock();
            let now = self.now();
            let rescue = rescue_from(&mut table, request, now, &mut after);
            table.forget_ends_beyond(self.retention.count);
            rescue
        };
        after.room = self.capacity.is_some();
        self.finish(after);
        rescue
    }

    pub(super) fn promote_due(&self, limit: usize) -> Option<Timestamp> {
        let mut after = After::default();
        let next = {
            let mut table = self.lock();
            let now = self.now();
            for _ in 0..limit {
                let Some(task) = table.promote_next(now) else {
                    break;
                };
                after.waiting(&table, task);
            }
            table.next_due()
        };
        self.finish(after);
        next
    }

    pub(super) fn put(&self, definition: ScheduleDefinition) -> ScheduleState {
        let mut after = After::default();
        let state = {
            let mut table = self.lock();
            let now = self.now();
            let ScheduleDefinition { name, schedule } = definition;
            let before = table.schedules.get(&name);
            if let Some(row) = before.filter(|row| row.schedule == schedule) {
                return row.state(now);
            }
            // The anchor itself is the first instant of an interval, so it is not done with yet.
            let mark = now - Duration::from_micros(1);
            let row = ScheduleRow {
                schedule,
                revision: before.map_or(1, |row| row.revision + 1),
                anchor: now,
                mark: before.map_or(mark, |row| row.mark.max(mark)),
                last: before.and_then(|row| row.last),
            };
            let state = row.state(now);
            table.schedules.insert(name, row);
            state
        };
        after.schedule_changed = true;
        self.finish(after);
        state
    }

    pub(super) fn remove(&self, name: &Kind) {
        let removed = self.lock().schedules.remove(name);
        self.finish(After { schedule_changed: removed.is_some(), ..After::default() });
    }

    pub(super) fn tick_all(&self, batch: Vec<Tick>) -> Vec<Ticked> {
        let mut after = After::default();
        let replies = {
            let mut table = self.lock();
            let now = self.now();
            batch.into_iter().map(|tick| tick_one(&mut table, tick, now, &mut after)).collect()
        };
        self.finish(after);
        replies
    }

    pub(super) fn cancel_tasks(&self, ids: &[TaskId]) -> Vec<CancelReply> {
        let mut after = After::default();
        let replies = {
            let mut table = self.lock();
            let watched = self.ends_are_watched();
            let now = self.now();
            let replies = ids
                .iter()
                .map(|&id| {
                    let Some(task) = table.find(id) else {
                        let ended = table.find_ended(id).is_some();
                        return if ended {
                            CancelReply::AlreadyEnded
                        } else {
                            CancelReply::Unknown
                        };
                    };
                    match table.get(task).state {
                        TaskState::Ended => CancelReply::AlreadyEnded,
                        TaskState::Active => {
                            table.get_mut(task).cancel = true;
                            after.cancel_requested.push(id);
                            CancelReply::Requested
                        }
                        TaskState::Queued | TaskState::Scheduled | TaskState::Parked => {
                            let end = End::Cancelled(ON_REQUEST.to_owned());
                            if watched {
                                after.ended.push((id, end.clone()));
                            }
                            after.dropped.push(table.end(task, end, None, now));
                            CancelReply::Cancelled
                        }
                    }
                })
                .collect();
            table.forget_ends_beyond(self.retention.count);
            replies
        };
        after.room = self.capacity.is_some();
        self.finish(after);
        replies
    }

    pub(super) fn pause_queue(&self, queue: &QueueName, paused: bool) {
        let mut after = After::default();
        {
            let mut table = self.lock();
            if table.streams.pause(queue, paused) && !paused {
                for (task, entry) in table.iter() {
                    let stream = table.streams.get(entry.record.stream);
                    if entry.state == TaskState::Queued && stream.queue == *queue {
                        after.waiting(&table, task);
                    }
                }
            }
        }
        self.finish(after);
    }

    pub(super) fn prune_ends(&self, limit: usize) -> usize {
        let mut table = self.lock();
        let oldest = self.now() - self.retention.age;
        let mut pruned = 0;
        while pruned < limit && table.ends.oldest().is_some_and(|ended| ended.at < oldest) {
            table.forget_oldest_end();
            pruned += 1;
        }
        pruned
    }
}

fn rescue_from(
    table: &mut Table,
    request: &RescueRequest,
    now: Timestamp,
    after: &mut After,
) -> Rescue {
    // Silence, or a clock that jumped: the holders have not had their chance to renew. They renew
    // every third of a lease, and processes ask every half of one, so that whatever silence makes
    // a lease run out is longer than this.
    let silence = request.lease - request.lease / 3;
    let last = table.last_rescue.replace(now);
    if last.is_none_or(|last| now.saturating_since(last) > silence || now < last) {
        table.no_rescue_before = now + request.lease;
    }
    if last.is_some_and(|last| now < last) {
        // What was set before the clock went back would hold for as long as it went.
        table.shorten_leases(now + request.lease);
    }

    let mut rescue = Rescue::default();
    let mut others: Vec<(u32, Timestamp)> = table
        .iter()
        .filter(|(_, entry)| entry.state == TaskState::Active)
        .filter(|(_, entry)| entry.record.holder != request.by || entry.interrupted)
        .map(|(task, entry)| (task, entry.lease_ends.max(table.no_rescue_before)))
        .collect();
    // Tasks take each other's places in the table; the order of claims is the order of rescues.
    others.sort_by_key(|&(task, ends)| (ends, table.get(task).record.place));
    for (task, ends) in others {
        if ends > now || rescue.rescued.len() == request.limit {
            rescue.next = Some(ends.max(now));
            break;
        }
        rescue.rescued.push(rescue_one(table, task, request, now, after));
    }
    rescue
}

fn rescue_one(
    table: &mut Table,
    task: u32,
    request: &RescueRequest,
    now: Timestamp,
    after: &mut After,
) -> Rescued {
    let entry = table.get_mut(task);
    let Record { id, holder: from, stream, .. } = entry.record;
    let (interrupted, cancel) = (entry.interrupted, entry.cancel);
    // From now on the old fence is nobody's.
    if !planted(Plant::RescueKeepsFence) {
        entry.record.holder = Incarnation::new(0);
    }
    let holder = table.holders.get_mut(&from);
    let in_company = holder.is_some_and(|holder| {
        holder.died_in_company |= holder.held > 1;
        holder.died_in_company
    });
    table.release(from);

    let rescued_as = if cancel {
        RescuedAs::Cancelled
    } else if interrupted {
        let budgets = &mut table.get_mut(task).record.extra_mut().budgets;
        budgets.interruptions += 1;
        table.streams.counts(stream).returned += 1;
        RescuedAs::Interrupted
    } else if in_company {
        table.get_mut(task).record.extra_mut().budgets.interruptions += 1;
        table.streams.counts(stream).returned += 1;
        table.get_mut(task).suspect = true;
        RescuedAs::Suspect
    } else {
        let entry = table.get_mut(task);
        entry.suspect = true;
        let crashes = &mut entry.record.extra_mut().budgets.crashes;
        *crashes += u32::from(!planted(Plant::CrashNotCharged));
        if *crashes >= request.crash_budget { RescuedAs::Crashed } else { RescuedAs::Charged }
    };
    let goes_on = match rescued_as {
        RescuedAs::Crashed => Err(End::Crashed),
        RescuedAs::Cancelled => Err(End::Cancelled(ON_REQUEST.to_owned())),
        RescuedAs::Interrupted => Ok(AttemptEnd::Interrupted),
        RescuedAs::Suspect => Ok(AttemptEnd::Suspected),
        RescuedAs::Charged => Ok(AttemptEnd::Crashed),
    };
    match goes_on {
        Err(end) => {
            after.ended.push((id, end.clone()));
            after.dropped.push(table.end(task, end, Some(from), now));
        }
        Ok(ended) => {
            table.note_attempt(task, from, ended, now);
            table.give_back(task);
            after.waiting(table, task);
        }
    }
    let kind = table.streams.get(stream).kind.clone();
    Rescued { id, kind, from, rescued_as }
}

fn tick_one(table: &mut Table, tick: Tick, now: Timestamp, after: &mut After) -> Ticked {
    let Some(row) = table.schedules.get(&tick.name) else {
        after.drop_all(tick.task);
        return Ticked::Gone;
    };
    let is_first = row.mark == tick.from || planted(Plant::TickTwice);
    if row.revision != tick.revision || !is_first || tick.to <= tick.from {
        after.drop_all(tick.task);
        return Ticked::Stale(row.state(now));
    }
    let overlaps = row.schedule.overlap == Overlap::Skip
        && row.last.is_some_and(|last| table.find(last).is_some());
    let fired = match tick.task {
        Some(task) if !overlaps => {
            let id = task.id;
            match table.insert(task, now) {
                Inserted::Accepted(task) => {
                    after.waiting(table, task);
                    Some(id)
                }
                Inserted::Known(payload) | Inserted::Duplicate(_, payload) => {
                    after.dropped.push(payload);
                    None
                }
            }
        }
        skipped => {
            after.drop_all(skipped);
            None
        }
    };
    if let Some(row) = table.schedules.get_mut(&tick.name) {
        row.mark = tick.to;
        row.last = fired.or(row.last);
    }
    fired.map_or(Ticked::Skipped, Ticked::Fired)
}

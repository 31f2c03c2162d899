//! Settle: how attempts ended is recorded, if their fence is the current one.

use std::time::Duration;

use super::MemoryStore;
use super::entry::Record;
use super::table::{Inserted, Table};
use super::wake::After;
use crate::id::{Fence, Incarnation};
use crate::outcome::End;
use crate::plant::{Plant, planted};
use crate::state::TaskState;
use crate::store::{AttemptEnd, NewTask, Settle, Settled, Verdict};
use crate::time::Timestamp;

/// Why a task ended that was cancelled on request.
pub(super) const ON_REQUEST: &str = "cancelled on request";

impl MemoryStore {
    pub(super) fn settle_all(&self, batch: Vec<Settle>) -> Vec<Settled> {
        let mut after = After::default();
        after.dropped.reserve(batch.len());
        let replies = {
            let mut table = self.lock();
            let watched = self.ends_are_watched();
            let now = self.now();
            let replies = batch
                .into_iter()
                .map(|settle| settle_one(&mut table, settle, now, watched, &mut after))
                .collect();
            table.forget_ends_beyond(self.retention.count);
            replies
        };
        after.room = self.capacity.is_some();
        self.finish(after);
        replies
    }
}

fn settle_one(
    table: &mut Table,
    settle: Settle,
    now: Timestamp,
    watched: bool,
    after: &mut After,
) -> Settled {
    let Settle { fence, ticket, verdict, children, panicked, timed_out } = settle;
    let task = match current(table, fence, ticket, &verdict) {
        Ok(task) => task,
        Err(refused) => {
            if planted(Plant::FencedCounted) && refused == Settled::Fenced {
                count_refused(table, fence, &verdict);
            }
            after.drop_all(children);
            return refused;
        }
    };
    let stream = table.get(task).record.stream;
    let counts = table.streams.counts(stream);
    counts.panicked += u64::from(panicked);
    counts.timed_out += u64::from(timed_out);
    if verdict == Verdict::Interrupt {
        table.get_mut(task).interrupted = true;
        after.drop_all(children);
        return Settled::Applied;
    }
    table.release(fence.incarnation);
    match apply(table, task, verdict, fence.incarnation, now) {
        Some(end) => {
            if watched {
                after.ended.push((fence.task, end.clone()));
            }
            after.dropped.push(table.end(task, end, Some(fence.incarnation), now));
        }
        None => after.waiting(table, task),
    }
    insert_children(table, children, now, after);
    Settled::Applied
}

/// The task that the fence holds, if the verdict can take effect on it.
fn current(table: &Table, fence: Fence, ticket: u64, verdict: &Verdict) -> Result<u32, Settled> {
    let is_fence = |record: &Record| {
        let is_current = record.epoch == fence.epoch && record.holder == fence.incarnation;
        is_current || planted(Plant::SettleWithoutFence)
    };
    let Some(task) = table.find_by_ticket(ticket, fence.task) else {
        // The holder and the epoch stay: perhaps it was this very attempt that ended the task.
        let ended = table.find_ended(fence.task).filter(|record| is_fence(record));
        return Err(if ended.is_some() { Settled::Already } else { Settled::Fenced });
    };
    let entry = table.get(task);
    if !is_fence(&entry.record) {
        return Err(Settled::Fenced);
    }
    if entry.state != TaskState::Active || (entry.interrupted && *verdict == Verdict::Interrupt) {
        // They stay until the next claim: this very attempt was settled.
        return Err(Settled::Already);
    }
    Ok(task)
}

/// The planted bug of counting what is refused.
fn count_refused(table: &mut Table, fence: Fence, verdict: &Verdict) {
    let live = table.find(fence.task).map(|task| table.get(task).record.stream);
    let ended = || table.find_ended(fence.task).map(|record| record.stream);
    if let Some(stream) = live.or_else(ended) {
        let counts = table.streams.counts(stream);
        match verdict {
            Verdict::Succeed => counts.processed += 1,
            Verdict::Retry { .. } => counts.retried += 1,
            Verdict::Return { started: true } => counts.returned += 1,
            _ => {}
        }
    }
}

/// Moves a task that `by` held as the verdict says, and counts what it cost; unless that is its end,
/// which it tells.
fn apply(
    table: &mut Table,
    task: u32,
    verdict: Verdict,
    by: Incarnation,
    now: Timestamp,
) -> Option<End> {
    let cancel = table.get(task).cancel;
    // An attempt that is not made again is counted by its end alone.
    let again = u64::from(!cancel);
    let stream = table.get(task).record.stream;
    match verdict {
        Verdict::Succeed => Some(End::Succeeded),
        Verdict::Cancel { why } => Some(End::Cancelled(why)),
        Verdict::Fail { error } => {
            table.get_mut(task).record.extra_mut().budgets.errors += 1;
            Some(End::Failed(error))
        }
        Verdict::Retry { delay, error } => {
            let extra = table.get_mut(task).record.extra_mut();
            extra.budgets.errors += 1;
            extra.note = Some(error.clone());
            table.streams.counts(stream).retried += again;
            let delay = if planted(Plant::BackoffIgnored) { Duration::ZERO } else { delay };
            let ended = (by, AttemptEnd::Failed(error));
            postpone_unless(cancel, table, task, now + delay, ended, now)
        }
        Verdict::Snooze { delay } => {
            table.get_mut(task).record.extra_mut().budgets.snoozes += 1;
            table.streams.counts(stream).snoozed += again;
            postpone_unless(cancel, table, task, now + delay, (by, AttemptEnd::Snoozed), now)
        }
        Verdict::Return { started } => {
            if started {
                let budgets = &mut table.get_mut(task).record.extra_mut().budgets;
                if planted(Plant::InterruptionCharged) {
                    budgets.errors += 1;
                } else {
                    budgets.interruptions += 1;
                }
                table.streams.counts(stream).returned += again;
            }
            if cancel {
                Some(End::Cancelled(ON_REQUEST.to_owned()))
            } else {
                if started {
                    table.note_attempt(task, by, AttemptEnd::Returned, now);
                }
                table.give_back(task);
                None
            }
        }
        Verdict::Park { reason } => {
            if cancel {
                Some(End::Cancelled(ON_REQUEST.to_owned()))
            } else {
                let entry = table.get_mut(task);
                entry.suspect = false;
                entry.record.extra_mut().note = Some(reason.clone());
                table.note_attempt(task, by, AttemptEnd::Parked(reason), now);
                table.park(task);
                None
            }
        }
        Verdict::Interrupt => unreachable!("an interrupted lease is left to run out"),
    }
}

/// Has the task wait until `due`, unless it is to be cancelled: then that is its end.
fn postpone_unless(
    cancel: bool,
    table: &mut Table,
    task: u32,
    due: Timestamp,
    (by, ended): (Incarnation, AttemptEnd),
    now: Timestamp,
) -> Option<End> {
    if cancel {
        return Some(End::Cancelled(ON_REQUEST.to_owned()));
    }
    // It came back alive: whatever took its process down, it was not this.
    table.get_mut(task).suspect = false;
    table.note_attempt(task, by, ended, now);
    table.postpone(task, due, now);
    None
}

fn insert_children(table: &mut Table, children: Vec<NewTask>, now: Timestamp, after: &mut After) {
    for child in children {
        match table.insert(child, now) {
            Inserted::Accepted(child) => after.waiting(table, child),
            Inserted::Known(payload) | Inserted::Duplicate(_, payload) => {
                after.dropped.push(payload);
            }
        }
    }
}

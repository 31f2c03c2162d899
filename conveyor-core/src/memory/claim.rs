//! Claim: tasks go out under a lease.

use std::cmp::Reverse;

use super::MemoryStore;
use super::holder::Holder;
use super::table::Table;
use super::wake::After;
use crate::id::Fence;
use crate::lanes::AGEING;
use crate::priority::Priority;
use crate::state::TaskState;
use crate::store::{Claim, ClaimRequest, Claimed, Demand};
use crate::time::Timestamp;

/// How many due tasks a claim makes claimable before it looks whether that is enough. Of a herd
/// that is due at one instant and larger than this, the earliest go first, whatever their priority:
/// the price of never holding the lock for as long as a herd is large.
const PROMOTED_AT_ONCE: usize = 256;

impl MemoryStore {
    pub(super) fn claim_tasks(&self, request: &ClaimRequest<'_>) -> Claim {
        let mut promoted = Vec::new();
        let mut after = After::default();
        let claim = {
            let mut table = self.lock();
            let now = self.now();
            let claim = claim_from(&mut table, request, now, &mut promoted);
            tell_of_promoted(&table, &promoted, &mut after);
            claim
        };
        if !promoted.is_empty() {
            self.finish(after);
        }
        claim
    }
}

/// Tells of the due tasks that a claim made claimable.
fn tell_of_promoted(table: &Table, promoted: &[u32], after: &mut After) {
    let is_left = |&task: &u32| table.get(task).state == TaskState::Queued;
    let in_lanes = |task: &u32| is_left(task) && !table.get(*task).suspect;
    let told_before = table.lanes.len() > promoted.iter().filter(|task| in_lanes(task)).count();
    for &task in promoted {
        if is_left(&task) {
            // For others, who would hear of it from nobody else.
            after.waiting(table, task);
        } else if told_before {
            // The claimer may have been woken for one that is left, and took this one, which
            // nobody was woken for.
            after.claimable(table, task);
        }
    }
}

fn claim_from(
    table: &mut Table,
    request: &ClaimRequest<'_>,
    now: Timestamp,
    promoted: &mut Vec<u32>,
) -> Claim {
    let demand = &request.demand;
    let holder = table.holders.get_mut(&request.by).map(|holder| {
        holder.died_in_company = false;
        *holder
    });
    table.streams.prepare(demand);
    // After a long outage, others may have been given much before the request comes again.
    let long_before = match holder {
        Some(holder) if holder.may_have_been_given(request.token) => given_before(table, request),
        _ => Vec::new(),
    };
    let tasks = match holder {
        Some(holder) if holder.was_given(request.token) => given_before(table, request),
        _ if !long_before.is_empty() => long_before,
        _ => {
            let tasks = take_tasks(table, request, holder, now, promoted);
            if !tasks.is_empty() {
                let holder = table.holders.entry(request.by).or_default();
                holder.give(request.token);
                holder.alone = request.alone;
            }
            tasks
        }
    };
    // What this claim took is of no matter: to take a suspect, the process first settles it.
    let suspects = !table.suspects.is_empty() && {
        table.streams.prepare(demand);
        let mut suspects = table.suspects.iter();
        suspects.any(|&(_, _, task)| is_wanted(table, demand, task))
    };
    Claim { tasks, suspects }
}

/// What the request was given when it came for the first time, as far as it is held still.
fn given_before(table: &Table, request: &ClaimRequest<'_>) -> Vec<Claimed> {
    let mut tasks: Vec<u32> = table
        .iter()
        .filter(|(_, entry)| entry.state == TaskState::Active)
        .filter(|(_, entry)| entry.record.holder == request.by && entry.token == request.token)
        .map(|(task, _)| task)
        .collect();
    tasks.sort_unstable_by_key(|&task| {
        let entry = table.get(task);
        (Reverse(entry.record.priority), entry.record.place)
    });
    tasks.iter().map(|&task| claimed(table, task)).collect()
}

/// Takes what the request asks for, as far as its process may have it.
fn take_tasks(
    table: &mut Table,
    request: &ClaimRequest<'_>,
    holder: Option<Holder>,
    now: Timestamp,
    promoted: &mut Vec<u32>,
) -> Vec<Claimed> {
    let demand = &request.demand;
    let lease_ends = now + request.lease;
    let mut tasks = Vec::new();
    if request.alone {
        if holder.is_none()
            && demand.room > 0
            && let Some(task) = next_suspect(table, demand)
        {
            tasks.push(take(table, task, request, lease_ends));
        }
        return tasks;
    }
    if holder.is_some_and(|holder| holder.alone) {
        return tasks;
    }
    tasks.reserve(demand.room.min(table.lanes.len()));
    let mut all_due = false;
    while !all_due && tasks.len() < demand.room {
        all_due = promote(table, now, promoted);
        while tasks.len() < demand.room
            && let Some(task) = next_task(table, demand)
        {
            tasks.push(take(table, task, request, lease_ends));
        }
    }
    tasks
}

/// Makes so many due tasks claimable; `true` if these were all.
fn promote(table: &mut Table, now: Timestamp, promoted: &mut Vec<u32>) -> bool {
    for _ in 0..PROMOTED_AT_ONCE {
        match table.promote_next(now) {
            Some(task) => promoted.push(task),
            None => return true,
        }
    }
    false
}

/// The task that is next for this demand, out of its lane.
fn next_task(table: &mut Table, demand: &Demand<'_>) -> Option<u32> {
    let Table { lanes, streams, .. } = table;
    if lanes.is_empty() {
        return None;
    }
    // A reserved consumer is there for urgent tasks alone.
    let takes_part = demand.min_priority == Priority::MIN;
    let ageing = takes_part && streams.is_ageing_turn(AGEING);
    let task = if ageing {
        lanes.pop_oldest(|stream| streams.admits(stream))
    } else {
        lanes.pop(demand.min_priority, |stream| streams.admits(stream))
    }?;
    if takes_part {
        streams.count_turn(ageing);
    }
    Some(task)
}

fn next_suspect(table: &mut Table, demand: &Demand<'_>) -> Option<u32> {
    let found = table.suspects.iter().copied().find(|&(_, _, task)| is_wanted(table, demand, task));
    let suspect = found?;
    table.suspects.remove(&suspect);
    Some(suspect.2)
}

fn is_wanted(table: &Table, demand: &Demand<'_>, task: u32) -> bool {
    let entry = table.get(task);
    entry.record.priority >= demand.min_priority && table.streams.admits(entry.record.stream)
}

/// Gives a task out under a lease.
fn take(
    table: &mut Table,
    task: u32,
    request: &ClaimRequest<'_>,
    lease_ends: Timestamp,
) -> Claimed {
    table.claim(task, request.by, request.token, lease_ends);
    let stream = table.get(task).record.stream;
    table.streams.take(stream);
    claimed(table, task)
}

/// What the holder of an active task gets.
fn claimed(table: &Table, task: u32) -> Claimed {
    let entry = table.get(task);
    let record = &entry.record;
    let (stream, extra) = (table.streams.get(record.stream), record.extra());
    Claimed {
        fence: Fence { task: record.id, epoch: record.epoch, incarnation: record.holder },
        ticket: u64::from(task),
        kind: stream.kind.clone(),
        queue: stream.queue.clone(),
        key: record.key.clone(),
        priority: record.priority,
        payload: entry.payload.clone(),
        timeout: extra.and_then(|extra| extra.timeout),
        retries: extra.and_then(|extra| extra.retries),
        budgets: record.budgets(),
        cancel: entry.cancel,
    }
}

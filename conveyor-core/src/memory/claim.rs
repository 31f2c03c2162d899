//! Claim: tasks go out under a lease.

use super::MemoryStore;
use super::table::Table;
use super::wake::After;
use crate::id::Fence;
use crate::lanes::AGEING;
use crate::priority::Priority;
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
            for &task in &promoted {
                // What is left is for others, who would hear of it from nobody else.
                after.waiting(&table, task);
            }
            claim
        };
        if !promoted.is_empty() {
            self.finish(after);
        }
        claim
    }
}

fn claim_from(
    table: &mut Table,
    request: &ClaimRequest<'_>,
    now: Timestamp,
    promoted: &mut Vec<u32>,
) -> Claim {
    let demand = &request.demand;
    let lease_ends = now + request.lease;
    let holder = table.holders.entry(request.by).or_default();
    holder.died_in_company = false;
    let (held, alone) = (holder.held, holder.alone);
    table.streams.prepare(demand);
    let mut claim = Claim::default();
    claim.tasks.reserve(demand.room.min(table.lanes.len()));
    let mut all_due = false;
    while !all_due && (promoted.is_empty() || claim.tasks.len() < demand.room) {
        all_due = promote(table, now, promoted);
        if request.alone || alone {
            break;
        }
        while claim.tasks.len() < demand.room {
            let Some(task) = next_task(table, demand) else {
                break;
            };
            claim.tasks.push(take(table, task, request, lease_ends));
        }
    }
    if request.alone
        && held == 0
        && demand.room > 0
        && let Some(task) = next_suspect(table, demand)
    {
        claim.tasks.push(take(table, task, request, lease_ends));
        table.holders.entry(request.by).or_default().alone = true;
    }
    if !table.suspects.is_empty() {
        // What this claim took is of no matter: to take a suspect, the process first settles it.
        table.streams.prepare(demand);
        claim.suspects = table.suspects.iter().any(|&(_, _, task)| is_wanted(table, demand, task));
    }
    claim
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
    entry.priority >= demand.min_priority && table.streams.admits(entry.stream)
}

/// Gives a task out under a lease.
fn take(
    table: &mut Table,
    task: u32,
    request: &ClaimRequest<'_>,
    lease_ends: Timestamp,
) -> Claimed {
    table.claim(task, request.by, lease_ends);
    table.holders.entry(request.by).or_default().held += 1;
    let stream_number = table.get(task).stream;
    table.streams.take(stream_number);
    let (entry, stream) = (table.get(task), table.streams.get(stream_number));
    let extra = entry.extra();
    Claimed {
        fence: Fence { task: entry.id, epoch: entry.epoch, incarnation: request.by },
        ticket: u64::from(task),
        kind: stream.kind.clone(),
        queue: stream.queue.clone(),
        key: entry.key.clone(),
        priority: entry.priority,
        payload: entry.payload.clone().expect("invariant: a live task has its payload"),
        timeout: extra.and_then(|extra| extra.timeout),
        retries: extra.and_then(|extra| extra.retries),
        budgets: entry.budgets(),
        cancel: entry.cancel,
    }
}

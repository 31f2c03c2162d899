//! Claim: tasks go out under a lease.

use super::MemoryStore;
use super::table::Table;
use crate::id::Fence;
use crate::lanes::AGEING;
use crate::priority::Priority;
use crate::store::{Claim, ClaimRequest, Claimed, Demand};

/// The most due tasks that one claim makes claimable: the rest is the next claim's.
const PROMOTED_PER_CLAIM: usize = 256;

impl MemoryStore {
    pub(super) fn claim_tasks(&self, request: &ClaimRequest<'_>) -> Claim {
        let mut table = self.lock();
        let table = &mut *table;
        let now = self.now();
        for _ in 0..PROMOTED_PER_CLAIM {
            if table.promote_next(now).is_none() {
                break;
            }
        }
        table.streams.prepare(&request.demand);
        let holder = table.holders.entry(request.by).or_default();
        holder.died_in_company = false;
        let (held, alone) = (holder.held, holder.alone);
        let mut claim = Claim::default();
        if request.alone {
            let task = if held == 0 && request.demand.room > 0 {
                next_suspect(table, &request.demand)
            } else {
                None
            };
            if let Some(task) = task {
                table.holders.entry(request.by).or_default().alone = true;
                claim
                    .tasks
                    .push(take(table, task, request, now + request.lease));
            }
        } else if !alone {
            while claim.tasks.len() < request.demand.room {
                let Some(task) = next_task(table, &request.demand) else {
                    break;
                };
                claim
                    .tasks
                    .push(take(table, task, request, now + request.lease));
            }
        }
        if !table.suspects.is_empty() {
            // What this claim took is of no matter: to take a suspect, the process first settles it.
            table.streams.prepare(&request.demand);
            claim.suspects = table
                .suspects
                .iter()
                .any(|&(_, _, task)| is_wanted(table, &request.demand, task));
        }
        claim
    }
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
    let found = table
        .suspects
        .iter()
        .copied()
        .find(|&(_, _, task)| is_wanted(table, demand, task));
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
    lease_ends: crate::time::Timestamp,
) -> Claimed {
    table.claim(task, request.by, lease_ends);
    table.holders.entry(request.by).or_default().held += 1;
    let stream_number = table.get(task).stream;
    table.streams.take(stream_number);
    let (entry, stream) = (table.get(task), table.streams.get(stream_number));
    let extra = entry.extra();
    Claimed {
        fence: Fence {
            task: entry.id,
            epoch: entry.epoch,
            incarnation: request.by,
        },
        ticket: u64::from(task),
        kind: stream.kind.clone(),
        queue: stream.queue.clone(),
        key: entry.key.clone(),
        priority: entry.priority,
        payload: entry
            .payload
            .clone()
            .expect("invariant: a live task has its payload"),
        timeout: extra.and_then(|extra| extra.timeout),
        retries: extra.and_then(|extra| extra.retries),
        budgets: entry.budgets(),
        cancel: entry.cancel,
    }
}

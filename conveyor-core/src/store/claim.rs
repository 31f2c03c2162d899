//! What goes out, and for how long: claims, renewals, rescues.

use std::time::Duration;

use super::settle::Budgets;
use crate::id::{Fence, Incarnation, TaskId};
use crate::name::{Key, Kind, QueueName};
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::time::Timestamp;

/// A process's request for tasks.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// Who asks.
    pub by: Incarnation,
    /// The request's own number, above those of the process's requests before it: sent again, it
    /// is answered with the same claims, in any order, as far as they are held still.
    pub token: u64,
    /// How long the claims hold without a renewal.
    pub lease: Duration,
    /// What is asked for.
    pub demand: Demand<'a>,
    /// Asks for one suspect, and for nothing else. It is given only if the process holds no other
    /// claim, and until it is settled the process is given nothing more.
    pub alone: bool,
}

/// What a process has room for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The queues to take from, as if they were one.
    pub queues: &'a [QueueName],
    /// The kinds that are known, with the room for each.
    pub kinds: &'a [KindRoom],
    /// The least priority to take. Above [`Priority::MIN`] the request is a reserved consumer's,
    /// and takes no part in ageing.
    pub min_priority: Priority,
    /// The most tasks to take.
    pub room: usize,
}

/// How many tasks of a kind a process has room for.
#[derive(Clone, Debug)]
pub struct KindRoom {
    /// The kind.
    pub kind: Kind,
    /// The most tasks of it to take.
    pub room: usize,
}

/// The reply to a [`ClaimRequest`].
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// What was claimed, in the order in which it should start.
    pub tasks: Vec<Claimed>,
    /// Whether a suspect waits that the process could claim alone.
    pub suspects: bool,
}

/// A task under a lease.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What proves the claim.
    pub fence: Fence,
    /// The store's own note of where the task is, to be handed back in the settle.
    pub ticket: u64,
    /// The task's kind.
    pub kind: Kind,
    /// The task's queue.
    pub queue: QueueName,
    /// The task's dedup key.
    pub key: Option<Key>,
    /// The task's priority.
    pub priority: Priority,
    /// What the worker gets.
    pub payload: AnyPayload,
    /// How long one attempt may take, if the task itself says.
    pub timeout: Option<Duration>,
    /// How many attempts may follow the first after errors, if the task itself says.
    pub retries: Option<u32>,
    /// What it has cost so far.
    pub budgets: Budgets,
    /// Somebody asked for it to be cancelled, before a rescue brought it back.
    pub cancel: bool,
}

/// The reply to the renewal of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The lease holds.
    Held {
        /// Somebody asked for the task to be cancelled.
        cancel: bool,
    },
    /// The fence is not the current one: the attempt can change nothing any more.
    Lost,
    /// The task's row is locked by another transaction; ask again soon.
    Busy,
}

/// A request to take back what dead processes held.
#[derive(Clone, Copy, Debug)]
pub struct RescueRequest {
    /// Who asks; its own leases are left alone.
    pub by: Incarnation,
    /// How long a lease is: for so long nothing is rescued after the store was away.
    pub lease: Duration,
    /// At how many crashes a task ends as crashed.
    pub crash_budget: u32,
    /// The most tasks to take back at once.
    pub limit: usize,
}

/// The reply to a [`RescueRequest`].
#[derive(Clone, Debug, Default)]
pub struct Rescue {
    /// What was taken back.
    pub rescued: Vec<Rescued>,
    /// When to ask again: the earliest end of another process's lease, if there is one. Until then
    /// somebody has to ask every half of a lease, else the store takes it for an outage.
    pub next: Option<Timestamp>,
}

/// A task that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// The task.
    pub id: TaskId,
    /// Its kind.
    pub kind: Kind,
    /// Who held it.
    pub from: Incarnation,
    /// What became of it.
    pub rescued_as: RescuedAs,
}

/// What a rescue made of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RescuedAs {
    /// It was interrupted by a shutdown: claimable again, at no cost.
    Interrupted,
    /// Its process died with other tasks too: claimable alone, at no cost.
    Suspect,
    /// It died alone, and was charged; it is claimable, alone.
    Charged,
    /// It died alone, for the last time that the budget allows: it ended.
    Crashed,
    /// It was to be cancelled: it ended.
    Cancelled,
}

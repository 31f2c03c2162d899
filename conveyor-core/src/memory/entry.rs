//! [`Entry`]: a live task; and its [`Record`], which outlives it.

use std::time::Duration;

use crate::id::{Incarnation, TaskId};
use crate::lanes::{LaneId, Place};
use crate::name::Key;
use crate::outcome::End;
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::state::TaskState;
use crate::store::{Budgets, PastAttempt};
use crate::time::Timestamp;

/// A task that has not ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) payload: AnyPayload,
    pub(super) lease_ends: Timestamp,
    /// The token of the request that it was last claimed by.
    pub(super) token: u64,
    pub(super) state: TaskState,
    /// Claimed only alone.
    pub(super) suspect: bool,
    /// The lease runs out by itself, at no cost.
    pub(super) interrupted: bool,
    /// Somebody asked for the task to be cancelled.
    pub(super) cancel: bool,
}

/// What is told of a task, also after its end. What few tasks have is in `extra`, so that it stays
/// small.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: TaskId,
    pub(super) place: Place,
    pub(super) key: Option<Key>,
    pub(super) epoch: u64,
    /// Who holds it, while it is active; who held it last, after that.
    pub(super) holder: Incarnation,
    pub(super) extra: Option<Box<Extra>>,
    pub(super) stream: u32,
    pub(super) priority: Priority,
}

/// What few tasks have.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) budgets: Budgets,
    /// The last error, or why it is parked.
    pub(super) note: Option<String>,
    pub(super) attempts: Vec<PastAttempt>,
    /// How it ended, if other than by success.
    pub(super) end: Option<End>,
    /// Who held it then, if it was active.
    pub(super) ended_by: Option<Incarnation>,
}

impl Record {
    pub(super) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn budgets(&self) -> Budgets {
        self.extra.as_ref().map_or_else(Budgets::default, |extra| extra.budgets)
    }

    pub(super) fn lane(&self) -> LaneId {
        LaneId { priority: self.priority, stream: self.stream }
    }

    /// How it ended; only for a task that has.
    pub(super) fn end(&self) -> End {
        self.extra.as_ref().and_then(|extra| extra.end.clone()).unwrap_or(End::Succeeded)
    }

    /// Who held it when it ended; only for a task that has.
    pub(super) fn ended_by(&self) -> Option<Incarnation> {
        match self.extra() {
            Some(extra) if extra.end.is_some() => extra.ended_by,
            // A success ends an active task, and its holder stays.
            _ => Some(self.holder),
        }
    }
}

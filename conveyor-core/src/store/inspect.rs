//! Looking into a store: filters, pages, ends.

use super::settle::Budgets;
use crate::id::{Incarnation, TaskId};
use crate::name::{Key, Kind, QueueName};
use crate::outcome::End;
use crate::priority::Priority;
use crate::state::TaskState;
use crate::time::Timestamp;

/// Whether a task ended, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndState {
    /// It has not ended.
    Live,
    /// It ended like this.
    Ended(End),
    /// It is not known: it never was, or its end is forgotten.
    Gone,
}

/// What became of a request to cancel a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReply {
    /// It was not active, and has ended.
    Cancelled,
    /// It is active; its attempt will be told, and it ends when that returns.
    Requested,
    /// It had ended already.
    AlreadyEnded,
    /// It is not known.
    Unknown,
}

/// Which tasks to list; what is `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only tasks in this state.
    pub state: Option<TaskState>,
    /// Only tasks of this kind.
    pub kind: Option<Kind>,
    /// Only tasks of this queue.
    pub queue: Option<QueueName>,
    /// Only tasks with this key.
    pub key: Option<Key>,
    /// Only tasks whose id comes after this one: the last of the page before.
    pub after: Option<TaskId>,
    /// The most tasks to list; 0 means 100.
    pub limit: usize,
}

/// A page of tasks, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<TaskInfo>,
    /// Where the next page starts, if there is one: put it into [`Filter::after`].
    pub next: Option<TaskId>,
}

/// What a store knows of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInfo {
    /// Its identity.
    pub id: TaskId,
    /// Its kind.
    pub kind: Kind,
    /// Its queue.
    pub queue: QueueName,
    /// Its dedup key.
    pub key: Option<Key>,
    /// Its priority.
    pub priority: Priority,
    /// Where it is in its life.
    pub state: TaskState,
    /// When it is or was due.
    pub due: Timestamp,
    /// What it has cost so far.
    pub budgets: Budgets,
    /// How often it was claimed.
    pub epoch: u64,
    /// Who holds it, if it is active.
    pub holder: Option<Incarnation>,
    /// Whether it is claimed only alone, since it was there when a process died.
    pub suspect: bool,
    /// The last error that a retry followed, or why it is parked.
    pub note: Option<String>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

//! Looking into a store: filters, pages, ends.

use std::fmt;

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
    /// Only tasks whose id is of this time or later: see [`TaskId::time`].
    pub enqueued_from: Option<Timestamp>,
    /// Only tasks whose id is of an earlier time.
    pub enqueued_before: Option<Timestamp>,
    /// Only tasks that are or were due at this time or later.
    pub due_from: Option<Timestamp>,
    /// Only tasks that are or were due earlier.
    pub due_before: Option<Timestamp>,
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
    /// The attempts before the last, the oldest first; no more than the last [`PAST_ATTEMPTS`].
    ///
    /// A claim that was given back before it started is none, and the attempt that ended the task
    /// is not among them: `epoch`, `ended_by` and `end` tell of it.
    pub attempts: Vec<PastAttempt>,
    /// Who held it when it ended, if it was active then.
    pub ended_by: Option<Incarnation>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// How many past attempts are kept of a task.
pub const PAST_ATTEMPTS: usize = 16;

/// An attempt that is over, while its task went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The number of its claim.
    pub epoch: u64,
    /// Who held it.
    pub by: Incarnation,
    /// When it was settled or taken back, by the store's clock.
    pub at: Timestamp,
    /// How it ended.
    pub ended: AttemptEnd,
}

/// How an attempt ended that did not end its task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd {
    /// It failed, with this error, and was to be made again.
    Failed(String),
    /// Its handler snoozed.
    Snoozed,
    /// It had started, and was handed back: by a shutdown.
    Returned,
    /// Its payload could not be decoded, for this reason.
    Parked(String),
    /// A shutdown could not stop it: its lease ran out by itself.
    Interrupted,
    /// Its process died while it held other tasks too.
    Suspected,
    /// It died alone with its process, and was charged.
    Crashed,
}

/// As what the task did, or what befell it: `failed: no luck`.
impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttemptEnd::Failed(error) => write!(f, "failed: {error}"),
            AttemptEnd::Snoozed => f.write_str("snoozed"),
            AttemptEnd::Returned => f.write_str("was handed back unfinished, by a shutdown"),
            AttemptEnd::Parked(why) => write!(f, "could not decode its payload: {why}"),
            AttemptEnd::Interrupted => {
                f.write_str("was interrupted by a shutdown that could not stop it")
            }
            AttemptEnd::Suspected => {
                f.write_str("lost its process, which died while it held other tasks too")
            }
            AttemptEnd::Crashed => {
                f.write_str("lost its process, which died while it held this task alone")
            }
        }
    }
}

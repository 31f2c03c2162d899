//! What goes in: [`NewTask`] and the reply to it.

use std::time::Duration;

use crate::id::TaskId;
use crate::name::{Key, Kind, QueueName};
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::task::Start;

/// A task as the engine hands it to a store: every name is valid, every default is resolved that
/// is fixed at the enqueue.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Its identity, made by the enqueuing process: sent twice, it is accepted once.
    pub id: TaskId,
    /// The kind of worker that it is for.
    pub kind: Kind,
    /// Its queue.
    pub queue: QueueName,
    /// Its dedup key.
    pub key: Option<Key>,
    /// Its priority.
    pub priority: Priority,
    /// What the worker gets.
    pub payload: AnyPayload,
    /// When it may start at the earliest.
    pub start: Start,
    /// How long one attempt may take, if the task itself says.
    pub timeout: Option<Duration>,
    /// How many attempts may follow the first after errors, if the task itself says.
    pub retries: Option<u32>,
}

/// What became of a [`NewTask`].
#[derive(Clone, Debug)]
pub enum Enqueued {
    /// It is in the store.
    Accepted,
    /// A live task has its kind and key; unknown which, if another's open transaction holds it.
    Duplicate(Option<TaskId>),
    /// The store is bounded and full; here is the task, to be tried again when there is room.
    Full {
        /// The task, as it was given.
        task: Box<NewTask>,
        /// The most live tasks that the store holds.
        capacity: usize,
    },
}

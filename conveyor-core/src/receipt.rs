//! What an enqueue gives: a [`Receipt`] to wait with, or an [`EnqueueError`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::CodecError;
use crate::context::Host;
use crate::id::TaskId;
use crate::name::{Key, Kind, NameError};
use crate::outcome::End;
use crate::store::{OtherStore, StoreError};

/// Proof that the store accepted a task.
#[derive(Clone)]
pub struct Receipt {
    id: TaskId,
    host: Arc<dyn Host>,
}

impl Receipt {
    /// A receipt for that task of that manager.
    #[must_use]
    pub fn new(id: TaskId, host: Arc<dyn Host>) -> Self {
        Receipt { id, host }
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Waits for the end of the task.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`WaitError`] if the end is no longer known, the manager stopped first, or the store failed.
    pub async fn wait(&self) -> Result<End, WaitError> {
        self.host.wait(self.id).await
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.id)
    }
}

/// Why a task was not accepted. No task is in the store then, but for [`EnqueueError::Store`]
/// with an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// A live task has the same kind and key.
    #[error("a live {kind} task has the key {key:?}{}", HolderId(*.id))]
    Duplicate {
        /// The live task; unknown if another's open transaction holds the key.
        id: Option<TaskId>,
        /// The kind of both.
        kind: Kind,
        /// The key of both.
        key: Key,
    },
    /// The store is bounded and has no room.
    #[error(
        "the store is full: it holds {capacity} live tasks; wait for room with `enqueue`, or raise the capacity"
    )]
    Full {
        /// The most live tasks that the store holds.
        capacity: usize,
    },
    /// A name on the task breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The task's timeout is zero.
    #[error("the timeout of a {kind} task is zero; leave it out for none")]
    ZeroTimeout {
        /// The kind of the task.
        kind: Kind,
    },
    /// The payload cannot be encoded for the store.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The payload is larger than the store takes.
    #[error("the payload of a {kind} task has {len} bytes; the store takes {limit}")]
    TooLarge {
        /// The kind of the task.
        kind: Kind,
        /// The payload's length in bytes.
        len: usize,
        /// The most bytes that the store takes.
        limit: usize,
    },
    /// The transaction is of another store than the manager's.
    #[error(transparent)]
    OtherStore(#[from] OtherStore),
    /// The manager was shut down.
    #[error("the manager was shut down; enqueue before the shutdown, or by another manager")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct HolderId(Option<TaskId>);

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, ": {id}"),
            None => Ok(()),
        }
    }
}

/// Why the end of a task could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The task was never there, or ended so long ago that its end is forgotten.
    #[error("the end of task {id} is not known; ends are kept by count and age (see `retention`)")]
    Unknown {
        /// The task.
        id: TaskId,
    },
    /// The manager stopped before the task ended; it is still in the store.
    #[error("the manager stopped before task {id} ended")]
    Stopped {
        /// The task.
        id: TaskId,
    },
    /// The store did not answer for so long that waiting was given up.
    #[error("the store did not answer for {waited:?}: {error}")]
    Store {
        /// How long it was tried.
        waited: Duration,
        /// The last error.
        error: StoreError,
    },
}

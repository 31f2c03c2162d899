//! Wake-ups: hints from a store to the engine.

use crate::id::TaskId;
use crate::name::QueueName;
use crate::outcome::End;
use crate::priority::Priority;
use crate::time::Timestamp;

/// What happened in a store.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Wake<'a> {
    /// Tasks have become claimable.
    ///
    /// Told of every task, also of a due one that a claim took before anybody was told of it: the
    /// claimer may have been woken for another, which is left.
    Claimable {
        /// Their queue.
        queue: &'a QueueName,
        /// The highest priority among them.
        priority: Priority,
        /// How many, at least.
        count: usize,
    },
    /// A task will become claimable at this time, earlier than any other so far.
    Due(Timestamp),
    /// A bounded store has room again.
    Room,
    /// A task ended. Told only to a sink that [watches ends](WakeSink::watches_ends).
    Ended {
        /// The task.
        task: TaskId,
        /// How it ended, if the store has it at hand.
        end: Option<&'a End>,
    },
    /// Somebody asked for an active task to be cancelled.
    CancelRequested(TaskId),
    /// A schedule was put or removed.
    ScheduleChanged,
}

/// Who is told of a store's [`Wake`]s.
///
/// It is called while the store may hold its locks: it must return at once, and not call the store.
pub trait WakeSink: Send + Sync {
    /// Something happened.
    fn wake(&self, wake: Wake<'_>);

    /// Whether anybody waits for the end of a task.
    fn watches_ends(&self) -> bool {
        false
    }
}

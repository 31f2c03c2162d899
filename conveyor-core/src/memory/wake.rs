//! Telling others what happened, once the lock is released.

use std::sync::PoisonError;

use super::MemoryStore;
use super::table::Table;
use crate::id::TaskId;
use crate::name::QueueName;
use crate::outcome::End;
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::state::TaskState;
use crate::store::{NewTask, Wake, WakeSink};
use crate::time::Timestamp;
use crate::worker::catch_panic;

/// What a call has to tell, and the payloads that it has to drop, when the lock is released.
///
/// A payload's drop is a user's code: it may take long, call the store, or panic.
#[derive(Debug, Default)]
pub(super) struct After {
    /// Nearly every call concerns one queue at most.
    pub(super) claimable: Option<Claimable>,
    pub(super) more_claimable: Vec<Claimable>,
    pub(super) due: Option<Timestamp>,
    pub(super) room: bool,
    pub(super) ended: Vec<(TaskId, End)>,
    pub(super) cancel_requested: Vec<TaskId>,
    pub(super) schedule_changed: bool,
    pub(super) dropped: Vec<AnyPayload>,
}

#[derive(Debug)]
pub(super) struct Claimable {
    queue: QueueName,
    priority: Priority,
    count: usize,
}

impl After {
    /// Keeps the payloads of tasks that are not accepted until the lock is released.
    pub(super) fn drop_all(&mut self, tasks: impl IntoIterator<Item = NewTask>) {
        self.dropped.extend(tasks.into_iter().map(|task| task.payload));
    }

    /// Whether there is nothing to tell anybody.
    fn is_silent(&self) -> bool {
        let After { claimable, more_claimable, due, room, ended, cancel_requested, .. } = self;
        claimable.is_none()
            && more_claimable.is_empty()
            && due.is_none()
            && !room
            && ended.is_empty()
            && cancel_requested.is_empty()
            && !self.schedule_changed
    }

    /// Notes that a task has become claimable, or will be when it is due.
    pub(super) fn waiting(&mut self, table: &Table, task: u32) {
        let entry = table.get(task);
        match entry.state {
            TaskState::Queued => {}
            TaskState::Scheduled => {
                self.due = Some(
                    self.due.map_or(entry.record.place.due, |due| due.min(entry.record.place.due)),
                );
                return;
            }
            TaskState::Active | TaskState::Parked | TaskState::Ended => return,
        }
        self.claimable(table, task);
    }

    /// Notes that there is something to claim where the task is or was.
    pub(super) fn claimable(&mut self, table: &Table, task: u32) {
        let entry = table.get(task);
        let queue = &table.streams.get(entry.record.stream).queue;
        let known = self.claimable.iter_mut().chain(&mut self.more_claimable);
        for claimable in known {
            if claimable.queue == *queue {
                claimable.count += 1;
                claimable.priority = claimable.priority.max(entry.record.priority);
                return;
            }
        }
        let new = Claimable { queue: queue.clone(), priority: entry.record.priority, count: 1 };
        match &self.claimable {
            None => self.claimable = Some(new),
            Some(_) => self.more_claimable.push(new),
        }
    }
}

impl MemoryStore {
    /// Whether anybody waits for the end of a task. To be asked under the lock: who watched before
    /// it saw a task live is then told of its end.
    pub(super) fn ends_are_watched(&self) -> bool {
        let mut watched = false;
        self.each_sink(|sink| watched |= sink.watches_ends());
        watched
    }

    /// Tells what happened and drops what is to be dropped. The lock must be released.
    pub(super) fn finish(&self, after: After) {
        if !after.is_silent() {
            self.tell(&after);
        }
        for payload in after.dropped {
            if let Err(panic) = catch_panic(|| drop(payload)) {
                tracing::warn!(%panic, "a payload panicked when it was dropped");
            }
        }
    }

    fn tell(&self, after: &After) {
        let After { claimable, more_claimable, due, room, ended, .. } = after;
        self.each_sink(|sink| {
            for Claimable { queue, priority, count } in claimable.iter().chain(more_claimable) {
                sink.wake(Wake::Claimable { queue, priority: *priority, count: *count });
            }
            if let Some(due) = *due {
                sink.wake(Wake::Due(due));
            }
            if *room {
                sink.wake(Wake::Room);
            }
            if sink.watches_ends() {
                for (task, end) in ended {
                    sink.wake(Wake::Ended { task: *task, end: Some(end) });
                }
            }
            for &task in &after.cancel_requested {
                sink.wake(Wake::CancelRequested(task));
            }
            if after.schedule_changed {
                sink.wake(Wake::ScheduleChanged);
            }
        });
    }

    fn each_sink(&self, mut tell: impl FnMut(&dyn WakeSink)) {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        for sink in sinks.iter() {
            if let Some(sink) = sink.upgrade() {
                tell(&*sink);
            }
        }
    }
}

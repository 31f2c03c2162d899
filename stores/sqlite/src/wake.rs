//! Wake: telling this process's engines what happened.

use std::sync::{PoisonError, RwLock, Weak};

use conveyor_core::outcome::End;
use conveyor_core::store::{Wake, WakeSink};
use conveyor_core::{Priority, QueueName, TaskId, Timestamp};

/// What a step has to tell, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct After {
    claimable: Vec<Claimable>,
    due: Option<Timestamp>,
    pub(crate) room: bool,
    pub(crate) ended: Vec<(TaskId, End)>,
    pub(crate) cancel_requested: Vec<TaskId>,
    pub(crate) schedule_changed: bool,
}

#[derive(Debug)]
struct Claimable {
    queue: QueueName,
    priority: Priority,
    count: usize,
}

impl After {
    /// Notes that so many tasks of a queue are claimable.
    pub(crate) fn claimable(&mut self, queue: &QueueName, priority: Priority, count: usize) {
        match self.claimable.iter_mut().find(|claimable| claimable.queue == *queue) {
            Some(known) => {
                known.count += count;
                known.priority = known.priority.max(priority);
            }
            None => self.claimable.push(Claimable { queue: queue.clone(), priority, count }),
        }
    }

    /// Notes that a task will be claimable at that time.
    pub(crate) fn due(&mut self, due: Timestamp) {
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}

/// Who is told.
#[derive(Default)]
pub(crate) struct Sinks(RwLock<Vec<Weak<dyn WakeSink>>>);

impl Sinks {
    pub(crate) fn add(&self, sink: Weak<dyn WakeSink>) {
        let mut sinks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(sink);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let sinks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !sinks.iter().any(|sink| sink.strong_count() > 0)
    }

    /// Whether anybody waits for the end of a task.
    pub(crate) fn watch_ends(&self) -> bool {
        let mut watched = false;
        self.each(|sink| watched |= sink.watches_ends());
        watched
    }

    pub(crate) fn tell(&self, after: &After) {
        self.each(|sink| {
            for Claimable { queue, priority, count } in &after.claimable {
                sink.wake(Wake::Claimable { queue, priority: *priority, count: *count });
            }
            if let Some(due) = after.due {
                sink.wake(Wake::Due(due));
            }
            if after.room {
                sink.wake(Wake::Room);
            }
            if sink.watches_ends() {
                for (task, end) in &after.ended {
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

    fn each(&self, mut tell: impl FnMut(&dyn WakeSink)) {
        let sinks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for sink in sinks.iter() {
            if let Some(sink) = sink.upgrade() {
                tell(&*sink);
            }
        }
    }
}

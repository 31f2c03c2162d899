//! Who waits for the end of which task.

use std::collections::HashMap;
use std::sync::Arc;

use conveyor_core::{End, TaskId};
use event_listener::{Event, EventListener};

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

#[derive(Default)]
pub(crate) struct Waiters {
    /// How many wait, so that an end that nobody waits for costs one load.
    count: AtomicUsize,
    by_task: Mutex<HashMap<TaskId, Waited>>,
    /// Any task ended.
    any: Event,
}

#[derive(Default)]
struct Waited {
    waiters: usize,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    ended: Event,
    end: Mutex<Option<End>>,
}

impl Waiters {
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Begins to wait for the end of a task.
    pub(crate) fn watch(&self, task: TaskId) -> Watch<'_> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut by_task = lock(&self.by_task);
        let waited = by_task.entry(task).or_default();
        waited.waiters += 1;
        Watch { waiters: self, task, told: Arc::clone(&waited.told) }
    }

    /// Begins to wait for ends of any tasks.
    pub(crate) fn watch_any(&self) -> WatchAny<'_> {
        self.count.fetch_add(1, Ordering::SeqCst);
        WatchAny { waiters: self }
    }

    /// Tells those who wait for the task that it ended; how, if that is known.
    pub(crate) fn tell(&self, task: TaskId, end: Option<&End>) {
        self.any.notify(usize::MAX);
        if let Some(waited) = lock(&self.by_task).get(&task) {
            if let Some(end) = end {
                *lock(&waited.told.end) = Some(end.clone());
            }
            waited.told.ended.notify(usize::MAX);
        }
    }

    /// Has everybody who waits look again.
    pub(crate) fn tell_all(&self) {
        self.any.notify(usize::MAX);
        for waited in lock(&self.by_task).values() {
            waited.told.ended.notify(usize::MAX);
        }
    }
}

/// A wait for ends of any tasks; dropping it ends the wait.
pub(crate) struct WatchAny<'a> {
    waiters: &'a Waiters,
}

impl WatchAny<'_> {
    /// Is notified when a task ends from now on.
    pub(crate) fn listen(&self) -> EventListener {
        self.waiters.any.listen()
    }
}

impl Drop for WatchAny<'_> {
    fn drop(&mut self) {
        self.waiters.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A wait for the end of a task; dropping it ends the wait.
pub(crate) struct Watch<'a> {
    waiters: &'a Waiters,
    task: TaskId,
    told: Arc<Told>,
}

impl Watch<'_> {
    /// The end, if it was told.
    pub(crate) fn end(&self) -> Option<End> {
        lock(&self.told.end).clone()
    }

    /// Is notified when there is news from now on.
    pub(crate) fn listen(&self) -> EventListener {
        self.told.ended.listen()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut by_task = lock(&self.waiters.by_task);
        if let Some(waited) = by_task.get_mut(&self.task) {
            waited.waiters -= 1;
            if waited.waiters == 0 {
                by_task.remove(&self.task);
            }
        }
        self.waiters.count.fetch_sub(1, Ordering::SeqCst);
    }
}

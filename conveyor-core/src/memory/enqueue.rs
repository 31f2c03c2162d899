//! Enqueue: tasks come in.

use super::MemoryStore;
use super::table::{Inserted, Table};
use super::wake::After;
use crate::store::{Enqueued, NewTask};
use crate::time::Timestamp;

impl MemoryStore {
    pub(super) fn enqueue_single(&self, task: NewTask) -> Enqueued {
        let mut after = After::default();
        let reply = {
            let mut table = self.lock();
            let now = self.now();
            self.accept(&mut table, task, now, &mut after)
        };
        self.finish(after);
        reply
    }

    pub(super) fn enqueue_all(&self, batch: Vec<NewTask>) -> Vec<Enqueued> {
        let mut after = After::default();
        let replies = {
            let mut table = self.lock();
            let now = self.now();
            batch.into_iter().map(|task| self.accept(&mut table, task, now, &mut after)).collect()
        };
        self.finish(after);
        replies
    }

    fn accept(
        &self,
        table: &mut Table,
        task: NewTask,
        now: Timestamp,
        after: &mut After,
    ) -> Enqueued {
        if let Some(capacity) = self.capacity
            && table.live >= capacity
            // What would be refused or answered anyway does not wait for room.
            && !table.knows(task.id)
            && !table.is_duplicate(&task)
        {
            return Enqueued::Full { task: Box::new(task), capacity };
        }
        match table.insert(task, now) {
            Inserted::Accepted(task) => {
                after.waiting(table, task);
                Enqueued::Accepted
            }
            Inserted::Known(payload) => {
                after.dropped.push(payload);
                Enqueued::Accepted
            }
            Inserted::Duplicate(holder, payload) => {
                after.dropped.push(payload);
                Enqueued::Duplicate(Some(holder))
            }
        }
    }
}

//! Enqueue: tasks come in.

use conveyor_core::codec::Codecs;
use conveyor_core::store::{Enqueued, NewTask};
use conveyor_core::{Key, TaskId, TaskState};

use crate::columns::{QUEUED, SCHEDULED, id_from, id_to, priority_to, timeout_to};
use crate::counts::Count;
use crate::error::{Failure, Result};
use crate::step::Step;

/// What became of an insert.
pub(crate) enum Inserted {
    Accepted,
    /// The id is known: the task was accepted before.
    Known,
    /// A live task has the kind and the key.
    Duplicate(TaskId),
}

impl Step<'_> {
    pub(crate) fn enqueue(&mut self, batch: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        let Some(capacity) = self.limits.capacity else {
            return batch.into_iter().map(|task| self.accept(&task)).collect();
        };
        let mut live = usize::try_from(self.live()?).unwrap_or(usize::MAX);
        let mut replies = Vec::with_capacity(batch.len());
        for task in batch {
            // What would be refused or answered anyway does not wait for room.
            let is_new =
                || Ok::<_, Failure>(!self.is_known(task.id)? && self.holder(&task)?.is_none());
            if live >= capacity && is_new()? {
                replies.push(Enqueued::Full { task: Box::new(task), capacity });
                continue;
            }
            match self.insert(&task)? {
                Inserted::Accepted => {
                    live += 1;
                    replies.push(Enqueued::Accepted);
                }
                Inserted::Known => replies.push(Enqueued::Accepted),
                Inserted::Duplicate(id) => replies.push(Enqueued::Duplicate(Some(id))),
            }
        }
        Ok(replies)
    }

    fn accept(&mut self, task: &NewTask) -> Result<Enqueued> {
        Ok(match self.insert(task)? {
            Inserted::Accepted | Inserted::Known => Enqueued::Accepted,
            Inserted::Duplicate(id) => Enqueued::Duplicate(Some(id)),
        })
    }

    /// Accepts a task, unless it is known or its key is held.
    pub(crate) fn insert(&mut self, task: &NewTask) -> Result<Inserted> {
        let (stream, kind) = self.stream_of(task)?;
        let due = task.start.resolve(self.now);
        let (state, number) =
            if due > self.now { (Count::Scheduled, SCHEDULED) } else { (Count::Queued, QUEUED) };
        // The indexes judge, so that an ordinary task costs one statement.
        let inserted = self.run(
            "INSERT INTO conveyor_tasks
                 (id, stream, kind, key, priority, state, due, timeout, retries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            (
                id_to(task.id),
                stream.0,
                kind,
                task.key.as_ref().map(Key::as_str),
                priority_to(task.priority),
                number,
                due.as_micros(),
                task.timeout.map(timeout_to),
                task.retries,
            ),
        )?;
        if inserted == 0 {
            if self.is_known(task.id)? {
                return Ok(Inserted::Known);
            }
            if let Some(holder) = self.holder(task)? {
                self.count(stream, Count::Duplicates, 1);
                return Ok(Inserted::Duplicate(holder));
            }
            return Err(Failure::Unreadable(format!("the task {} cannot be inserted", task.id)));
        }
        let age = self.last_number();
        // The engine has encoded it; what was not is written as the engine would by default.
        let payload = task.payload.encoded(&Codecs::default());
        let payload = payload.map_err(|error| Failure::Unreadable(error.to_string()))?;
        self.run(
            "INSERT INTO conveyor_payloads (age, codec, bytes) VALUES (?1, ?2, ?3)",
            (age, &*payload.codec, &*payload.bytes),
        )?;
        self.count(stream, Count::Enqueued, 1);
        self.count(stream, state, 1);
        if due > self.now {
            self.after.due(due);
        } else {
            self.after.claimable(&task.queue, task.priority, 1);
        }
        Ok(Inserted::Accepted)
    }

    fn is_known(&self, id: TaskId) -> Result<bool> {
        let found =
            self.find("SELECT 1 FROM conveyor_tasks WHERE id = ?1", [id_to(id)], |_| Ok(()))?;
        Ok(found.is_some())
    }

    /// The live task that has the kind and the key of this one.
    fn holder(&self, task: &NewTask) -> Result<Option<TaskId>> {
        let Some(key) = &task.key else {
            return Ok(None);
        };
        self.find(
            "SELECT id FROM conveyor_tasks
             WHERE kind = (SELECT kind FROM conveyor_kinds WHERE name = ?1) AND key = ?2
               AND key IS NOT NULL AND state < 4",
            (task.kind.as_str(), key.as_str()),
            |row| Ok(id_from(row.get(0)?)),
        )
    }

    /// How many tasks are live.
    fn live(&mut self) -> Result<i64> {
        self.write_counts()?;
        self.get(
            "SELECT coalesce(sum(scheduled + queued + active + parked), 0) FROM conveyor_streams",
            (),
            |row| row.get(0),
        )
    }

    /// Tells of a task that has come into that state, if it can be claimed now or later.
    pub(crate) fn tell_of_waiting(&mut self, task: &Waiting) -> Result<()> {
        match task.state {
            TaskState::Queued => {
                let (queue, _) = self.names_of(task.stream)?;
                self.after.claimable(&queue, task.priority, 1);
            }
            TaskState::Scheduled => self.after.due(task.due),
            _ => {}
        }
        Ok(())
    }
}

/// What is told of a task that waits.
pub(crate) struct Waiting {
    pub(crate) stream: crate::step::Stream,
    pub(crate) priority: conveyor_core::Priority,
    pub(crate) state: TaskState,
    pub(crate) due: conveyor_core::Timestamp,
}

//! [`Step`]: one call of a store, inside a transaction.

use conveyor_core::store::NewTask;
use conveyor_core::{Kind, QueueName, RetentionByEnd, Timestamp};
use hashbrown::HashMap;

use crate::columns::{kind_from, queue_from};
use crate::counts::{Count, Deltas};
use crate::error::Result;
use crate::plant::sown;
use crate::sql::{Row, Sql, Values};
use crate::wake::After;

/// One call of a store, inside a transaction: what it does takes effect as a whole or not at all,
/// and then others are told.
pub(crate) struct Step<'a> {
    sql: Sql<'a>,
    names: &'a mut Names,
    pub(crate) limits: Limits,
    pub(crate) now: Timestamp,
    /// Whether anybody waits for the end of a task.
    pub(crate) watched: bool,
    pub(crate) after: After,
    deltas: Deltas,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most live tasks.
    pub(crate) capacity: Option<usize>,
    /// The most ends that are kept, and how long.
    pub(crate) retention: RetentionByEnd,
}

/// The number of a queue's tasks of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stream(pub(crate) i64);

/// The streams that are known by number. They never change, but one that was made in a transaction
/// that failed is none: then all are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Names {
    numbers: HashMap<(QueueName, Kind), (Stream, i64), foldhash::fast::RandomState>,
    names: HashMap<Stream, (QueueName, Kind), foldhash::fast::RandomState>,
}

impl Names {
    pub(crate) fn forget(&mut self) {
        self.numbers.clear();
        self.names.clear();
    }
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        sql: Sql<'a>,
        names: &'a mut Names,
        limits: Limits,
        now: Timestamp,
        watched: bool,
    ) -> Self {
        Step {
            sql,
            names,
            limits,
            now,
            watched,
            after: After::default(),
            deltas: Deltas::default(),
        }
    }

    /// Writes what was counted; then all is done, but for telling it.
    pub(crate) fn finish(mut self) -> Result<After> {
        std::mem::take(&mut self.deltas).write(self.sql)?;
        self.after.room &= self.limits.capacity.is_some();
        Ok(self.after)
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn run(&self, sql: &'static str, values: impl Values) -> Result<usize> {
        self.sql.run(sown(sql), values)
    }

    /// The first row, if there is one.
    pub(crate) fn find<T>(
        &self,
        sql: &'static str,
        values: impl Values,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.sql.find(sown(sql), values, read)
    }

    /// The first row, which there must be.
    pub(crate) fn get<T>(
        &self,
        sql: &'static str,
        values: impl Values,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let found = self.find(sql, values, read)?;
        Ok(found.ok_or(rusqlite::Error::QueryReturnedNoRows)?)
    }

    /// All rows.
    pub(crate) fn all<T>(
        &self,
        sql: &'static str,
        values: impl Values,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.sql.all(sown(sql), values, read)
    }

    /// The number that the last insert gave.
    pub(crate) fn last_number(&self) -> i64 {
        self.sql.last_number()
    }

    /// Adds to a count of a stream, when the step is done.
    pub(crate) fn count(&mut self, stream: Stream, count: Count, by: i64) {
        self.deltas.add(stream, count, by);
    }

    /// Has what was counted so far be seen by the statements to come.
    pub(crate) fn write_counts(&mut self) -> Result<()> {
        std::mem::take(&mut self.deltas).write(self.sql)
    }

    /// The stream of a task, and the number of its kind; both are made if they are new.
    pub(crate) fn stream_of(&mut self, task: &NewTask) -> Result<(Stream, i64)> {
        // Names are shared, so the copies are cheap.
        let name = (task.queue.clone(), task.kind.clone());
        if let Some(&known) = self.names.numbers.get(&name) {
            return Ok(known);
        }
        let queue = self.queue_number(&task.queue)?;
        self.run(
            "INSERT INTO conveyor_kinds (name) VALUES (?1) ON CONFLICT DO NOTHING",
            [task.kind.as_str()],
        )?;
        let kind: i64 = self.get(
            "SELECT kind FROM conveyor_kinds WHERE name = ?1",
            [task.kind.as_str()],
            |row| row.get(0),
        )?;
        self.run(
            "INSERT INTO conveyor_streams (queue, kind) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            [queue, kind],
        )?;
        let stream = Stream(self.get(
            "SELECT stream FROM conveyor_streams WHERE queue = ?1 AND kind = ?2",
            [queue, kind],
            |row| row.get(0),
        )?);
        self.names.names.insert(stream, name.clone());
        self.names.numbers.insert(name, (stream, kind));
        Ok((stream, kind))
    }

    /// The number of a queue, which is made if it is new.
    pub(crate) fn queue_number(&self, queue: &QueueName) -> Result<i64> {
        self.run(
            "INSERT INTO conveyor_queues (name) VALUES (?1) ON CONFLICT DO NOTHING",
            [queue.as_str()],
        )?;
        self.get("SELECT queue FROM conveyor_queues WHERE name = ?1", [queue.as_str()], |row| {
            row.get(0)
        })
    }

    /// The names of a stream.
    pub(crate) fn names_of(&mut self, stream: Stream) -> Result<(QueueName, Kind)> {
        if let Some(names) = self.names.names.get(&stream) {
            return Ok(names.clone());
        }
        let (queue, kind): (String, String) = self.get(
            "SELECT q.name, k.name FROM conveyor_streams
             JOIN conveyor_queues q USING (queue) JOIN conveyor_kinds k USING (kind)
             WHERE stream = ?1",
            [stream.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let names = (queue_from(&queue)?, kind_from(&kind)?);
        self.names.names.insert(stream, names.clone());
        Ok(names)
    }
}

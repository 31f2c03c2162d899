//! [`Entry`]: a task's row, and its moves between states, each with its counts.

use conveyor_core::outcome::End;
use conveyor_core::state::Move;
use conveyor_core::store::{AttemptEnd, PAST_ATTEMPTS};
use conveyor_core::{Incarnation, Priority, TaskId, TaskState, Timestamp};

use crate::columns::{
    attempt_to, bits, end_to, id_from, limit, state_from, state_to, time, unbits,
};
use crate::counts::Count;
use crate::error::{Failure, Result};
use crate::sql::{Row, Values};
use crate::step::{Step, Stream};

/// What the moves need to know of a task.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) age: i64,
    pub(crate) id: TaskId,
    pub(crate) stream: Stream,
    pub(crate) priority: Priority,
    pub(crate) state: TaskState,
    pub(crate) due: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) holder: Incarnation,
    pub(crate) interrupted: bool,
    pub(crate) cancel: bool,
    pub(crate) crashes: u32,
}

/// The columns that [`Entry::read`] reads.
macro_rules! entry_where {
    ($rest:literal) => {
        concat!(
            "SELECT age, id, stream, priority, state, due, epoch, holder, interrupted, \
             cancel, crashes FROM conveyor_tasks ",
            $rest
        )
    };
}
pub(crate) use entry_where;

impl Entry {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Entry>> {
        Ok(Ok(Entry {
            age: row.get(0)?,
            id: id_from(row.get(1)?),
            stream: Stream(row.get(2)?),
            priority: Priority::new(row.get(3)?),
            state: match state_from(row.get(4)?) {
                Ok(state) => state,
                Err(unreadable) => return Ok(Err(unreadable)),
            },
            due: time(row.get(5)?),
            epoch: unbits(row.get(6)?),
            holder: Incarnation::new(unbits(row.get(7)?)),
            interrupted: row.get(8)?,
            cancel: row.get(9)?,
            crashes: row.get(10)?,
        }))
    }
}

impl Step<'_> {
    /// The task that a statement finds.
    pub(crate) fn entry(&self, sql: &'static str, values: impl Values) -> Result<Option<Entry>> {
        self.find(sql, values, Entry::read)?.transpose()
    }

    /// The tasks that a statement finds.
    pub(crate) fn entries(&self, sql: &'static str, values: impl Values) -> Result<Vec<Entry>> {
        self.all(sql, values, Entry::read)?.into_iter().collect()
    }

    /// Makes a move of the one table of legal moves, and counts it. The caller writes it.
    pub(crate) fn step(&mut self, task: &mut Entry, step: Move) -> Result<i64> {
        let from = task.state;
        let to = from.after(step).ok_or_else(|| {
            Failure::Unreadable(format!(
                "the {from} task {} cannot make the move {step:?}",
                task.id
            ))
        })?;
        self.count_move(task.stream, from, to);
        task.state = to;
        Ok(state_to(to))
    }

    pub(crate) fn count_move(&mut self, stream: Stream, from: TaskState, to: TaskState) {
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(count) = Count::of(state) {
                self.count(stream, count, by);
            }
        }
    }

    /// Has an active task wait until `due`, which may have come. It came back alive: whatever took
    /// its process down, it was not this.
    pub(crate) fn postpone(&mut self, task: &mut Entry, due: Timestamp) -> Result<()> {
        self.step(task, Move::Postpone)?;
        task.due = due;
        if due <= self.now {
            self.step(task, Move::Promote)?;
        }
        self.run(
            "UPDATE conveyor_tasks SET state = ?2, due = ?3, suspect = 0 WHERE age = ?1",
            (task.age, state_to(task.state), due.as_micros()),
        )?;
        Ok(())
    }

    /// Puts an active task back to its old place.
    pub(crate) fn give_back(&mut self, task: &mut Entry) -> Result<()> {
        let state = self.step(task, Move::Return)?;
        self.run("UPDATE conveyor_tasks SET state = ?2 WHERE age = ?1", (task.age, state))?;
        Ok(())
    }

    /// Has an active task wait for somebody who can decode it.
    pub(crate) fn park(&mut self, task: &mut Entry, reason: &str) -> Result<()> {
        let state = self.step(task, Move::Park)?;
        self.run(
            "UPDATE conveyor_tasks SET state = ?2, suspect = 0, note = ?3 WHERE age = ?1",
            (task.age, state, reason),
        )?;
        Ok(())
    }

    /// Ends a live task: its key is free by that, and its payload goes.
    pub(crate) fn end(&mut self, task: &mut Entry, end: End) -> Result<()> {
        let by = (task.state == TaskState::Active).then(|| bits(task.holder.get()));
        let step = if by.is_some() { Move::End } else { Move::Cancel };
        let state = self.step(task, step)?;
        let count = match end {
            End::Succeeded => Count::Processed,
            End::Failed(_) => Count::Failed,
            End::Cancelled(_) => Count::Cancelled,
            _ => Count::Crashed,
        };
        self.count(task.stream, count, 1);
        let (ending, why) = end_to(&end);
        let number: i64 = self.get(
            "UPDATE conveyor_meta SET ended = ended + 1, ends = ends + 1 RETURNING ends",
            (),
            |row| row.get(0),
        )?;
        self.run(
            "UPDATE conveyor_tasks SET state = ?2, suspect = 0, ending = ?3, why = ?4,
                 ended_at = ?5, ended_as = ?6, ended_by = ?7 WHERE age = ?1",
            (task.age, state, ending, why, self.now.as_micros(), number, by),
        )?;
        self.run("DELETE FROM conveyor_payloads WHERE age = ?1", [task.age])?;
        if self.watched {
            self.after.ended.push((task.id, end));
        }
        self.after.room = true;
        Ok(())
    }

    /// Notes that a process holds one claim less.
    pub(crate) fn release(&self, by: Incarnation) -> Result<()> {
        let by = bits(by.get());
        self.run("UPDATE conveyor_holders SET held = held - 1 WHERE holder = ?1", [by])?;
        self.run("DELETE FROM conveyor_holders WHERE holder = ?1 AND held <= 0", [by])?;
        Ok(())
    }

    /// Remembers an attempt that its task outlived.
    pub(crate) fn remember(&self, task: &Entry, ended: &AttemptEnd) -> Result<()> {
        let (ended, why) = attempt_to(ended);
        let (epoch, holder) = (bits(task.epoch), bits(task.holder.get()));
        self.run(
            "INSERT INTO conveyor_attempts (age, epoch, holder, at, ended, why)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (task.age, epoch, holder, self.now.as_micros(), ended, why),
        )?;
        self.run(
            "DELETE FROM conveyor_attempts WHERE age = ?1 AND epoch <=
                 (SELECT epoch FROM conveyor_attempts WHERE age = ?1
                  ORDER BY epoch DESC LIMIT 1 OFFSET ?2)",
            (task.age, limit(PAST_ATTEMPTS)),
        )?;
        Ok(())
    }

    /// Forgets the oldest ends beyond those that are kept; a few at a time, so that no call takes
    /// long after the bound was lowered.
    pub(crate) fn forget_ends_beyond(&self) -> Result<()> {
        const AT_ONCE: i64 = 1_000;
        let ended: i64 = self.get("SELECT ended FROM conveyor_meta", (), |row| row.get(0))?;
        let kept = limit(self.limits.retention.count);
        if ended > kept {
            for _ in 0..(ended - kept).min(AT_ONCE) {
                let oldest = ENDINGS.map(|ending| self.oldest_end(ending)).into_iter();
                let oldest = oldest.collect::<Result<Vec<_>>>()?.into_iter().flatten();
                let Some(oldest) = oldest.min_by_key(|end| end.number) else { break };
                self.forget_end(&oldest)?;
            }
        }
        Ok(())
    }

    /// The end of a sort that is oldest.
    pub(crate) fn oldest_end(&self, ending: i64) -> Result<Option<Ended>> {
        self.find(
            "SELECT age, ended_as, ended_at FROM conveyor_tasks WHERE state = 4 AND ending = ?1
             ORDER BY ended_as LIMIT 1",
            [ending],
            |row| Ok(Ended { age: row.get(0)?, number: row.get(1)?, at: time(row.get(2)?) }),
        )
    }

    /// Forgets a task that has ended.
    pub(crate) fn forget_end(&self, ended: &Ended) -> Result<()> {
        self.run("DELETE FROM conveyor_attempts WHERE age = ?1", [ended.age])?;
        self.run("DELETE FROM conveyor_tasks WHERE age = ?1", [ended.age])?;
        self.run("UPDATE conveyor_meta SET ended = ended - 1", ())?;
        Ok(())
    }
}

/// How tasks end, as it is stored.
const ENDINGS: [i64; 4] = [0, 1, 2, 3];

/// A task that has ended: its row, the how-manieth it was, and when.
pub(crate) struct Ended {
    age: i64,
    number: i64,
    pub(crate) at: Timestamp,
}

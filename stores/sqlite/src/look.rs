//! Look: what others did to the file, so that this process's engines hear of it.

use conveyor_core::{Priority, QueueName};

use crate::columns::{end_from, id_from, queue_from, time};
use crate::error::Result;
use crate::step::{Step, Stream};

/// The most that is told of one sort; more is found by whoever looks.
const MOST: i64 = 1_000;

/// Up to where this process has looked.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    version: i64,
    schedules: i64,
    ends: i64,
}

impl Looked {
    /// Notes what there is to tell, if others changed the file since the last look; else `false`.
    pub(crate) fn look(&mut self, step: &mut Step<'_>) -> Result<bool> {
        // It changes with other connections' commits only, never with our own.
        let version = step.get("PRAGMA data_version", (), |row| row.get(0))?;
        if std::mem::replace(&mut self.version, version) == version {
            return Ok(false);
        }
        let (schedules, ends) =
            step.get("SELECT schedules, ends FROM conveyor_meta", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        step.after.schedule_changed =
            std::mem::replace(&mut self.schedules, schedules) != schedules;
        let since = std::mem::replace(&mut self.ends, ends);
        if step.watched {
            step.find_ends(since)?;
        }
        step.after.room = step.limits.capacity.is_some();
        step.find_waiting()?;
        Ok(true)
    }
}

impl Step<'_> {
    fn find_ends(&mut self, since: i64) -> Result<()> {
        let ended = self.all(
            "SELECT id, ending, why FROM conveyor_tasks
             WHERE state = 4 AND ending IN (0, 1, 2, 3) AND ended_as > ?1 ORDER BY ended_as LIMIT ?2",
            [since, MOST],
            |row| Ok((id_from(row.get(0)?), row.get(1)?, row.get(2)?)),
        )?;
        for (id, ending, why) in ended {
            self.after.ended.push((id, end_from(ending, why)?));
        }
        Ok(())
    }

    fn find_waiting(&mut self) -> Result<()> {
        let cancelled = self.all(
            "SELECT id FROM conveyor_tasks WHERE state = 2 AND cancel = 1 LIMIT ?1",
            [MOST],
            |row| Ok(id_from(row.get(0)?)),
        )?;
        self.after.cancel_requested.extend(cancelled);
        let due: Option<i64> =
            self.get("SELECT min(due) FROM conveyor_tasks WHERE state = 0", (), |row| row.get(0))?;
        if let Some(due) = due {
            self.after.due(time(due));
        }
        let queues: Vec<(i64, String)> = self.all(
            "SELECT DISTINCT queue, name FROM conveyor_streams JOIN conveyor_queues USING (queue)
             WHERE queued > 0 AND paused = 0",
            (),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        for (number, name) in queues {
            self.tell_of_queue(number, &queue_from(&name)?)?;
        }
        Ok(())
    }

    /// Tells of what is claimable in a queue.
    pub(crate) fn tell_of_queue(&mut self, number: i64, queue: &QueueName) -> Result<()> {
        let streams: Vec<(Stream, i64)> = self.all(
            "SELECT stream, queued FROM conveyor_streams WHERE queue = ?1 AND queued > 0",
            [number],
            |row| Ok((Stream(row.get(0)?), row.get(1)?)),
        )?;
        for (stream, queued) in streams {
            let highest: Option<i16> = self.get(
                "SELECT max(highest) FROM (
                     SELECT max(priority) AS highest FROM conveyor_tasks
                     WHERE state = 1 AND suspect = 0 AND stream = ?1
                     UNION ALL
                     SELECT max(priority) FROM conveyor_tasks
                     WHERE state = 1 AND suspect = 1 AND stream = ?1)",
                [stream.0],
                |row| row.get(0),
            )?;
            if let Some(highest) = highest {
                let count = usize::try_from(queued).unwrap_or(1);
                self.after.claimable(queue, Priority::new(highest), count);
            }
        }
        Ok(())
    }
}

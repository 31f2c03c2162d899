//! Schedules: put and removed, and ticks that move their marks.

use std::time::Duration;

use conveyor_core::plant::{Plant, planted};
use conveyor_core::store::{ScheduleDefinition, ScheduleState, Tick, Ticked};
use conveyor_core::{Kind, Overlap, Schedule, TaskId, Timestamp};

use crate::columns::{bits, id_from, id_to, time, unbits, unreadable};
use crate::enqueue::Inserted;
use crate::error::{Failure, Result};
use crate::step::Step;

/// A schedule as it is stored.
struct Stored {
    cadence: String,
    missed: String,
    overlap: String,
    revision: u64,
    anchor: Timestamp,
    mark: Timestamp,
    last: Option<TaskId>,
}

impl Stored {
    fn schedule(&self) -> Result<Schedule> {
        let unreadable = |text: &String| unreadable("schedule", text);
        Ok(Schedule {
            cadence: self.cadence.parse().map_err(|_| unreadable(&self.cadence))?,
            missed: self.missed.parse().map_err(|_| unreadable(&self.missed))?,
            overlap: self.overlap.parse().map_err(|_| unreadable(&self.overlap))?,
        })
    }

    fn state(&self, now: Timestamp) -> Result<ScheduleState> {
        let Stored { revision, anchor, mark, .. } = *self;
        Ok(ScheduleState { schedule: self.schedule()?, revision, anchor, mark, now })
    }
}

impl Step<'_> {
    fn stored(&self, name: &Kind) -> Result<Option<Stored>> {
        self.find(
            "SELECT cadence, missed, overlap, revision, anchor, mark, last
             FROM conveyor_schedules WHERE name = ?1",
            [name.as_str()],
            |row| {
                Ok(Stored {
                    cadence: row.get(0)?,
                    missed: row.get(1)?,
                    overlap: row.get(2)?,
                    revision: unbits(row.get(3)?),
                    anchor: time(row.get(4)?),
                    mark: time(row.get(5)?),
                    last: row.get::<Option<[u8; 16]>>(6)?.map(id_from),
                })
            },
        )
    }

    pub(crate) fn put_schedule(
        &mut self,
        definition: &ScheduleDefinition,
    ) -> Result<ScheduleState> {
        let ScheduleDefinition { name, schedule } = definition;
        let before = self.stored(name)?;
        // What cannot be read is not equal, and is replaced by what can.
        if let Some(stored) = &before
            && stored.schedule().is_ok_and(|stored| stored == *schedule)
        {
            return stored.state(self.now);
        }
        // The anchor itself is the first instant of an interval, so it is not done with yet.
        let mark = self.now - Duration::from_micros(1);
        let stored = Stored {
            cadence: schedule.cadence.to_string(),
            missed: schedule.missed.to_string(),
            overlap: schedule.overlap.to_string(),
            revision: before.as_ref().map_or(1, |before| before.revision + 1),
            anchor: self.now,
            mark: before.as_ref().map_or(mark, |before| before.mark.max(mark)),
            last: before.and_then(|before| before.last),
        };
        self.run(
            "INSERT INTO conveyor_schedules
                 (name, cadence, missed, overlap, revision, anchor, mark, last)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (name) DO UPDATE SET cadence = excluded.cadence,
                 missed = excluded.missed, overlap = excluded.overlap,
                 revision = excluded.revision, anchor = excluded.anchor, mark = excluded.mark",
            (
                name.as_str(),
                &stored.cadence,
                &stored.missed,
                &stored.overlap,
                bits(stored.revision),
                stored.anchor.as_micros(),
                stored.mark.as_micros(),
                stored.last.map(id_to),
            ),
        )?;
        self.schedule_changed()?;
        stored.state(self.now)
    }

    pub(crate) fn remove_schedule(&mut self, name: &Kind) -> Result<()> {
        if self.run("DELETE FROM conveyor_schedules WHERE name = ?1", [name.as_str()])? > 0 {
            self.schedule_changed()?;
        }
        Ok(())
    }

    fn schedule_changed(&mut self) -> Result<()> {
        self.run("UPDATE conveyor_meta SET schedules = schedules + 1", ())?;
        self.after.schedule_changed = true;
        Ok(())
    }

    pub(crate) fn tick(&mut self, batch: Vec<Tick>) -> Result<Vec<Ticked>> {
        batch.into_iter().map(|tick| self.tick_one(tick)).collect()
    }

    fn tick_one(&mut self, tick: Tick) -> Result<Ticked> {
        let Some(stored) = self.stored(&tick.name)? else {
            return Ok(Ticked::Gone);
        };
        let is_first = stored.mark == tick.from || planted(Plant::TickTwice);
        if stored.revision != tick.revision || !is_first || tick.to <= tick.from {
            return Ok(Ticked::Stale(stored.state(self.now)?));
        }
        let overlaps = stored.schedule()?.overlap == Overlap::Skip && self.is_live(stored.last)?;
        let fired = match tick.task {
            Some(task) if !overlaps => match self.insert(&task)? {
                Inserted::Accepted => Some(task.id),
                Inserted::Known | Inserted::Duplicate(_) => None,
            },
            _ => None,
        };
        let moved = self.run(
            "UPDATE conveyor_schedules SET mark = ?3, last = coalesce(?4, last)
             WHERE name = ?1 AND mark = ?2",
            (tick.name.as_str(), tick.from.as_micros(), tick.to.as_micros(), fired.map(id_to)),
        )?;
        if moved == 0 {
            return Err(Failure::Unreadable(format!("the mark of {} moved by itself", tick.name)));
        }
        Ok(fired.map_or(Ticked::Skipped, Ticked::Fired))
    }

    fn is_live(&self, task: Option<TaskId>) -> Result<bool> {
        let Some(id) = task else {
            return Ok(false);
        };
        let live = self.find(
            "SELECT 1 FROM conveyor_tasks WHERE id = ?1 AND state < 4",
            [id_to(id)],
            |_| Ok(()),
        )?;
        Ok(live.is_some())
    }
}

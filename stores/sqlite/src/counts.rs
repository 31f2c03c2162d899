//! What a step counts, by stream: written once, in the step's own transaction.

use conveyor_core::Counts;
use conveyor_core::TaskState;
use rusqlite::Row;

use crate::error::Result;
use crate::sql::Sql;
use crate::step::Stream;

/// A column of the table of streams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Scheduled,
    Queued,
    Active,
    Parked,
    Enqueued,
    Processed,
    Failed,
    Cancelled,
    Crashed,
    Retried,
    Panicked,
    TimedOut,
    Snoozed,
    Returned,
    Duplicates,
}

const COLUMNS: usize = 15;

/// The columns in the order of [`Count`], for [`counts_from`].
pub(crate) const COUNTS: &str = "scheduled, queued, active, parked, enqueued, processed, failed, \
    cancelled, crashed, retried, panicked, timed_out, snoozed, returned, duplicates";

const ADD: &str = "UPDATE conveyor_streams SET scheduled = scheduled + ?2, queued = queued + ?3, \
    active = active + ?4, parked = parked + ?5, enqueued = enqueued + ?6, \
    processed = processed + ?7, failed = failed + ?8, cancelled = cancelled + ?9, \
    crashed = crashed + ?10, retried = retried + ?11, panicked = panicked + ?12, \
    timed_out = timed_out + ?13, snoozed = snoozed + ?14, returned = returned + ?15, \
    duplicates = duplicates + ?16 WHERE stream = ?1";

impl Count {
    /// How many tasks are in that state now; of ended ones it is told how they ended.
    pub(crate) fn of(state: TaskState) -> Option<Count> {
        match state {
            TaskState::Scheduled => Some(Count::Scheduled),
            TaskState::Queued => Some(Count::Queued),
            TaskState::Active => Some(Count::Active),
            TaskState::Parked => Some(Count::Parked),
            _ => None,
        }
    }
}

/// What is to be added to the counts of each stream. There are few in a step.
#[derive(Debug, Default)]
pub(crate) struct Deltas(Vec<(Stream, [i64; COLUMNS])>);

impl Deltas {
    pub(crate) fn add(&mut self, stream: Stream, count: Count, by: i64) {
        let at = self.0.iter().position(|&(of, _)| of == stream).unwrap_or_else(|| {
            self.0.push((stream, [0; COLUMNS]));
            self.0.len() - 1
        });
        self.0[at].1[count as usize] += by;
    }

    pub(crate) fn write(self, sql: Sql<'_>) -> Result<()> {
        for (stream, deltas) in self.0 {
            if deltas != [0; COLUMNS] {
                let mut values = [stream.0; COLUMNS + 1];
                values[1..].copy_from_slice(&deltas);
                sql.run(ADD, values)?;
            }
        }
        Ok(())
    }
}

/// The counts in the columns of [`COUNTS`], from `first` on.
pub(crate) fn counts_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let count = |count: Count| -> rusqlite::Result<u64> {
        let number: i64 = row.get(first + count as usize)?;
        Ok(number.max(0).cast_unsigned())
    };
    let mut counts = Counts::default();
    counts.scheduled = count(Count::Scheduled)?;
    counts.queued = count(Count::Queued)?;
    counts.active = count(Count::Active)?;
    counts.parked = count(Count::Parked)?;
    counts.enqueued = count(Count::Enqueued)?;
    counts.processed = count(Count::Processed)?;
    counts.failed = count(Count::Failed)?;
    counts.cancelled = count(Count::Cancelled)?;
    counts.crashed = count(Count::Crashed)?;
    counts.retried = count(Count::Retried)?;
    counts.panicked = count(Count::Panicked)?;
    counts.timed_out = count(Count::TimedOut)?;
    counts.snoozed = count(Count::Snoozed)?;
    counts.returned = count(Count::Returned)?;
    counts.duplicates = count(Count::Duplicates)?;
    Ok(counts)
}

//! When things are due: a cadence, and what to do about instants that were missed.
//!
//! Nothing here knows what time it is. A schedule's instants follow from its definition and its
//! anchor alone, so that every process computes the same ones; [`Schedule::due`] is told the
//! high-water mark and the time, and says what to fire.

mod cadence;
mod calendar;
mod cron;
#[cfg(test)]
mod daylight;
mod due;
mod error;
mod interval;
mod policy;
mod zone;

use std::time::Duration;

pub use cadence::Cadence;
pub use cron::Cron;
pub use due::{Due, MAX_CATCH_UP, MISSED_AFTER};
pub use error::ScheduleError;
pub use interval::Interval;
pub use policy::{Missed, Overlap};

/// A cadence and its two policies.
///
/// ```
/// use conveyor_core::schedule::{Missed, Schedule};
///
/// let schedule = Schedule::cron_in("30 9 * * MON-FRI", "Europe/Berlin")?.missed(Missed::All);
/// assert_eq!(schedule.cadence.to_string(), "cron 30 9 * * MON-FRI @ Europe/Berlin");
/// # Ok::<(), conveyor_core::schedule::ScheduleError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When it fires.
    pub cadence: Cadence,
    /// What happens to instants that were missed; by default the latest makes up for all.
    pub missed: Missed,
    /// What happens while the last tick's task has not ended; by default nothing fires.
    pub overlap: Overlap,
}

impl Schedule {
    /// Fires at the anchor and then each `period`.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::TooShort`] if the period is below 1 ms.
    pub fn every(period: Duration) -> Result<Self, ScheduleError> {
        Ok(Cadence::Interval(Interval::new(period)?).into())
    }

    /// Fires when a [cron expression](Cron) says so, in UTC.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Expression`] if it can't be read, [`ScheduleError::Never`] if it never
    /// fires.
    pub fn cron(expression: &str) -> Result<Self, ScheduleError> {
        Ok(Cadence::Cron(Cron::new(expression)?).into())
    }

    /// Fires when a [cron expression](Cron) says so, in a zone such as `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// As [`Schedule::cron`], and [`ScheduleError::Zone`] if there is no such zone.
    pub fn cron_in(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        Ok(Cadence::Cron(Cron::in_zone(expression, zone)?).into())
    }

    /// The same schedule with this policy for missed instants.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The same schedule with this policy for a tick whose predecessor has not ended.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }
}

/// The cadence with the default policies.
impl From<Cadence> for Schedule {
    fn from(cadence: Cadence) -> Self {
        Schedule { cadence, missed: Missed::default(), overlap: Overlap::default() }
    }
}

//! When a schedule fires, whatever became of earlier instants.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Cron, Interval, ScheduleError};
use crate::time::Timestamp;

/// When a schedule fires.
///
/// Its text, such as `every 5s` or `cron 0 */5 * * * * @ Europe/Berlin`, is what a store keeps:
/// there is one for each cadence, and reading it gives the cadence back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// A fixed period from the anchor.
    Interval(Interval),
    /// A cron expression in a zone.
    Cron(Cron),
}

impl Cadence {
    /// The first instant strictly after `after`, or `None` if there is none: after the last
    /// representable time, or for cron after the year 9999.
    ///
    /// No instant lies before the `anchor`. An interval counts from it, and it is an interval's
    /// first instant; a cron expression fires at it only if it matches.
    #[must_use]
    pub fn next_after(&self, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match self {
            Cadence::Interval(interval) => interval.next_after(anchor, after),
            Cadence::Cron(cron) => cron.next_after(after.max(anchor - Duration::from_micros(1))),
        }
    }

    /// The last instant at or before `until`, or `None` if there is none since the `anchor`.
    #[must_use]
    pub fn last_until(&self, anchor: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match self {
            Cadence::Interval(interval) => interval.last_until(anchor, until),
            Cadence::Cron(cron) => cron.last_until(until).filter(|&last| last >= anchor),
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cadence::Interval(interval) => write!(f, "every {interval}"),
            Cadence::Cron(cron) => write!(f, "cron {cron}"),
        }
    }
}

impl FromStr for Cadence {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        match text.trim().split_once(char::is_whitespace) {
            Some(("every", period)) => period.parse().map(Cadence::Interval),
            Some(("cron", expression)) => expression.parse().map(Cadence::Cron),
            _ => Err(ScheduleError::Cadence { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["every 5s", "every 1000001ns", "cron 0 */5 * * * * @ Europe/Berlin"] {
            assert_eq!(text.parse::<Cadence>().unwrap().to_string(), text);
        }
        for text in ["", "5s", "every", "every ", "cron", "each 5s", "Every 5s", "every5s"] {
            assert!(
                matches!(text.parse::<Cadence>(), Err(ScheduleError::Cadence { .. })),
                "{text}: {:?}",
                text.parse::<Cadence>()
            );
        }
    }

    #[test]
    fn cron_does_not_fire_before_its_anchor() {
        let cadence: Cadence = "cron 0 * * * *".parse().unwrap();
        let hour = |n: i64| Timestamp::from_secs(n * 3_600);
        assert_eq!(cadence.next_after(hour(5), hour(1)), Some(hour(5)));
        assert_eq!(cadence.next_after(hour(5), hour(5)), Some(hour(6)));
        let late = hour(5) + Duration::from_micros(1);
        assert_eq!(cadence.next_after(late, hour(1)), Some(hour(6)));
        assert_eq!(cadence.last_until(late, late), None);
        assert_eq!(cadence.last_until(hour(5), late), Some(hour(5)));
    }
}

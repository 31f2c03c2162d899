//! Civil times of a zone, where a clock change leaves some out and repeats others.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::ScheduleError;

/// A time zone of the IANA database that is compiled in.
///
/// The machine's own database is not read: two processes that share a schedule have to agree on
/// its instants, and this crate does no I/O.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    rules: TimeZone,
    name: Box<str>,
}

impl Zone {
    pub(super) fn utc() -> Self {
        Zone { rules: TimeZone::UTC, name: "UTC".into() }
    }

    pub(super) fn named(name: &str) -> Result<Self, ScheduleError> {
        let database = TimeZoneDatabase::bundled();
        match database.get(name) {
            Ok(rules) if !rules.is_unknown() => {
                let name = rules.iana_name().unwrap_or(name).into();
                Ok(Zone { rules, name })
            }
            _ => Err(ScheduleError::Zone {
                zone: name.to_owned(),
                example: nearest(&database, name).unwrap_or_else(|| "Europe/Berlin".to_owned()),
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a clock on the wall shows.
    pub(super) fn civil(&self, time: Timestamp) -> DateTime {
        self.rules.to_datetime(time)
    }

    /// The instant of a civil time: the first of two, or the clock change that leaves it out.
    ///
    /// A later civil time never has an earlier instant.
    pub(super) fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        match self.rules.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { before, after } => {
                // Read by the new clock, the time lies before the change; by the old, after it.
                let earlier = after.to_timestamp(civil).ok()?;
                let later = before.to_timestamp(civil).ok()?;
                let change = self.rules.following(earlier).find(|change| change.offset() == after);
                Some(change.map_or(later, |change| change.timestamp().min(later)))
            }
        }
    }

    /// The last civil time, in whole seconds, whose [`instant`](Self::instant) has come.
    pub(super) fn reached(&self, now: Timestamp) -> DateTime {
        let civil = self.civil(now);
        let offset = self.rules.to_offset(now);
        match self.rules.to_ambiguous_timestamp(civil).offset() {
            // The clock was put back and shows a time for the second time: every time that it
            // showed before then has been reached.
            AmbiguousOffset::Fold { before, after } if offset == after => self
                .rules
                .preceding(just_after(now))
                .find(|change| change.offset() == after)
                .map_or(civil, |change| before.to_datetime(change.timestamp() - SECOND)),
            _ => civil,
        }
    }

    /// The next change of the clock after `now`.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.rules.following(now).next().map(|change| change.timestamp())
    }

    /// The last change of the clock at or before `now`.
    pub(super) fn last_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.rules.preceding(just_after(now)).next().map(|change| change.timestamp())
    }

    /// The instant of a civil time that lies in the same stretch without a change as `near`.
    pub(super) fn instant_near(&self, civil: DateTime, near: Timestamp) -> Option<Timestamp> {
        self.rules.to_offset(near).to_timestamp(civil).ok()
    }
}

pub(super) const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn just_after(time: Timestamp) -> Timestamp {
    time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(time)
}

/// The zone whose city is the one that was written, for those who forget the continent.
fn nearest(database: &TimeZoneDatabase, name: &str) -> Option<String> {
    let city = name.rsplit('/').next().unwrap_or(name).trim().replace(' ', "_");
    database
        .available()
        .map(|zone| zone.as_str().to_owned())
        .find(|zone| zone.rsplit('/').next().is_some_and(|known| known.eq_ignore_ascii_case(&city)))
}

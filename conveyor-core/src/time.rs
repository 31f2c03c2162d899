//! Points in time, as values: nothing in this crate reads a clock.
//!
//! [`Timestamp`] is wall-clock time, the time of a store, which processes can compare;
//! [`Instant`] is one process's monotonic time, for deadlines and timers.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

/// An instant of wall-clock time in UTC, in whole microseconds since the Unix epoch.
///
/// Microseconds are what PostgreSQL keeps, so a timestamp survives every store unchanged.
/// Arithmetic saturates: a delay of a thousand years is far in the future, not an overflow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch, 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Timestamp = Timestamp(0);
    /// The latest timestamp there is.
    pub const MAX: Timestamp = Timestamp(i64::MAX);
    /// The earliest timestamp there is.
    pub const MIN: Timestamp = Timestamp(i64::MIN);

    /// The timestamp that many microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// The timestamp that many whole seconds after the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this timestamp; zero if `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        u64::try_from(micros).map_or(Duration::ZERO, Duration::from_micros)
    }

    /// The same instant as a [`jiff::Timestamp`]; clamped to the range that jiff has.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(saturating_micros(by)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(saturating_micros(by)))
    }
}

fn saturating_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Timestamp(saturating_micros(since)),
            Err(before) => Timestamp(-saturating_micros(before.duration())),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let offset = Duration::from_micros(time.0.unsigned_abs());
        if time.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(offset)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(offset)
        }
        .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Timestamp(time.as_microsecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_jiff().fmt(f)
    }
}

/// An instant of one process's monotonic time, in nanoseconds since an origin of the runtime's.
///
/// It never goes back, and means nothing in another process. 2⁶⁴ nanoseconds are 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// An instant that never comes.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The instant that many nanoseconds after the runtime's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// Nanoseconds since the runtime's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, by: Duration) -> Instant {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
        assert_eq!(Instant::FAR_FUTURE + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(
            Timestamp::MAX.saturating_since(Timestamp::MIN),
            Duration::from_micros(u64::MAX)
        );
    }

    #[test]
    fn system_time_round_trips_on_both_sides_of_the_epoch() {
        for micros in [-5_000_001, 0, 1_700_000_000_123_456] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
    }

    #[test]
    fn what_jiff_cannot_tell_is_clamped_at_the_end_where_it_lies() {
        assert_eq!(Timestamp::MAX.to_jiff(), jiff::Timestamp::MAX);
        assert_eq!(Timestamp::MIN.to_jiff(), jiff::Timestamp::MIN);
    }

    proptest! {
        #[test]
        fn no_time_makes_it_panic(micros: i64, by: Duration) {
            let time = Timestamp::from_micros(micros);
            prop_assert!(time + by >= time && time - by <= time);
            let _ = (time.to_string(), time.to_jiff(), (time + by).saturating_since(time));
        }
    }
}

//! A fixed period from an anchor, free of drift, in constant time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::ScheduleError;
use crate::time::Timestamp;

/// Instants at `anchor + n × period` for n = 0, 1, 2, …
///
/// Each instant is computed from the anchor, so that neither late ticks nor rounding add up. A
/// period with a fraction of a microsecond is kept whole; its instants are rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    period: Duration,
}

impl Interval {
    /// The shortest period there is. What has to run more often is a loop, not a schedule.
    pub const SHORTEST: Duration = Duration::from_millis(1);

    /// Instants that far apart.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::TooShort`] if the period is below [`Interval::SHORTEST`].
    pub const fn new(period: Duration) -> Result<Self, ScheduleError> {
        if period.as_nanos() < Self::SHORTEST.as_nanos() {
            return Err(ScheduleError::TooShort { period });
        }
        Ok(Interval { period })
    }

    /// The time from one instant to the next.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.period
    }

    /// The first instant after `after`; `None` if there is none before the end of time.
    pub(super) fn next_after(self, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
        if after < anchor {
            return Some(anchor);
        }
        // ⌊n × period⌋ µs > elapsed µs is the same as n × period ≥ (elapsed + 1) µs.
        let n = nanos_past(anchor, after).div_ceil(self.period.as_nanos());
        self.nth(anchor, n)
    }

    /// The last instant at or before `until`.
    pub(super) fn last_until(self, anchor: Timestamp, until: Timestamp) -> Option<Timestamp> {
        if until < anchor {
            return None;
        }
        let n = (nanos_past(anchor, until) - 1) / self.period.as_nanos();
        self.nth(anchor, n)
    }

    fn nth(self, anchor: Timestamp, n: u128) -> Option<Timestamp> {
        // Below 2¹²⁸: n × period is at most a period (2⁹⁴ ns) above the range of timestamps.
        let micros = i128::try_from(n * self.period.as_nanos() / 1_000).ok()?;
        let instant = i128::from(anchor.as_micros()).checked_add(micros)?;
        i64::try_from(instant).ok().map(Timestamp::from_micros)
    }
}

/// The nanoseconds from `anchor` to the end of the microsecond that starts at `time`.
fn nanos_past(anchor: Timestamp, time: Timestamp) -> u128 {
    (time.saturating_since(anchor).as_micros() + 1) * 1_000
}

/// Units from the largest, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A whole number of the largest unit that divides the period: `5s`, `90m`, `1500us`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.period.as_nanos();
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| nanos.is_multiple_of(*size))
            .expect("invariant: one nanosecond divides every period");
        write!(f, "{}{unit}", nanos / size)
    }
}

/// Reads a sum of whole numbers with units (`d`, `h`, `m`, `s`, `ms`, `us`, `ns`), such as `90s`
/// or `1m 30s`.
impl FromStr for Interval {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let period = parse_period(text)
            .ok_or_else(|| ScheduleError::Cadence { text: format!("every {text}") })?;
        Interval::new(period)
    }
}

fn parse_period(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == name)?;
        nanos = nanos.checked_add(number.parse::<u128>().ok()?.checked_mul(size)?)?;
        rest = tail.trim_start();
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let subsecond = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, subsecond))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every(period: Duration) -> Interval {
        Interval::new(period).unwrap()
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn the_anchor_is_the_first_instant() {
        let interval = every(Duration::from_secs(5));
        let anchor = at(-3_000_001);
        assert_eq!(interval.next_after(anchor, Timestamp::MIN), Some(anchor));
        assert_eq!(interval.next_after(anchor, anchor - Duration::from_micros(1)), Some(anchor));
        assert_eq!(interval.next_after(anchor, anchor), Some(at(1_999_999)));
        assert_eq!(interval.next_after(anchor, at(1_999_998)), Some(at(1_999_999)));
        assert_eq!(interval.next_after(anchor, at(1_999_999)), Some(at(6_999_999)));
        assert_eq!(interval.last_until(anchor, at(-3_000_002)), None);
        assert_eq!(interval.last_until(anchor, at(1_999_998)), Some(anchor));
        assert_eq!(interval.last_until(anchor, at(1_999_999)), Some(at(1_999_999)));
    }

    #[test]
    fn a_fraction_of_a_microsecond_does_not_drift() {
        let interval = every(Duration::from_nanos(1_000_001));
        let mut instant = at(0);
        for _ in 0..1_000_000 {
            instant = interval.next_after(at(0), instant).unwrap();
        }
        assert_eq!(instant, at(1_000_001_000));
    }

    #[test]
    fn a_period_longer_than_time_fires_once() {
        let interval = every(Duration::MAX);
        assert_eq!(interval.next_after(at(0), at(-1)), Some(at(0)));
        assert_eq!(interval.next_after(Timestamp::MIN, Timestamp::MIN), None);
        assert_eq!(interval.last_until(at(0), Timestamp::MAX), Some(at(0)));
    }

    #[test]
    fn below_a_millisecond_is_refused() {
        assert!(Interval::new(Duration::from_micros(1_000)).is_ok());
        for period in [Duration::ZERO, Duration::from_nanos(999_999)] {
            assert_eq!(Interval::new(period), Err(ScheduleError::TooShort { period }));
        }
        assert_eq!(
            "999us".parse::<Interval>().unwrap_err().to_string(),
            "an interval of 999µs is too short; use 1ms or more"
        );
    }

    #[test]
    fn text_is_the_largest_whole_unit() {
        for (text, canonical) in [
            ("5s", "5s"),
            ("1m 30s", "90s"),
            ("1m30s", "90s"),
            ("60m", "1h"),
            ("48h", "2d"),
            ("1500ms", "1500ms"),
            ("1000001ns", "1000001ns"),
        ] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), canonical);
        }
        for text in ["", "5", "s", "5 s", "-5s", "5.5s", "5y", "1m,2s", "99999999999999999999999d"]
        {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn next_and_last_meet(
            anchor: i64, time: i64,
            seconds in prop_oneof![0_u64..100, any::<u64>()],
            nanos in 1_000_000_u32..1_000_000_000,
        ) {
            let interval = every(Duration::new(seconds, nanos));
            let (anchor, time) = (at(anchor), at(time));
            let last = interval.last_until(anchor, time);
            prop_assert!(last.is_none_or(|last| anchor <= last && last <= time));
            prop_assert_eq!(last.is_none(), time < anchor);
            let next = interval.next_after(anchor, time);
            prop_assert!(next.is_none_or(|next| next > time && next >= anchor));
            // Nothing lies between the two: the next one after the last one is the next one.
            if let Some(last) = last {
                prop_assert_eq!(interval.next_after(anchor, last), next);
            }
            if let Some(next) = next {
                prop_assert_eq!(interval.last_until(anchor, next), Some(next));
                prop_assert_eq!(interval.last_until(anchor, at(next.as_micros() - 1)), last);
            }
        }

        #[test]
        fn text_round_trips(seconds: u64, nanos in 1_000_000_u32..1_000_000_000) {
            let interval = every(Duration::new(seconds, nanos));
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }
    }
}

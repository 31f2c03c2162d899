//! Cron expressions in a time zone.
//!
//! `docs/decisions/cron-and-daylight-saving.md` says why clock changes are dealt with here
//! and not by croner.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use croner::parser::{CronParser, Year};
use jiff::Timestamp as Exact;

use super::ScheduleError;
use super::calendar::Calendar;
use super::zone::{SECOND, Zone};
use crate::time::Timestamp;

/// A cron expression and the time zone that it is read in.
///
/// Five fields (minute, hour, day of the month, month, weekday) or six (seconds first), or one
/// of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@hourly`. Lists, ranges, steps,
/// names (`MON`, `JAN`), `L` (last), `W` (nearest working day), `5#2` (second Friday) and `5L`
/// (last Friday) are understood; weekdays are 0 to 7 with Sunday at both ends. If both the day
/// of the month and the weekday are given, one of them is enough, as in every cron; a `+` before
/// the weekday asks for both.
///
/// # When the clock changes
///
/// An expression whose hours are `*` or hold a range such as `8-17` is a *rhythm*: it fires
/// whenever the wall clock shows a matching time, so a repeated hour repeats it and a left-out
/// hour adds nothing. Every other expression names *times of the day*, each of which fires once
/// a day: one that the clock leaves out at the change itself, one that it shows twice the first
/// time. A step such as `*/6` is four times of the day.
///
/// Two of these are equal if their text is, letter case and spaces apart.
#[derive(Clone, Debug)]
pub struct Cron {
    expression: Box<str>,
    zone: Zone,
    rhythm: bool,
    calendar: Arc<Calendar>,
}

impl Cron {
    /// An expression in UTC.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Expression`] if it can't be read, [`ScheduleError::Never`] if no day
    /// matches it.
    pub fn new(expression: &str) -> Result<Self, ScheduleError> {
        Self::parse(expression, Zone::utc())
    }

    /// An expression in a zone of the IANA database, such as `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// As [`Cron::new`], and [`ScheduleError::Zone`] if there is no such zone.
    pub fn in_zone(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        Self::parse(expression, Zone::named(zone)?)
    }

    /// The expression, with single spaces and names in capitals.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The IANA name of the zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    fn parse(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let refused = |reason: String| ScheduleError::Expression {
            expression: expression.to_owned(),
            reason,
        };
        let written = Written::new(expression).map_err(refused)?;
        let cron = parser().parse(&written.fields.join(" ")).map_err(|error| {
            refused(written.blame().unwrap_or_else(|| lower_case(&error.to_string())))
        })?;
        let calendar = Calendar::new(&cron.pattern)
            .map_err(|error| refused(lower_case(&error.to_string())))?
            .ok_or_else(|| ScheduleError::Never { expression: expression.to_owned() })?;
        Ok(Cron {
            rhythm: written.is_rhythm(),
            expression: written.text.into(),
            zone,
            calendar: Arc::new(calendar),
        })
    }

    /// The first instant after `after`; `None` if there is none before the year 10,000.
    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = whole_second(after);
        let instant = if self.rhythm {
            self.next_of_rhythm(after.checked_add(SECOND).ok()?)
        } else {
            let reached = self.zone.reached(after);
            let civil = self.calendar.at_or_after(reached.checked_add(SECOND).ok()?)?;
            self.zone.instant(civil)
        };
        instant.map(Timestamp::from)
    }

    /// The last instant at or before `until`.
    pub(super) fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let until = whole_second(until);
        let instant = if self.rhythm {
            self.last_of_rhythm(until)
        } else {
            self.zone.instant(self.calendar.at_or_before(self.zone.reached(until))?)
        };
        instant.map(Timestamp::from)
    }

    /// Searches one stretch between two clock changes after the other.
    fn next_of_rhythm(&self, mut from: Exact) -> Option<Exact> {
        loop {
            let change = self.zone.next_change(from);
            let instant = self
                .calendar
                .at_or_after(self.zone.civil(from))
                .and_then(|civil| self.zone.instant_near(civil, from));
            match change {
                Some(change) if instant.is_none_or(|instant| instant >= change) => from = change,
                _ => return instant,
            }
        }
    }

    fn last_of_rhythm(&self, mut until: Exact) -> Option<Exact> {
        loop {
            let change = self.zone.last_change(until);
            let instant = self
                .calendar
                .at_or_before(self.zone.civil(until))
                .and_then(|civil| self.zone.instant_near(civil, until));
            match change {
                Some(change) if instant.is_none_or(|instant| instant < change) => {
                    until = change.checked_sub(SECOND).ok()?;
                }
                _ => return instant,
            }
        }
    }
}

/// The last whole second at or before a time, clamped to the range that jiff has.
fn whole_second(time: Timestamp) -> Exact {
    let seconds = time.as_micros().div_euclid(1_000_000);
    Exact::from_second(seconds).unwrap_or(if seconds < 0 { Exact::MIN } else { Exact::MAX })
}

fn parser() -> CronParser {
    CronParser::builder().year(Year::Disallowed).build()
}

const NICKNAMES: [(&str, &str); 6] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const FIELDS: [&str; 6] = ["second", "minute", "hour", "day", "month", "weekday"];

/// An expression in its canonical spelling, and its fields.
struct Written {
    text: String,
    fields: Vec<String>,
}

impl Written {
    fn new(expression: &str) -> Result<Self, String> {
        if expression.trim_start().starts_with('@') {
            let text = expression.trim().to_ascii_lowercase();
            let Some((_, fields)) = NICKNAMES.into_iter().find(|(name, _)| *name == text) else {
                let known = NICKNAMES.map(|(name, _)| name).join(", ");
                return Err(format!("the nicknames are {known}"));
            };
            return Ok(Written { text, fields: fields.split(' ').map(str::to_owned).collect() });
        }
        let fields: Vec<_> = expression.split_whitespace().map(str::to_ascii_uppercase).collect();
        if !(5..=6).contains(&fields.len()) {
            return Err(format!("it has {} fields, not 5 or 6", fields.len()));
        }
        let written = Written { text: fields.join(" "), fields };
        // croner lets these pass: it drops empty items, and reads `MON` as 1 in any field.
        for (name, field) in written.named_fields() {
            let letters = field.contains(|c: char| c.is_ascii_alphabetic());
            if field.split(',').any(str::is_empty) || (letters && FIELDS[..3].contains(&name)) {
                return Err(format!("`{field}` is no {name} field"));
            }
        }
        Ok(written)
    }

    fn named_fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = FIELDS.iter().skip(FIELDS.len() - self.fields.len());
        names.copied().zip(self.fields.iter().map(String::as_str))
    }

    /// Which field croner refuses, found by trying each of them alone.
    fn blame(&self) -> Option<String> {
        self.named_fields().find_map(|(name, field)| {
            let alone = FIELDS.map(|other| if other == name { field } else { "*" }).join(" ");
            let error = parser().parse(&alone).err()?;
            let text = error.to_string();
            let reason = text.split_once(": ").map_or(text.as_str(), |(_, reason)| reason);
            Some(format!("`{field}` is no {name} field ({})", lower_case(reason)))
        })
    }

    /// Whether the hours are `*` or hold a range without gaps.
    fn is_rhythm(&self) -> bool {
        let hours = self.named_fields().find(|(name, _)| *name == "hour");
        hours.is_some_and(|(_, hours)| {
            hours.split(',').any(|item| {
                let item = item.strip_suffix("/1").unwrap_or(item);
                match item.split_once('-') {
                    Some((first, last)) => !item.contains('/') && first != last,
                    None => item == "*",
                }
            })
        })
    }
}

fn lower_case(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut rest = message.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.zone() == other.zone()
    }
}

impl Eq for Cron {}

/// The expression and, always, its zone: `0 9 * * MON-FRI @ Europe/Berlin`.
impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @ {}", self.expression, self.zone())
    }
}

/// Reads what [`Display`](fmt::Display) writes; without a zone it is UTC.
impl FromStr for Cron {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        match text.rsplit_once(" @ ") {
            Some((expression, zone)) => Cron::in_zone(expression, zone.trim()),
            None => Cron::new(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(expression: &str) -> String {
        Cron::new(expression).unwrap_err().to_string()
    }

    #[test]
    fn text_is_canonical_and_round_trips() {
        for (text, canonical) in [
            ("*/5 * * * *", "*/5 * * * * @ UTC"),
            (" 0  30 9 ? jan-mar mon @ europe/berlin ", "0 30 9 ? JAN-MAR MON @ Europe/Berlin"),
            ("@Daily @ Asia/Kathmandu", "@daily @ Asia/Kathmandu"),
            ("@hourly", "@hourly @ UTC"),
        ] {
            let cron: Cron = text.parse().unwrap();
            assert_eq!(cron.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(cron));
        }
        assert_ne!(Cron::new("@daily"), Cron::in_zone("@daily", "Asia/Tokyo"));
        assert_eq!(Cron::new("@daily"), Cron::in_zone("@daily", "utc"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (expression, part) in [
            ("", "it has 0 fields"),
            ("* * * *", "it has 4 fields"),
            ("0 0 0 1 1 * 2030", "it has 7 fields"),
            ("0 25 * * *", "`25` is no hour field (number out of bounds)"),
            ("60 0 0 * * *", "`60` is no second field"),
            ("*/0 * * * *", "`*/0` is no minute field"),
            ("0 0 1,,2 * *", "`1,,2` is no day field"),
            ("MON 0 * * *", "`MON` is no minute field"),
            ("0 0 * * 5#6", "`5#6` is no weekday field"),
            ("0 0 * FOO *", "`FOO` is no month field"),
            ("@noon", "the nicknames are @yearly,"),
        ] {
            let message = refusal(expression);
            assert!(message.starts_with(&format!("`{expression}` is not a cron")), "{message}");
            assert!(message.contains(part) && message.contains("`*/5 * * * *`"), "{message}");
        }
    }

    #[test]
    fn what_never_fires_is_refused() {
        assert_eq!(
            refusal("0 0 30 2 *"),
            "`0 0 30 2 *` never fires: no year has such a day; \
             check its day, month and weekday fields"
        );
        assert!(Cron::new("0 0 29 2 *").is_ok());
    }

    #[test]
    fn an_unknown_zone_gets_an_example() {
        let message = |zone| Cron::in_zone("@daily", zone).unwrap_err().to_string();
        assert_eq!(
            message("Mars/Olympus"),
            "`Mars/Olympus` is not a time zone; \
             use a name of the IANA database such as `Europe/Berlin`"
        );
        assert!(message("new york").ends_with("such as `America/New_York`"));
        for zone in ["", "Etc/Unknown", "../etc/passwd", "EST5EDT,M3.2.0,M11.1.0", "+02:00"] {
            assert!(message(zone).contains("is not a time zone"), "{zone}");
        }
    }

    #[test]
    fn the_hour_field_decides_what_is_a_rhythm() {
        for (hours, rhythm) in [
            ("*", true),
            ("*/1", true),
            ("8-17", true),
            ("0,8-17/1", true),
            ("*/2", false),
            ("8-17/3", false),
            ("7-7", false),
            ("1,2,3", false),
            ("2", false),
        ] {
            assert_eq!(Cron::new(&format!("0 {hours} * * *")).unwrap().rhythm, rhythm, "{hours}");
            assert_eq!(Cron::new(&format!("9 0 {hours} * * *")).unwrap().rhythm, rhythm, "{hours}");
        }
        assert!(Cron::new("@hourly").unwrap().rhythm);
        assert!(!Cron::new("@daily").unwrap().rhythm);
    }

    #[test]
    fn the_ends_of_time_are_ends() {
        for hours in ["*", "3"] {
            let cron = Cron::in_zone(&format!("0 {hours} * * *"), "America/New_York").unwrap();
            assert_eq!(cron.next_after(Timestamp::MAX), None);
            assert!(cron.next_after(Timestamp::MIN).is_some());
            assert!(cron.last_until(Timestamp::MAX).is_some());
            assert_eq!(cron.last_until(Timestamp::MIN), None);
        }
    }

    #[test]
    fn fractions_of_a_second_are_on_either_side_of_the_epoch() {
        let cron = Cron::new("* * * * * *").unwrap();
        for second in [-1_i64, 0, 1] {
            let at = |micros: i64| Timestamp::from_micros(second * 1_000_000 + micros);
            assert_eq!(cron.next_after(at(-500_000)), Some(at(0)));
            assert_eq!(cron.next_after(at(0)), Some(at(1_000_000)));
            assert_eq!(cron.last_until(at(0)), Some(at(0)));
            assert_eq!(cron.last_until(at(-1)), Some(at(-1_000_000)));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<Cron>();
        }

        #[test]
        fn no_near_miss_makes_it_panic(text in "([0-9*/,LW#+?-]{1,5} ){4,5}[0-9*/,L#+A-Z-]{1,5}") {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert_eq!(cron.to_string().parse(), Ok(cron));
            }
        }
    }
}

//! Which civil times a cron expression names, in no zone at all.
//!
//! croner reads the expression; its answers are then kept as bits, so that a search costs no
//! more than a few words of them. Whether a day matches depends on nothing but its month, its
//! number, its weekday and the length of its month, so fourteen kinds of year (leap or not, and
//! the weekday of 1 January) answer for all years: an expression that no kind of year matches
//! is known, exactly, to never fire.

use croner::CronPattern;
use croner::errors::CronError;
use croner::time::Weekday;
use jiff::civil::{Date, DateTime};

/// The civil times of an expression, to the second.
#[derive(Debug)]
pub(super) struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    years: [Days; 14],
}

/// One bit a day of the year, 1 January first.
type Days = [u64; 6];

impl Calendar {
    /// The times that the pattern names; `None` if there are none.
    pub(super) fn new(pattern: &CronPattern) -> Result<Option<Self>, CronError> {
        let mut years = [[0; 6]; 14];
        // Any 28 years without an exception of the century hold all fourteen kinds.
        for year in 2000..2028 {
            let first = Date::constant(year, 1, 1);
            let days = &mut years[kind(first)];
            for date in first.series(jiff::Span::new().days(1)).take_while(|d| d.year() == year) {
                if day_matches(pattern, date)? {
                    let day = day_index(date);
                    days[day / 64] |= 1 << (day % 64);
                }
            }
        }
        let calendar = Calendar {
            seconds: bits(60, |second| pattern.second_match(second))?,
            minutes: bits(60, |minute| pattern.minute_match(minute))?,
            hours: bits(24, |hour| pattern.hour_match(hour))?,
            years,
        };
        let some_day = calendar.years.iter().flatten().any(|days| *days != 0);
        let some_time = calendar.seconds != 0 && calendar.minutes != 0 && calendar.hours != 0;
        Ok((some_day && some_time).then_some(calendar))
    }

    /// The first of these times at or after `from`, a whole second.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.has(today)
            && let Some(time) = self.time_at_or_after(clock(from))
        {
            return Some(at(today, time));
        }
        let time = self.time_at_or_after([0, 0, 0])?;
        Some(at(self.day_at_or_after(today.tomorrow().ok()?)?, time))
    }

    /// The last of these times at or before `until`, a whole second.
    pub(super) fn at_or_before(&self, until: DateTime) -> Option<DateTime> {
        let today = until.date();
        if self.has(today)
            && let Some(time) = self.time_at_or_before(clock(until))
        {
            return Some(at(today, time));
        }
        let time = self.time_at_or_before([23, 59, 59])?;
        Some(at(self.day_at_or_before(today.yesterday().ok()?)?, time))
    }

    fn has(&self, date: Date) -> bool {
        let day = day_index(date);
        self.years[kind(date)][day / 64] & (1 << (day % 64)) != 0
    }

    fn day_at_or_after(&self, from: Date) -> Option<Date> {
        let mut start = day_index(from);
        let mut year = from.first_of_year();
        // At most 40 years, which lie between two Mondays the 29 February around 1900.
        loop {
            let days = &self.years[kind(year)];
            for (word, &bits) in days.iter().enumerate().skip(start / 64) {
                let from_bit = if word == start / 64 { start % 64 } else { 0 };
                if let Some(bit) = bit_at_or_after(bits, from_bit) {
                    return date_of(year, word * 64 + bit);
                }
            }
            start = 0;
            year = Date::new(year.year().checked_add(1)?, 1, 1).ok()?;
        }
    }

    fn day_at_or_before(&self, until: Date) -> Option<Date> {
        let mut end = day_index(until);
        let mut year = until.first_of_year();
        loop {
            let days = &self.years[kind(year)];
            for word in (0..=end / 64).rev() {
                let until_bit = if word == end / 64 { end % 64 } else { 63 };
                if let Some(bit) = bit_at_or_before(days[word], until_bit) {
                    return date_of(year, word * 64 + bit);
                }
            }
            end = 365;
            year = Date::new(year.year().checked_sub(1)?, 1, 1).ok()?;
        }
    }

    /// Hour, minute and second of the first matching time of a day at or after this one.
    fn time_at_or_after(&self, [hour, minute, second]: [usize; 3]) -> Option<[usize; 3]> {
        let first_minute = bit_at_or_after(self.minutes, 0)?;
        let first_second = bit_at_or_after(self.seconds, 0)?;
        if self.hours & (1 << hour) != 0 {
            if self.minutes & (1 << minute) != 0
                && let Some(second) = bit_at_or_after(self.seconds, second)
            {
                return Some([hour, minute, second]);
            }
            if let Some(minute) = bit_at_or_after(self.minutes, minute + 1) {
                return Some([hour, minute, first_second]);
            }
        }
        Some([bit_at_or_after(self.hours, hour + 1)?, first_minute, first_second])
    }

    /// Hour, minute and second of the last matching time of a day at or before this one.
    fn time_at_or_before(&self, [hour, minute, second]: [usize; 3]) -> Option<[usize; 3]> {
        let last_minute = bit_at_or_before(self.minutes, 63)?;
        let last_second = bit_at_or_before(self.seconds, 63)?;
        if self.hours & (1 << hour) != 0 {
            if self.minutes & (1 << minute) != 0
                && let Some(second) = bit_at_or_before(self.seconds, second)
            {
                return Some([hour, minute, second]);
            }
            if let Some(earlier) = minute.checked_sub(1)
                && let Some(minute) = bit_at_or_before(self.minutes, earlier)
            {
                return Some([hour, minute, last_second]);
            }
        }
        Some([bit_at_or_before(self.hours, hour.checked_sub(1)?)?, last_minute, last_second])
    }
}

/// Which of the fourteen kinds of year the date is in.
fn kind(date: Date) -> usize {
    let weekday = date.first_of_year().weekday().to_sunday_zero_offset();
    weekday as usize + if date.in_leap_year() { 7 } else { 0 }
}

fn day_index(date: Date) -> usize {
    date.day_of_year() as usize - 1
}

fn date_of(year: Date, day_index: usize) -> Option<Date> {
    year.with().day_of_year(day_index as i16 + 1).build().ok()
}

fn clock(time: DateTime) -> [usize; 3] {
    [time.hour() as usize, time.minute() as usize, time.second() as usize]
}

fn at(date: Date, [hour, minute, second]: [usize; 3]) -> DateTime {
    date.at(hour as i8, minute as i8, second as i8, 0)
}

fn day_matches(pattern: &CronPattern, date: Date) -> Result<bool, CronError> {
    let (month, day) = (date.month() as u32, date.day() as u32);
    let weekday = Weekday::from_days_from_sunday(date.weekday().to_sunday_zero_offset() as u32);
    Ok(pattern.month_match(month)?
        && pattern.day_match(i32::from(date.year()), month, day, weekday)?)
}

fn bits(n: u32, matches: impl Fn(u32) -> Result<bool, CronError>) -> Result<u64, CronError> {
    let mut bits = 0;
    for value in 0..n {
        bits |= u64::from(matches(value)?) << value;
    }
    Ok(bits)
}

fn bit_at_or_after(bits: u64, from: usize) -> Option<usize> {
    let rest = bits & u64::MAX.checked_shl(from as u32)?;
    (rest != 0).then(|| rest.trailing_zeros() as usize)
}

fn bit_at_or_before(bits: u64, until: usize) -> Option<usize> {
    let rest = bits & u64::MAX.checked_shr(63_u32.checked_sub(until as u32)?)?;
    (rest != 0).then(|| 63 - rest.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan as _;
    use jiff::civil::date;

    fn calendar(expression: &str) -> Option<Calendar> {
        let cron: croner::Cron = expression.parse().unwrap();
        Calendar::new(&cron.pattern).unwrap()
    }

    #[test]
    fn leap_days_on_a_monday_are_forty_years_apart_around_a_century() {
        let calendar = calendar("0 0 29 2 +1").unwrap();
        let mut time = date(1870, 1, 1).at(0, 0, 0, 0);
        let mut years = Vec::new();
        while years.last() != Some(&1988) {
            time = calendar.at_or_after(time).unwrap();
            years.push(time.year());
            assert_eq!(calendar.at_or_before(time), Some(time));
            time += 1.second();
        }
        assert_eq!(years, [1892, 1904, 1932, 1960, 1988]);
        assert_eq!(calendar.at_or_before(date(1904, 2, 28).at(0, 0, 0, 0)).unwrap().year(), 1892);
    }

    #[test]
    fn days_that_no_year_has_are_known() {
        for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30 2 +1", "0 0 8 * +1#1"] {
            assert!(calendar(expression).is_none(), "{expression}");
        }
        // A day of the month or a weekday: one of the two is enough.
        assert!(calendar("0 0 30 2 1").is_some());
    }

    /// Against croner's own matcher, day by day and in both directions.
    #[test]
    fn every_day_of_eighty_years_agrees_with_croner() {
        for expression in [
            "0 12 L * *",
            "0 12 * * 5#L",
            "0 12 15W * *",
            "0 12 LW * *",
            "0 12 29 2 *",
            "0 12 13 * 5",
        ] {
            let cron: croner::Cron = expression.parse().unwrap();
            let calendar = calendar(expression).unwrap();
            let noon = date(1960, 1, 1).at(12, 0, 0, 0);
            let days: Vec<_> = (0..80 * 365)
                .map(|day| noon + day.days())
                .filter(|noon| day_matches(&cron.pattern, noon.date()).unwrap())
                .collect();
            for pair in days.windows(2) {
                assert_eq!(calendar.at_or_after(pair[0] + 1.second()), Some(pair[1]));
                assert_eq!(calendar.at_or_before(pair[1] - 1.second()), Some(pair[0]));
            }
        }
    }

    #[test]
    fn every_second_of_a_day_agrees_with_a_scan() {
        let calendar = calendar("7,41 */7 3,5-6 * * *").unwrap();
        let midnight = date(2024, 2, 29).at(0, 0, 0, 0);
        let matches: Vec<_> = (0..2 * 86_400)
            .map(|second| midnight + second.seconds())
            .filter(|t| {
                [3, 5, 6].contains(&t.hour())
                    && t.minute() % 7 == 0
                    && [7, 41].contains(&t.second())
            })
            .collect();
        assert_eq!(matches.len(), 2 * 3 * 9 * 2);
        for pair in matches.windows(2) {
            for t in [pair[0] + 1.second(), pair[1] - 1.second(), pair[1]] {
                assert_eq!(calendar.at_or_after(t), Some(pair[1]), "{t}");
            }
            for t in [pair[0], pair[0] + 1.second(), pair[1] - 1.second()] {
                assert_eq!(calendar.at_or_before(t), Some(pair[0]), "{t}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_are_ends() {
        let calendar = calendar("0 0 1 1 *").unwrap();
        assert_eq!(calendar.at_or_after(date(9999, 1, 2).at(0, 0, 0, 0)), None);
        assert_eq!(calendar.at_or_after(DateTime::MAX), None);
        assert_eq!(calendar.at_or_before(DateTime::MIN), Some(DateTime::MIN));
    }
}

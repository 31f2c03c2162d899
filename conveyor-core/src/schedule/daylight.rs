//! Cron across clock changes: a table for people to read, and a brute-force scan.
//!
//! The scan shares nothing with what it checks but croner's matcher: it walks the minutes of UTC
//! one by one, asks jiff what the wall clock shows, and applies the two rules as [`Cron`] states
//! them.

use std::collections::BTreeSet;

use croner::time::Weekday;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Exact};

use super::Cron;
use crate::time::Timestamp;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The instants from `from` (included) to `until` (excluded), in UTC.
fn instants(cron: &Cron, from: Exact, until: Exact) -> Vec<Exact> {
    let mut after = Timestamp::from(from - SignedDuration::from_micros(1));
    let mut instants = Vec::new();
    while let Some(next) = cron.next_after(after).filter(|next| next.to_jiff() < until) {
        assert!(next > after, "{cron}: {next} is not after {after}");
        instants.push(next.to_jiff());
        after = next;
    }
    instants
}

/// A zone, an expression, a UTC range of the instants, and what the wall clock shows at each.
type Row = (&'static str, &'static str, [&'static str; 2], &'static [&'static str]);

#[rustfmt::skip] // One row a case, to be read as a table.
const TABLE: &[Row] = &[
    // New York: 02:00 → 03:00 on 10 March 2024 (07 UTC), 02:00 → 01:00 on 3 November (06 UTC).
    ("America/New_York", "30 2 * * *", ["2024-03-09T05Z", "2024-03-12T04Z"],
        &["09T02:30-05", "10T03:00-04", "11T02:30-04"]),
    ("America/New_York", "0 2 * * *", ["2024-03-10T05Z", "2024-03-11T04Z"], &["10T03:00-04"]),
    ("America/New_York", "0,30 2,3 * * *", ["2024-03-10T05Z", "2024-03-11T04Z"],
        &["10T03:00-04", "10T03:30-04"]),
    ("America/New_York", "*/20 2 * * *", ["2024-03-10T05Z", "2024-03-11T04Z"], &["10T03:00-04"]),
    ("America/New_York", "30 * * * *", ["2024-03-10T06Z", "2024-03-10T09Z"],
        &["10T01:30-05", "10T03:30-04", "10T04:30-04"]),
    ("America/New_York", "30 0-6 * * *", ["2024-03-10T06Z", "2024-03-10T09Z"],
        &["10T01:30-05", "10T03:30-04", "10T04:30-04"]),
    ("America/New_York", "0 */2 * * *", ["2024-03-10T05Z", "2024-03-10T11Z"],
        &["10T00:00-05", "10T03:00-04", "10T04:00-04", "10T06:00-04"]),
    ("America/New_York", "30 1 * * *", ["2024-11-03T04Z", "2024-11-04T05Z"], &["03T01:30-04"]),
    ("America/New_York", "0 1,2 * * *", ["2024-11-03T04Z", "2024-11-04T05Z"],
        &["03T01:00-04", "03T02:00-05"]),
    ("America/New_York", "30 * * * *", ["2024-11-03T05Z", "2024-11-03T08Z"],
        &["03T01:30-04", "03T01:30-05", "03T02:30-05"]),
    ("America/New_York", "30 0-6 * * *", ["2024-11-03T05Z", "2024-11-03T08Z"],
        &["03T01:30-04", "03T01:30-05", "03T02:30-05"]),
    ("America/New_York", "0 */1 * * *", ["2024-11-03T05Z", "2024-11-03T08Z"],
        &["03T01:00-04", "03T01:00-05", "03T02:00-05"]),
    // Berlin: 02:00 → 03:00 on 31 March 2024, 03:00 → 02:00 on 27 October, both at 01:00 UTC.
    ("Europe/Berlin", "30 2 * * *", ["2024-03-31T00Z", "2024-04-01T12Z"],
        &["31T03:00+02", "01T02:30+02"]),
    ("Europe/Berlin", "30 2 * * *", ["2024-10-27T00Z", "2024-10-28T12Z"],
        &["27T02:30+02", "28T02:30+01"]),
    ("Europe/Berlin", "0 */2 * * *", ["2024-10-26T22Z", "2024-10-27T06Z"],
        &["27T00:00+02", "27T02:00+02", "27T04:00+01", "27T06:00+01"]),
    // Lord Howe: half an hour, 02:00 → 02:30 on 6 October 2024, 02:00 → 01:30 on 7 April.
    ("Australia/Lord_Howe", "15 2 * * *", ["2024-10-05T13Z", "2024-10-06T13Z"], &["06T02:30+11"]),
    ("Australia/Lord_Howe", "0 * * * *", ["2024-10-05T14Z", "2024-10-05T17Z"],
        &["06T01:00+10:30", "06T03:00+11"]),
    ("Australia/Lord_Howe", "45 1 * * *", ["2024-04-06T13Z", "2024-04-07T13Z"], &["07T01:45+11"]),
    ("Australia/Lord_Howe", "45 * * * *", ["2024-04-06T14Z", "2024-04-06T16:30Z"],
        &["07T01:45+11", "07T01:45+10:30", "07T02:45+10:30"]),
    // Cairo: 00:00 → 01:00 on 26 April 2024, 24:00 → 23:00 on 31 October.
    ("Africa/Cairo", "@daily", ["2024-04-25T12Z", "2024-04-27T12Z"],
        &["26T01:00+03", "27T00:00+03"]),
    ("Africa/Cairo", "0 0 * * FRI", ["2024-04-20T00Z", "2024-04-29T00Z"], &["26T01:00+03"]),
    ("Africa/Cairo", "0 */6 * * *", ["2024-04-25T16Z", "2024-04-26T04Z"],
        &["25T18:00+02", "26T01:00+03", "26T06:00+03"]),
    ("Africa/Cairo", "30 23 L * *", ["2024-10-31T00Z", "2024-11-02T00Z"], &["31T23:30+03"]),
    ("Africa/Cairo", "30 * * * *", ["2024-10-31T20Z", "2024-10-31T23Z"],
        &["31T23:30+03", "31T23:30+02", "01T00:30+02"]),
    // Apia had no 30 December 2011.
    ("Pacific/Apia", "@daily", ["2011-12-29T00Z", "2012-01-01T00Z"],
        &["29T00:00-10", "31T00:00+14", "01T00:00+14"]),
    ("Pacific/Apia", "0 12 * * *", ["2011-12-29T10Z", "2011-12-31T12Z"],
        &["29T12:00-10", "31T00:00+14", "31T12:00+14"]),
    ("Pacific/Apia", "0 12 30 12 *", ["2011-01-01T00Z", "2012-12-01T00Z"], &["31T00:00+14"]),
    ("Pacific/Apia", "0 * * * *", ["2011-12-30T08Z", "2011-12-30T12Z"],
        &["29T22:00-10", "29T23:00-10", "31T00:00+14", "31T01:00+14"]),
    // Kathmandu is five hours and three quarters ahead, all year.
    ("Asia/Kathmandu", "0 */12 * * *", ["2024-03-30T18:15Z", "2024-03-31T18:15Z"],
        &["31T00:00+05:45", "31T12:00+05:45"]),
];

#[test]
fn the_table() {
    for &(zone, expression, [from, until], expected) in TABLE {
        let cron = Cron::in_zone(expression, zone).unwrap();
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let moment = |text: &str| -> Exact {
            let text = if text.contains(':') { text.to_owned() } else { text.replace('Z', ":00Z") };
            text.parse().unwrap()
        };
        let shown: Vec<_> = instants(&cron, moment(from), moment(until))
            .into_iter()
            .map(|instant| {
                let clock = rules.to_datetime(instant).strftime("%dT%H:%M").to_string();
                format!("{clock}{}", rules.to_offset(instant))
            })
            .collect();
        assert_eq!(shown, expected, "`{expression}` in {zone}");
    }
}

/// Whether croner says that a wall clock time matches, field by field.
fn matches(cron: &croner::Cron, civil: DateTime) -> bool {
    let (year, month, day) = (civil.year().into(), civil.month() as u32, civil.day() as u32);
    let weekday = Weekday::from_days_from_sunday(civil.weekday().to_sunday_zero_offset() as u32);
    cron.pattern.minute_match(civil.minute() as u32).unwrap()
        && cron.pattern.hour_match(civil.hour() as u32).unwrap()
        && cron.pattern.month_match(month).unwrap()
        && cron.pattern.day_match(year, month, day, weekday).unwrap()
}

/// What the wall clock shows, minute by minute from two days before `from`.
fn clock(rules: &TimeZone, from: Exact, until: Exact) -> Vec<(Exact, DateTime)> {
    std::iter::successors(Some(from - SignedDuration::from_hours(48)), |&minute| {
        Some(minute + MINUTE)
    })
    .take_while(|&minute| minute < until)
    .map(|minute| (minute, rules.to_datetime(minute)))
    .collect()
}

/// The instants from `from` on, by nothing but that clock and the rules.
fn scan(cron: &croner::Cron, rhythm: bool, clock: &[(Exact, DateTime)], from: Exact) -> Vec<Exact> {
    let mut fired = Vec::new();
    let mut shown = BTreeSet::new();
    let mut highest = clock[0].1 - MINUTE;
    for &(minute, now) in clock {
        let fires = if rhythm {
            matches(cron, now)
        } else {
            // What the clock left out on its way here, and what it shows for the first time.
            let mut fires = shown.insert(now) && matches(cron, now);
            while highest + MINUTE < now {
                highest += MINUTE;
                fires |= matches(cron, highest);
            }
            highest = highest.max(now);
            fires
        };
        if fires && minute >= from {
            fired.push(minute);
        }
    }
    fired
}

#[test]
fn every_minute_around_every_change_agrees_with_the_scan() {
    let expressions = [
        ("* * * * *", true),
        ("*/7 * * * *", true),
        ("30 * * * *", true),
        ("*/20 0-4 * * *", true),
        ("15 22-23 * * SUN", true),
        ("0 0 * * *", false),
        ("30 2 * * *", false),
        ("15,45 1,2,3,23 * * *", false),
        ("*/10 0 * * *", false),
        ("*/25 */2 * * *", false),
        ("59 23 L * *", false),
        ("10 12 30 12 *", false),
    ];
    let zones = [
        ("America/New_York", 2024..2025),
        ("Europe/Berlin", 2024..2025),
        ("Europe/Dublin", 2024..2025),
        ("Australia/Lord_Howe", 2024..2025),
        ("Africa/Cairo", 2024..2025),
        ("Africa/Casablanca", 2024..2025),
        ("America/Havana", 2024..2025),
        ("America/Scoresbysund", 2024..2025),
        ("Asia/Kathmandu", 1985..1987),
        ("Asia/Pyongyang", 2015..2016),
        ("America/Caracas", 2007..2008),
        ("Pacific/Apia", 2010..2012),
        ("America/St_Johns", 1987..1989),
        ("Antarctica/Troll", 2024..2025),
        ("UTC", 2024..2025),
    ];
    for (zone, years) in zones {
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let start = |year: i32| -> Exact { format!("{year}-01-01T00:00Z").parse().unwrap() };
        let (from, until) = (start(years.start), start(years.end));
        let windows: Vec<_> = windows(&rules, from, until)
            .map(|(from, until)| (from, until, clock(&rules, from, until)))
            .collect();
        for (expression, rhythm) in expressions {
            let pattern: croner::Cron = expression.parse().unwrap();
            let cron = Cron::in_zone(expression, zone).unwrap();
            for &(from, until, ref clock) in &windows {
                let fast = instants(&cron, from, until);
                let slow = scan(&pattern, rhythm, clock, from);
                assert_eq!(fast, slow, "`{expression}` in {zone}, {from} to {until}");
                backwards_agrees(&cron, &fast, from, until);
            }
        }
    }
}

/// The days around each clock change of a range, and the range's first day.
fn windows(rules: &TimeZone, from: Exact, until: Exact) -> impl Iterator<Item = (Exact, Exact)> {
    let day = SignedDuration::from_hours(24);
    let changes = rules.following(from).map(|change| change.timestamp());
    let around = changes.take_while(move |&change| change < until).map(move |change| {
        let minute = Exact::from_second(change.as_second().div_euclid(60) * 60).unwrap();
        (minute - day, minute + day)
    });
    std::iter::once((from, from + day)).chain(around)
}

/// Looking back from anywhere finds the last instant so far.
fn backwards_agrees(cron: &Cron, instants: &[Exact], from: Exact, until: Exact) {
    let mut past = instants.iter().peekable();
    let (mut last, mut minute) = (None, from);
    while minute < until {
        while let Some(&&instant) = past.peek().filter(|&&&instant| instant <= minute) {
            last = Some(instant);
            past.next();
        }
        for now in [minute, minute + SignedDuration::from_micros(59_999_999)] {
            let found = cron.last_until(now.into()).map(Timestamp::to_jiff);
            assert_eq!(found.filter(|&found| found >= from), last, "{cron} at {now}");
        }
        minute += 7 * MINUTE;
    }
}

/// Forwards from anywhere, and not only from the instants themselves: the mark of a schedule
/// may lie anywhere.
#[test]
fn forwards_from_anywhere_agrees_with_the_list() {
    for zone in ["America/New_York", "Africa/Cairo", "Australia/Lord_Howe"] {
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let year = ["2024-01-01T00:00Z", "2025-01-01T00:00Z"].map(|t| t.parse::<Exact>().unwrap());
        for (from, until) in windows(&rules, year[0], year[1]) {
            for expression in ["15,45 1,2,3,23 * * *", "15,45 * * * *"] {
                let cron = Cron::in_zone(expression, zone).unwrap();
                let list = instants(&cron, from, until);
                let mut minute = from;
                while minute < until {
                    let expected = list.iter().copied().find(|&instant| instant > minute);
                    let next = cron.next_after(minute.into()).map(Timestamp::to_jiff);
                    assert_eq!(next.filter(|&next| next < until), expected, "{cron} at {minute}");
                    minute += 7 * MINUTE;
                }
            }
        }
    }
}

/// Whole years, without picking the days: nothing happens far from a change either.
#[test]
fn whole_years_agree_with_the_scan() {
    for (zone, from, until) in [
        ("America/New_York", "2023-01-01T00:00Z", "2025-01-01T00:00Z"),
        ("Africa/Cairo", "2023-01-01T00:00Z", "2025-01-01T00:00Z"),
        ("Australia/Lord_Howe", "2023-01-01T00:00Z", "2025-01-01T00:00Z"),
    ] {
        let rules = TimeZoneDatabase::bundled().get(zone).unwrap();
        let (from, until) = (from.parse().unwrap(), until.parse().unwrap());
        let clock = clock(&rules, from, until);
        for (expression, rhythm) in [("30 2 * * *", false), ("*/17 * * * *", true)] {
            let pattern: croner::Cron = expression.parse().unwrap();
            let cron = Cron::in_zone(expression, zone).unwrap();
            assert_eq!(
                instants(&cron, from, until),
                scan(&pattern, rhythm, &clock, from),
                "`{expression}` in {zone}"
            );
        }
    }
}

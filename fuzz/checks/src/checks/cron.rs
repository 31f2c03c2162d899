//! Cron expressions and the zones that they are read in.

use std::time::Duration;

use conveyor_core::schedule::{Cadence, Cron};
use conveyor_core::{Schedule, Timestamp};

/// Where clocks never change, change by an hour, and change by half an hour.
const ZONES: [&str; 3] = ["UTC", "America/New_York", "Australia/Lord_Howe"];

/// An ordinary day; the hour that New York shows twice; the day before a February that skips its
/// leap day; a time before the epoch, when zones had seconds.
const TIMES: [i64; 4] = [1_772_000_000, 1_730_613_600, 4_107_456_000, -2_840_140_800];

/// An expression, alone or with its zone after an `@`.
///
/// # Panics
/// If something does not hold.
pub fn cron(text: &str) {
    let alone = text.parse::<Cron>();
    assert_eq!(
        format!("cron {text}").parse::<Cadence>().ok(),
        alone.clone().ok().map(Cadence::Cron)
    );
    match alone {
        Ok(cron) => check(Cadence::Cron(cron)),
        Err(error) => assert!(error.to_string().contains("; "), "the way out is told: {error}"),
    }
    for zone in ZONES {
        if let Ok(schedule) = Schedule::cron_in(text, zone) {
            check(schedule.cadence);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is compared with what is read")]
fn check(cadence: Cadence) {
    let written = cadence.to_string();
    assert_eq!(written.parse(), Ok(cadence.clone()), "{written:?}");
    for time in TIMES.map(Timestamp::from_secs) {
        let moment = Duration::from_micros(1);
        let last_until = |until| cadence.last_until(Timestamp::MIN, until);
        let next_after = |after| cadence.next_after(Timestamp::MIN, after);
        // What was accepted fires, and the two searches meet: nothing lies between them.
        let next = next_after(time).unwrap_or_else(|| panic!("{written:?} ends at {time}"));
        assert!(next > time, "{written:?}: {next} after {time}");
        assert_eq!(last_until(next), Some(next), "{written:?} after {time}");
        assert_eq!(
            last_until(next - moment),
            last_until(time),
            "{written:?} from {time} to {next}"
        );
        if let Some(last) = last_until(time) {
            assert!(last <= time, "{written:?}: {last} until {time}");
            assert_eq!(next_after(last), Some(next), "{written:?} after {last}, before {time}");
            assert_eq!(next_after(last - moment), Some(last), "{written:?} until {time}");
        }
    }
}

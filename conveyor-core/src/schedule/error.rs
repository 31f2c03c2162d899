//! What can be wrong with a schedule.

use std::time::Duration;

/// Why a schedule, or a part of one, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// An interval shorter than [`Interval::SHORTEST`](super::Interval::SHORTEST).
    #[error("an interval of {period:?} is too short; use 1ms or more")]
    TooShort {
        /// The period that was asked for.
        period: Duration,
    },

    /// A cron expression that can't be read.
    #[error(
        "`{expression}` is not a cron expression: {reason}; write minute, hour, day, month and \
         weekday, with seconds before them if needed, as in `*/5 * * * *` or `0 30 9 * * MON-FRI`"
    )]
    Expression {
        /// The expression as it was given.
        expression: String,
        /// What is wrong with it, and in which field.
        reason: String,
    },

    /// A cron expression that no day of any year matches, such as 30 February.
    #[error(
        "`{expression}` never fires: no year has such a day; check its day, month and weekday \
         fields"
    )]
    Never {
        /// The expression as it was given.
        expression: String,
    },

    /// A time zone that the bundled IANA database does not have.
    #[error("`{zone}` is not a time zone; use a name of the IANA database such as `{example}`")]
    Zone {
        /// The zone that was asked for.
        zone: String,
        /// A name that would do: the nearest one known, if there is any.
        example: String,
    },

    /// Text that is not a cadence.
    #[error("`{text}` is not a cadence; write `every 5s` or `cron 0 */5 * * * * @ Europe/Berlin`")]
    Cadence {
        /// The text as it was given.
        text: String,
    },

    /// Text that names no policy for missed instants or for overlaps.
    #[error("`{text}` is not a policy for {of}; use one of {choices}")]
    Policy {
        /// The text as it was given.
        text: String,
        /// What the policy is for.
        of: &'static str,
        /// The names there are.
        choices: &'static str,
    },
}

//! What a schedule does about instants that were missed, and about a task still running.

use std::fmt;
use std::str::FromStr;

use super::ScheduleError;

/// What happens to instants that nobody fired in time, such as those of a night when every
/// process was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Missed {
    /// The latest of them fires, the others are dropped: one task makes up for the outage.
    #[default]
    Once,
    /// Those late by more than [`MISSED_AFTER`](super::MISSED_AFTER) are dropped.
    Skip,
    /// Each of them fires, the oldest first, at most
    /// [`MAX_CATCH_UP`](super::MAX_CATCH_UP) at a time.
    ///
    /// With [`Overlap::Skip`], which is the default, an instant whose predecessor's task is still
    /// live is dropped like any other tick's; have it with [`Overlap::Allow`] to run all of them.
    All,
}

/// What happens to a tick whose predecessor's task has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overlap {
    /// The tick is dropped.
    #[default]
    Skip,
    /// The tick makes its task, and both may run.
    Allow,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Missed::Once => "once",
            Missed::Skip => "skip",
            Missed::All => "all",
        })
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Overlap::Skip => "skip",
            Overlap::Allow => "allow",
        })
    }
}

impl FromStr for Missed {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        match text {
            "once" => Ok(Missed::Once),
            "skip" => Ok(Missed::Skip),
            "all" => Ok(Missed::All),
            _ => Err(ScheduleError::Policy {
                text: text.to_owned(),
                of: "missed instants",
                choices: "once, skip, all",
            }),
        }
    }
}

impl FromStr for Overlap {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        match text {
            "skip" => Ok(Overlap::Skip),
            "allow" => Ok(Overlap::Allow),
            _ => Err(ScheduleError::Policy {
                text: text.to_owned(),
                of: "overlaps",
                choices: "skip, allow",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_round_trip_and_refuse_other_words() {
        for missed in [Missed::Once, Missed::Skip, Missed::All] {
            assert_eq!(missed.to_string().parse(), Ok(missed));
        }
        for overlap in [Overlap::Skip, Overlap::Allow] {
            assert_eq!(overlap.to_string().parse(), Ok(overlap));
        }
        assert_eq!(
            "Once".parse::<Missed>().unwrap_err().to_string(),
            "`Once` is not a policy for missed instants; use one of once, skip, all"
        );
        assert_eq!(
            "all".parse::<Overlap>().unwrap_err().to_string(),
            "`all` is not a policy for overlaps; use one of skip, allow"
        );
    }
}

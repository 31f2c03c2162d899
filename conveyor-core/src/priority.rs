//! How urgent a task is.

use std::fmt;
use std::str::FromStr;

/// How urgent a task is: larger is claimed first.
///
/// Any `i16` is a priority; four have names.
///
/// ```
/// use conveyor_core::Priority;
/// assert!(Priority::HIGH > Priority::NORMAL);
/// assert!(Priority::new(15) > Priority::HIGH);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Priority(i16);

impl Priority {
    /// −10: work that can wait.
    pub const LOW: Priority = Priority(-10);
    /// 0: the default.
    pub const NORMAL: Priority = Priority(0);
    /// 10: before all normal work.
    pub const HIGH: Priority = Priority(10);
    /// 20: before everything else.
    pub const CRITICAL: Priority = Priority(20);
    /// The least urgent there is.
    pub const MIN: Priority = Priority(i16::MIN);
    /// The most urgent there is.
    pub const MAX: Priority = Priority(i16::MAX);

    /// The priority of that number.
    #[must_use]
    pub const fn new(level: i16) -> Self {
        Priority(level)
    }

    /// The number of this priority.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Priority::LOW => Some("low"),
            Priority::NORMAL => Some("normal"),
            Priority::HIGH => Some("high"),
            Priority::CRITICAL => Some("critical"),
            _ => None,
        }
    }
}

impl From<i16> for Priority {
    fn from(level: i16) -> Self {
        Priority(level)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown priority {0:?}; use low, normal, high, critical, or a number from -32768 to 32767"
)]
pub struct PriorityError(String);

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        match text {
            "low" => Ok(Priority::LOW),
            "normal" => Ok(Priority::NORMAL),
            "high" => Ok(Priority::HIGH),
            "critical" => Ok(Priority::CRITICAL),
            number => number
                .parse()
                .map(Priority)
                .map_err(|_| PriorityError(number.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for priority in [Priority::LOW, Priority::NORMAL, Priority::CRITICAL, Priority::new(7)] {
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        let told = [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::CRITICAL];
        assert_eq!(format!("{told:?} {}", Priority::new(7)), "[low, normal, high, critical] 7");
        assert!("urgent".parse::<Priority>().unwrap_err().to_string().contains("\"urgent\""));
        let long = "9".repeat(5_000).parse::<Priority>().unwrap_err().to_string();
        assert!(long.len() < 200, "the message stays readable: {long}");
    }
}

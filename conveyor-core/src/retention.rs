//! How long stores keep the ends of tasks: [`Retention`], and [`RetentionByEnd`].

use std::time::Duration;

/// How long the ends of tasks are kept: until there are more of them than `count`, or they are
/// older than `age`, whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The most ends that are kept.
    pub count: usize,
    /// How long an end is kept.
    pub age: Duration,
}

impl Default for Retention {
    /// 10,000 ends for an hour.
    fn default() -> Self {
        Retention { count: 10_000, age: Duration::from_secs(3600) }
    }
}

/// How long the ends of tasks are kept by a store that tells them apart: whoever looks into a
/// failure comes later than whoever waits for a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionByEnd {
    /// The most ends that are kept, however they ended.
    pub count: usize,
    /// How long successes are kept.
    pub succeeded: Duration,
    /// How long failures are kept.
    pub failed: Duration,
    /// How long cancelled tasks are kept.
    pub cancelled: Duration,
    /// How long tasks that crashed their process are kept.
    pub crashed: Duration,
}

impl Default for RetentionByEnd {
    /// Successes and cancels for a day, failures and crashes for seven, however many there are.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        RetentionByEnd {
            count: usize::MAX,
            succeeded: DAY,
            failed: 7 * DAY,
            cancelled: DAY,
            crashed: 7 * DAY,
        }
    }
}

impl From<Retention> for RetentionByEnd {
    fn from(Retention { count, age }: Retention) -> Self {
        RetentionByEnd { count, succeeded: age, failed: age, cancelled: age, crashed: age }
    }
}

//! Who is who: [`TaskId`], [`Incarnation`] and the [`Fence`].

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::time::Timestamp;

/// The identity of a task: a UUID of version 7, so that ids sort by the time of their making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u128);

impl TaskId {
    /// The id with that number.
    #[must_use]
    pub const fn from_u128(id: u128) -> Self {
        TaskId(id)
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// When the id was made, in whole milliseconds, by the clock of the process that made it.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp::from_micros((self.0 >> TIME_SHIFT) as i64 * 1000)
    }

    /// The least id whose [time](TaskId::time) is `at` or later; `None` if there is none so late.
    ///
    /// Ids sort by time, so this is where an index of ids is entered for a time.
    #[must_use]
    pub fn first_from(at: Timestamp) -> Option<Self> {
        let millis = u64::try_from(at.as_micros()).unwrap_or(0).div_ceil(1000);
        (millis < 1 << TIME_BITS).then(|| TaskId(u128::from(millis) << TIME_SHIFT))
    }
}

const TIME_BITS: u32 = 48;
const TIME_SHIFT: u32 = 128 - TIME_BITS;

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no task id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no task id; expected a UUID such as 0190a6f0-6a4c-7c3e-8b8e-0f9d5f7c2a11")]
pub struct TaskIdError {
    text: String,
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        uuid::Uuid::parse_str(text)
            .map(|id| TaskId(id.as_u128()))
            .map_err(|_| TaskIdError { text: text.chars().take(64).collect() })
    }
}

/// Makes [`TaskId`]s: time, then a counter, then what is random to this generator.
///
/// Ids of one generator made within a millisecond keep their order through the 30-bit counter;
/// two generators differ in 44 random bits.
#[derive(Debug)]
pub struct TaskIds {
    random: u64,
    counter: AtomicU32,
}

const COUNTER_BITS: u32 = 30;
const RANDOM_BITS: u32 = 44;

impl TaskIds {
    /// A generator that takes its 44 distinguishing bits from `random`.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        TaskIds { random: random & ((1 << RANDOM_BITS) - 1), counter: AtomicU32::new(0) }
    }

    /// The next id, dated `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> TaskId {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let millis = (now.as_micros().max(0) as u128 / 1000) & ((1 << TIME_BITS) - 1);
        let counter = u128::from(counter & ((1 << COUNTER_BITS) - 1));
        // The 74 free bits of version 7: 30 of the counter, then 44 random ones.
        let free = (counter << RANDOM_BITS) | u128::from(self.random);
        let rand_a = free >> 62;
        let rand_b = free & ((1 << 62) - 1);
        TaskId((millis << TIME_SHIFT) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)
    }
}

/// The identity of one start of one process: random, never a name.
///
/// A host, pod or worker name comes back after a restart, and then a dead process's claims look
/// alive; an incarnation never does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation of that random number.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Incarnation(random)
    }

    /// The number of this incarnation.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What proves that an attempt still holds its task: the number of the claim, and who claimed.
///
/// A counter alone is no fence: after a crash or a failover a store can hand out the same number
/// twice. A settle or renewal whose fence is not the current one changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fence {
    /// The task that was claimed.
    pub task: TaskId,
    /// The number of the claim of this task; the first is 1.
    pub epoch: u64,
    /// The process that claimed it.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_7_and_sort_by_making() {
        let ids = TaskIds::new(u64::MAX);
        let now = Timestamp::from_secs(1_700_000_000);
        let (first, second) = (ids.next(now), ids.next(now));
        let later = ids.next(now + std::time::Duration::from_millis(1));
        assert!(first < second && second < later);
        let uuid = uuid::Uuid::from_u128(first.as_u128());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn an_id_tells_its_time_in_whole_milliseconds() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let id = TaskIds::new(7).next(at);
        assert_eq!(id.time(), Timestamp::from_micros(1_700_000_000_123_000));
        assert_eq!(TaskId::from_u128(u128::MAX).time(), Timestamp::from_micros(LAST));
    }

    const LAST: i64 = ((1 << 48) - 1) * 1000;

    #[test]
    fn the_first_id_from_a_time_parts_the_earlier_from_the_later() {
        for (from, expected) in [(-1, 0), (0, 0), (1, 1000), (999, 1000), (1000, 1000)] {
            let first = TaskId::first_from(Timestamp::from_micros(from)).expect("an id");
            assert_eq!(first.time(), Timestamp::from_micros(expected), "from {from}");
            let before = first.as_u128().checked_sub(1).map(TaskId::from_u128);
            assert!(before.is_none_or(|id| id.time() < Timestamp::from_micros(from)));
        }
        let last = TaskId::first_from(Timestamp::from_micros(LAST)).expect("the last millisecond");
        assert_eq!(last.time(), Timestamp::from_micros(LAST));
        assert_eq!(TaskId::first_from(Timestamp::from_micros(LAST + 1)), None);
        assert_eq!(TaskId::first_from(Timestamp::MAX), None);
    }

    #[test]
    fn a_text_that_is_no_id_is_refused_with_the_text() {
        let error = "welcome".parse::<TaskId>().unwrap_err().to_string();
        assert!(error.contains("\"welcome\""), "{error}");
    }
}

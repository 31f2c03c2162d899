//! How values are kept: numbers without a sign by their bits, times in microseconds, texts without
//! what PostgreSQL cannot hold.

use std::time::Duration;

use conveyor_core::store::{AttemptEnd, Budgets, PastAttempt, StoreError, StoreErrorKind};
use conveyor_core::{End, Incarnation, Key, Kind, QueueName, TaskId, Timestamp};
use uuid::Uuid;

use crate::error::NAME;

/// The most bytes that are kept of a reason.
const LONGEST_TEXT: usize = 16 * 1024;

pub(crate) fn uuid(id: TaskId) -> Uuid {
    Uuid::from_u128(id.as_u128())
}

pub(crate) fn task_id(id: Uuid) -> TaskId {
    TaskId::from_u128(id.as_u128())
}

pub(crate) fn incarnation(by: i64) -> Incarnation {
    Incarnation::new(by.cast_unsigned())
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// A duration that is not to become nothing.
pub(crate) fn micros_at_least_one(time: Duration) -> i64 {
    if time.is_zero() { 0 } else { micros(time).max(1) }
}

pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).cast_unsigned())
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(crate) fn room(room: usize) -> i32 {
    i32::try_from(room).unwrap_or(i32::MAX)
}

/// A reason, as far as it can be kept.
pub(crate) fn text(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "")
}

pub(crate) fn budgets(errors: i32, crashes: i32, interruptions: i32, snoozes: i32) -> Budgets {
    let [errors, crashes, interruptions, snoozes] =
        [errors, crashes, interruptions, snoozes].map(i32::cast_unsigned);
    Budgets { errors, crashes, interruptions, snoozes }
}

pub(crate) fn end(how: i16, why: Option<String>) -> End {
    let why = why.unwrap_or_default();
    match how {
        0 => End::Succeeded,
        1 => End::Failed(why),
        2 => End::Cancelled(why),
        _ => End::Crashed,
    }
}

/// How an attempt ended that did not end its task.
pub(crate) fn attempt(
    (epoch, by, at): (i64, i64, i64),
    how: i16,
    why: Option<String>,
) -> PastAttempt {
    let why = why.unwrap_or_default();
    let ended = match how {
        0 => AttemptEnd::Failed(why),
        1 => AttemptEnd::Snoozed,
        2 => AttemptEnd::Returned,
        3 => AttemptEnd::Parked(why),
        4 => AttemptEnd::Interrupted,
        5 => AttemptEnd::Suspected,
        _ => AttemptEnd::Crashed,
    };
    PastAttempt { epoch: epoch.cast_unsigned(), by: incarnation(by), at: time(at), ended }
}

fn not_valid(error: impl std::fmt::Display) -> StoreError {
    StoreError::new(NAME, StoreErrorKind::Incompatible, format!("a name is stored: {error}"))
}

pub(crate) fn kind(name: String) -> Result<Kind, StoreError> {
    Kind::new(name).map_err(not_valid)
}

pub(crate) fn queue(name: String) -> Result<QueueName, StoreError> {
    QueueName::new(name).map_err(not_valid)
}

pub(crate) fn key(name: Option<String>) -> Result<Option<Key>, StoreError> {
    name.map(Key::new).transpose().map_err(not_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_without_nul_and_cut_between_characters() {
        assert_eq!(text("a\0b"), "ab");
        let long = "🦀".repeat(LONGEST_TEXT);
        assert_eq!(text(&format!("x{long}")).len(), LONGEST_TEXT - 3);
    }

    #[test]
    fn numbers_come_back_by_their_bits() {
        let by = Incarnation::new(u64::MAX);
        assert_eq!(incarnation(by.get().cast_signed()), by);
        assert_eq!(duration(micros(Duration::MAX)), Duration::from_micros(i64::MAX as u64));
        assert_eq!(micros_at_least_one(Duration::from_nanos(1)), 1);
    }
}

//! How values become columns, and come back.

use std::time::Duration;

use conveyor_core::outcome::End;
use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{AttemptEnd, Budgets};
use conveyor_core::{Key, Kind, Priority, QueueName, TaskId, TaskState, Timestamp};

use crate::error::{Failure, Result};
use crate::sql::Row;

pub(crate) const SCHEDULED: i64 = 0;
pub(crate) const QUEUED: i64 = 1;
pub(crate) const ACTIVE: i64 = 2;
pub(crate) const PARKED: i64 = 3;
pub(crate) const ENDED: i64 = 4;

pub(crate) fn state_to(state: TaskState) -> i64 {
    match state {
        TaskState::Scheduled => SCHEDULED,
        TaskState::Queued => QUEUED,
        TaskState::Active => ACTIVE,
        TaskState::Parked => PARKED,
        // There is none other; a later version's is listed by nobody.
        TaskState::Ended => ENDED,
        _ => -1,
    }
}

pub(crate) fn state_from(state: i64) -> Result<TaskState> {
    match state {
        SCHEDULED => Ok(TaskState::Scheduled),
        QUEUED => Ok(TaskState::Queued),
        ACTIVE => Ok(TaskState::Active),
        PARKED => Ok(TaskState::Parked),
        ENDED => Ok(TaskState::Ended),
        other => Err(unreadable("state", &other)),
    }
}

pub(crate) fn id_to(id: TaskId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

pub(crate) fn id_from(bytes: [u8; 16]) -> TaskId {
    TaskId::from_u128(u128::from_be_bytes(bytes))
}

/// A number without a sign, by its bits.
pub(crate) fn bits(number: u64) -> i64 {
    number.cast_signed()
}

pub(crate) fn unbits(number: i64) -> u64 {
    number.cast_unsigned()
}

/// A limit for SQL, which knows no larger one.
pub(crate) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(crate) fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn timeout_to(timeout: Duration) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&timeout.as_secs().to_be_bytes());
    bytes[8..].copy_from_slice(&timeout.subsec_nanos().to_be_bytes());
    bytes
}

pub(crate) fn timeout_from(bytes: [u8; 12]) -> Result<Duration> {
    let (secs, nanos) = bytes.split_at(8);
    let (Ok(secs), Ok(nanos)) = (secs.try_into(), nanos.try_into()) else {
        return Err(unreadable("timeout", &bytes));
    };
    let nanos = u32::from_be_bytes(nanos);
    if nanos >= 1_000_000_000 {
        return Err(unreadable("timeout", &bytes));
    }
    Ok(Duration::new(u64::from_be_bytes(secs), nanos))
}

pub(crate) fn kind_from(name: &str) -> Result<Kind> {
    Kind::new(name).map_err(|_| unreadable("kind", &name))
}

pub(crate) fn queue_from(name: &str) -> Result<QueueName> {
    QueueName::new(name).map_err(|_| unreadable("queue", &name))
}

pub(crate) fn key_from(name: Option<String>) -> Result<Option<Key>> {
    name.map(|name| Key::new(name.as_str()).map_err(|_| unreadable("key", &name))).transpose()
}

pub(crate) fn priority_to(priority: Priority) -> i16 {
    priority.get()
}

pub(crate) fn payload_from(codec: &str, bytes: Vec<u8>) -> AnyPayload {
    AnyPayload::from_encoded(Encoded { codec: codec.into(), bytes: bytes.into() })
}

/// The number and the reason of an end.
pub(crate) fn end_to(end: &End) -> (i64, Option<&str>) {
    match end {
        End::Succeeded => (0, None),
        End::Failed(why) => (1, Some(why)),
        End::Cancelled(why) => (2, Some(why)),
        // `End` has no other in this version.
        _ => (3, None),
    }
}

pub(crate) fn end_from(ending: i64, why: Option<String>) -> Result<End> {
    let why = why.unwrap_or_default();
    match ending {
        0 => Ok(End::Succeeded),
        1 => Ok(End::Failed(why)),
        2 => Ok(End::Cancelled(why)),
        3 => Ok(End::Crashed),
        other => Err(unreadable("end", &other)),
    }
}

/// The number and the reason of how an attempt ended that its task outlived.
pub(crate) fn attempt_to(ended: &AttemptEnd) -> (i64, Option<&str>) {
    match ended {
        AttemptEnd::Failed(why) => (0, Some(why)),
        AttemptEnd::Snoozed => (1, None),
        AttemptEnd::Returned => (2, None),
        AttemptEnd::Parked(why) => (3, Some(why)),
        AttemptEnd::Interrupted => (4, None),
        AttemptEnd::Suspected => (5, None),
        // There is none other in this version.
        _ => (6, None),
    }
}

pub(crate) fn attempt_from(ended: i64, why: String) -> Result<AttemptEnd> {
    match ended {
        0 => Ok(AttemptEnd::Failed(why)),
        1 => Ok(AttemptEnd::Snoozed),
        2 => Ok(AttemptEnd::Returned),
        3 => Ok(AttemptEnd::Parked(why)),
        4 => Ok(AttemptEnd::Interrupted),
        5 => Ok(AttemptEnd::Suspected),
        6 => Ok(AttemptEnd::Crashed),
        other => Err(unreadable("attempt", &other)),
    }
}

/// The budgets in four columns from `first` on.
pub(crate) fn budgets_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Budgets> {
    Ok(Budgets {
        errors: row.get(first)?,
        crashes: row.get(first + 1)?,
        interruptions: row.get(first + 2)?,
        snoozes: row.get(first + 3)?,
    })
}

pub(crate) fn unreadable(what: &str, value: &dyn std::fmt::Debug) -> Failure {
    Failure::Unreadable(format!(
        "the file has a {what} that this version cannot read: {value:?}; was it written by a newer one?"
    ))
}

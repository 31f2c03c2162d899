//! What the server's errors mean to who called.

use conveyor_core::store::{StoreError, StoreErrorKind};

/// The store's name, in errors and labels.
pub(crate) const NAME: &str = "postgres";

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The transaction met another: make it once more.
    Again,
    /// The connection is of no use any more, or leads to the wrong server.
    Reconnect,
    /// It would fail again.
    None,
}

/// What to do about an error of the driver's.
pub(crate) fn remedy(error: &sqlx::Error) -> Remedy {
    match kind(error) {
        StoreErrorKind::Unavailable if is_conflict(error) => Remedy::Again,
        StoreErrorKind::Unavailable | StoreErrorKind::Refused => Remedy::Reconnect,
        _ => Remedy::None,
    }
}

/// The error for who called.
pub(crate) fn told(error: sqlx::Error) -> StoreError {
    StoreError::new(NAME, kind(&error), error)
}

pub(crate) fn unavailable(why: impl Into<String>) -> StoreError {
    StoreError::new(NAME, StoreErrorKind::Unavailable, why.into())
}

pub(crate) fn incompatible(why: impl Into<String>) -> StoreError {
    StoreError::new(NAME, StoreErrorKind::Incompatible, why.into())
}

/// Whether it is a serialization failure, a deadlock, or a lock that was not to be had in time.
fn is_conflict(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

fn kind(error: &sqlx::Error) -> StoreErrorKind {
    let Some(code) = code(error) else {
        return match error {
            sqlx::Error::Configuration(_) => StoreErrorKind::Refused,
            sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::RowNotFound => StoreErrorKind::Internal,
            // The network, the protocol, a server that went away.
            _ => StoreErrorKind::Unavailable,
        };
    };
    match code.as_str() {
        "40001" | "40P01" | "55P03" | "57014" => StoreErrorKind::Unavailable,
        // A schema, table, function or column that is not there, or not so.
        "3F000" | "42P01" | "42883" | "42703" | "42704" | "42P13" => StoreErrorKind::Incompatible,
        // No permission, read-only.
        "42501" | "25006" => StoreErrorKind::Refused,
        code => match &code[..2] {
            // No connection; an operator's doing; too many connections.
            "08" | "57" => StoreErrorKind::Unavailable,
            _ if code == "53300" => StoreErrorKind::Unavailable,
            // Who one is; no such database; disk full and the like.
            "28" | "3D" | "53" | "58" => StoreErrorKind::Refused,
            _ => StoreErrorKind::Internal,
        },
    }
}

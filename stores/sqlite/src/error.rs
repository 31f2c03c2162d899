//! What went wrong, in the words of [`StoreError`].

use conveyor_core::store::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;

/// The store's name.
pub(crate) const NAME: &str = "sqlite";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// What is stored cannot be read by this version.
    #[error("{0}")]
    Unreadable(String),
    /// The file is not what was opened.
    #[error("{0}")]
    Gone(String),
    /// Our own code panicked.
    #[error("the call panicked, and was undone; this is a bug")]
    Broken,
}

impl Failure {
    /// Whether another has the lock: to be tried again.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Whether the connection may be of no use any more.
    pub(crate) fn spoils_connection(&self) -> bool {
        let codes = [
            ErrorCode::SystemIoFailure,
            ErrorCode::DatabaseCorrupt,
            ErrorCode::CannotOpen,
            ErrorCode::NotADatabase,
            ErrorCode::ReadOnly,
        ];
        matches!(self, Failure::Gone(_)) || self.code().is_some_and(|code| codes.contains(&code))
    }

    /// Whether it is no single call's: the whole transaction is undone.
    pub(crate) fn is_everybodys(&self) -> bool {
        self.spoils_connection()
            || self.is_busy()
            || matches!(self.code(), Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Failure::Sql(error) => error.sqlite_error_code(),
            Failure::Unreadable(_) | Failure::Gone(_) | Failure::Broken => None,
        }
    }

    fn kind(&self) -> StoreErrorKind {
        match (self, self.code()) {
            (Failure::Unreadable(_), _) => StoreErrorKind::Incompatible,
            (Failure::Gone(_), _) => StoreErrorKind::Unavailable,
            (_, Some(code)) => match code {
                ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied
                | ErrorCode::CannotOpen
                | ErrorCode::TooBig => StoreErrorKind::Refused,
                ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
                    StoreErrorKind::Incompatible
                }
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Internal,
            },
            _ => StoreErrorKind::Internal,
        }
    }

    /// The error for a caller, who may be one of many.
    pub(crate) fn to_store_error(&self) -> StoreError {
        let hint = match self.code() {
            Some(ErrorCode::DiskFull) => "; nothing was changed, make room and try again",
            Some(ErrorCode::ReadOnly) => "; is the file, or its folder, read-only?",
            Some(ErrorCode::CannotOpen) => "; does the folder exist, and may it be written to?",
            Some(ErrorCode::NotADatabase) => "; this is no SQLite file",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "; somebody keeps a transaction open on the file: end it, and try again"
            }
            // SQLite does not tell these apart.
            Some(ErrorCode::SystemIoFailure) => {
                "; does the disk work, and may the file grow, or is there a quota, or a limit to \
                 the size of files?"
            }
            _ => "",
        };
        StoreError::new(NAME, self.kind(), format!("{self}{hint}"))
    }
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// What [`conveyor_core::Store`] answers once the store is closed.
pub(crate) fn closed() -> StoreError {
    StoreError::new(NAME, StoreErrorKind::Unavailable, "the store is closed")
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_can_be_done_about_it_is_said() {
        let text = |code, says: &str| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(says.into()));
            Failure::from(error).to_store_error().to_string()
        };
        let locked = text(ffi::SQLITE_BUSY, "database is locked");
        assert!(locked.contains("is locked; somebody keeps a transaction open"), "{locked}");
        let full = text(ffi::SQLITE_FULL, "database or disk is full");
        assert!(full.contains("make room"), "{full}");
        let quota = text(ffi::SQLITE_IOERR_WRITE, "disk I/O error");
        assert!(quota.contains("quota"), "{quota}");
    }
}

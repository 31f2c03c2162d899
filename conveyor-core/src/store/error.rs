//! [`StoreError`]: why a store could not do what it was asked.

use std::fmt;
use std::sync::Arc;

use crate::error::BoxError;

/// Why a store could not do what it was asked.
#[derive(Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    store: &'static str,
    source: Arc<dyn std::error::Error + Send + Sync>,
}

/// What kind of failure a [`StoreError`] is, so that a caller knows what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store cannot be reached, or did not answer in time; the effect is unknown. Try again.
    Unavailable,
    /// The store is reached but refused: no permission, disk full, read-only. Nothing happened.
    Refused,
    /// What is stored is not what this version expects.
    Incompatible,
    /// A bug of the store's.
    Internal,
}

impl StoreError {
    /// An error of that kind, of the store of that name.
    pub fn new(store: &'static str, kind: StoreErrorKind, source: impl Into<BoxError>) -> Self {
        StoreError { kind, store, source: source.into().into() }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Unavailable => "cannot be reached",
            StoreErrorKind::Refused => "refused",
            StoreErrorKind::Incompatible => "is incompatible",
            StoreErrorKind::Internal => "failed",
        };
        write!(f, "the {} store {what}: {}", self.store, self.source)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreError({:?}, {}: {:?})", self.kind, self.store, self.source)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// Equal if they say the same.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.to_string() == other.to_string()
    }
}

impl Eq for StoreError {}

//! [`Error`]: what a handler returns when it fails.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The source of an [`Error`].
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A handler's error: any error, string or `anyhow::Error`, with a word on whether to retry.
///
/// `?` turns anything that is an error into one. Whether the task is tried again is the worker's
/// retry policy to say, unless the error was made by [`Error::fatal`] or [`Error::retry_after`].
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`] itself, since it could not be
/// made from every error then; [`Error::into_source`] gives what it was made from.
pub struct Error {
    source: BoxError,
    retry: Retryable,
}

/// What an error says of its own retry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retryable {
    /// As the worker's retry policy says.
    #[default]
    ByPolicy,
    /// Never: the task fails now.
    Never,
    /// After this long, if the policy has a retry left.
    After(Duration),
}

impl Error {
    /// An error that no retry can cure: the task fails now, whatever retries it has left.
    pub fn fatal(source: impl Into<BoxError>) -> Self {
        Error { source: source.into(), retry: Retryable::Never }
    }

    /// An error that says when to try again, such as a rate limit: the delay replaces the
    /// policy's backoff. It costs a retry like any other error.
    pub fn retry_after(source: impl Into<BoxError>, delay: Duration) -> Self {
        Error { source: source.into(), retry: Retryable::After(delay) }
    }

    /// What this error says of its retry.
    #[must_use]
    pub fn retryable(&self) -> Retryable {
        self.retry
    }

    /// The error that this one was made from.
    #[must_use]
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }

    /// The error that this one was made from, as a box.
    #[must_use]
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl<E: Into<BoxError>> From<E> for Error {
    fn from(source: E) -> Self {
        Error { source: source.into(), retry: Retryable::ByPolicy }
    }
}

// `Box<dyn StdError + Send + Sync>` cannot be here: `Error` would then be convertible into what it
// is convertible from, and the compiler refuses the overlap. See docs/decisions/error-conversions.md.
impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        error.source
    }
}

impl From<Error> for Box<dyn StdError + Send> {
    fn from(error: Error) -> Self {
        error.source
    }
}

/// The error and its causes, with a colon between. A cause that the error before it has told of at
/// its end, as many do, is not told twice.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.source.to_string();
        f.write_str(&told)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !told.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            told = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// As a program's `main` shows it when it returns one: the message and its causes, with what the
/// error says of its retry. `{:#?}` shows the fields of what it was made from instead.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            fmt::Debug::fmt(&self.source, f)?;
        } else {
            fmt::Display::fmt(self, f)?;
        }
        match self.retry {
            Retryable::ByPolicy => Ok(()),
            Retryable::Never => f.write_str(" (fatal)"),
            Retryable::After(delay) => write!(f, " (retry after {delay:?})"),
        }
    }
}

/// A handler's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreError, StoreErrorKind};

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn anything_becomes_an_error_by_the_question_mark() {
        fn strings() -> Result<()> {
            Err("text")?
        }
        fn errors() -> Result<()> {
            strings()?;
            Err(std::fmt::Error)?
        }
        fn main_like() -> std::result::Result<(), Box<dyn StdError>> {
            errors()?;
            Ok(())
        }
        assert_eq!(main_like().unwrap_err().to_string(), "text");
    }

    #[test]
    fn causes_are_told_with_the_error() {
        let error = Error::fatal(Outer(std::fmt::Error));
        let cause = std::fmt::Error.to_string();
        assert_eq!(error.to_string(), format!("outer: {cause}"));
        assert_eq!(error.retryable(), Retryable::Never);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outermost: {0}")]
    struct Outermost(#[source] Outer);

    #[test]
    fn no_cause_is_told_twice() {
        let error = Error::from(Outermost(Outer(std::fmt::Error)));
        let cause = std::fmt::Error.to_string();
        assert_eq!(error.to_string(), format!("outermost: outer: {cause}"));
        // A store's error tells of its cause, and has it as one too.
        let error = Error::from(StoreError::new("sqlite", StoreErrorKind::Refused, "disk full"));
        assert_eq!(error.to_string(), "the sqlite store refused: disk full");
    }

    #[test]
    fn a_main_that_returns_an_error_tells_its_message() {
        let error = Error::fatal(Outer(std::fmt::Error));
        assert_eq!(format!("{error:?}"), format!("{error} (fatal)"));
        assert!(format!("{error:#?}").starts_with("Outer(\n"), "{error:#?}");
    }
}

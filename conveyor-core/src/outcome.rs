//! How an attempt went ([`Outcome`], [`Failure`]) and how a task ended ([`End`]).

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Retryable};
use crate::task::AnyTask;

/// What a handler that did not fail has to say.
///
/// `()` is [`Outcome::success`], so most handlers never name this type.
#[derive(Clone, Debug)]
pub struct Outcome(OutcomeKind);

/// An [`Outcome`], to match on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// The task is done.
    Success,
    /// The produce task is done, and made these tasks.
    Produced(Vec<AnyTask>),
    /// The task wants to run again after this long.
    Snooze(Duration),
    /// The task wants to end without success, for this reason.
    Cancel(String),
}

impl Outcome {
    /// The task is done.
    #[must_use]
    pub const fn success() -> Self {
        Outcome(OutcomeKind::Success)
    }

    /// Not now: run the task again after `delay`. It costs no attempt, and the key stays held.
    #[must_use]
    pub const fn snooze(delay: Duration) -> Self {
        Outcome(OutcomeKind::Snooze(delay))
    }

    /// The task has become pointless: it ends as cancelled, and is not tried again.
    pub fn cancel(why: impl Into<String>) -> Self {
        Outcome(OutcomeKind::Cancel(why.into()))
    }

    /// The produce task is done, and made these tasks: they are enqueued in the step that
    /// settles it.
    #[must_use]
    pub fn produced(tasks: Vec<AnyTask>) -> Self {
        Outcome(OutcomeKind::Produced(tasks))
    }

    /// This outcome, to match on.
    #[must_use]
    pub fn into_kind(self) -> OutcomeKind {
        self.0
    }
}

/// What the success side of a handler's result can be.
pub trait IntoOutcome {
    /// The outcome that this value stands for.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::success()
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

/// Why an attempt failed, as text, with what the error said of its retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error and its causes.
    pub message: String,
    /// What the error said of its retry.
    pub retry: Retryable,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { message: error.to_string(), retry: error.retryable() }
    }
}

/// What a handler may return: `()`, an [`Outcome`], or a `Result` of either with any error.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "returned by this handler",
    note = "return `()`, `Outcome`, or `Result<(), E>` or `Result<Outcome, E>` where `E` is `conveyor::Error`, a `String`, or any `std::error::Error + Send + Sync`"
)]
pub trait IntoResult {
    /// The outcome or the failure that this value stands for.
    ///
    /// # Errors
    /// [`Failure`] if the handler failed.
    fn into_result(self) -> Result<Outcome, Failure>;
}

impl IntoResult for () {
    fn into_result(self) -> Result<Outcome, Failure> {
        Ok(Outcome::success())
    }
}

impl IntoResult for Outcome {
    fn into_result(self) -> Result<Outcome, Failure> {
        Ok(self)
    }
}

impl<R: IntoOutcome, E: Into<Error>> IntoResult for Result<R, E> {
    fn into_result(self) -> Result<Outcome, Failure> {
        self.map(IntoOutcome::into_outcome).map_err(|error| error.into().into())
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// A handler returned success.
    Succeeded,
    /// The last attempt that the retry policy allows failed, or a fatal error ended it: why.
    Failed(String),
    /// It was cancelled, by a request or by its own handler: why.
    Cancelled(String),
    /// It took its process down as often as the crash budget allows.
    Crashed,
}

impl End {
    /// Whether the task did what it was for.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, End::Succeeded)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Succeeded => f.write_str("succeeded"),
            End::Failed(why) => write!(f, "failed: {why}"),
            End::Cancelled(why) => write!(f, "cancelled: {why}"),
            End::Crashed => f.write_str("crashed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_return_type_of_a_handler_has_its_meaning() {
        let kind = |result: Result<Outcome, Failure>| result.map(Outcome::into_kind);
        assert!(matches!(kind(().into_result()), Ok(OutcomeKind::Success)));
        let snoozed: Result<Outcome, Error> = Ok(Outcome::snooze(Duration::from_secs(1)));
        let second = Duration::from_secs(1);
        assert!(matches!(kind(snoozed.into_result()), Ok(OutcomeKind::Snooze(d)) if d == second));
        let failed: Result<(), String> = Err("no".into());
        let failure = failed.into_result().map(|_| ()).unwrap_err();
        assert_eq!(failure, Failure { message: "no".into(), retry: Retryable::ByPolicy });
    }
}

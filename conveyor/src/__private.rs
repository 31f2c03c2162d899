//! What the macros' output names. No part of the public API: it may change at any time.

mod kind;
mod payload;
mod produce;

use std::time::Duration;

pub use conveyor_core::codec::CodecError;
pub use conveyor_core::outcome::{Failure, IntoResult};
pub use conveyor_core::payload::{CopyByCodec, Own};
pub use conveyor_core::states::Required;
pub use conveyor_core::task::TaskDefaults;
pub use conveyor_core::{
    AnyTask, Backoff, Context, Definition, Error, IntoTask, Kind, Missed, Outcome, Overlap,
    Priority, QueueName, Task, TaskType, Worker,
};
use conveyor_core::{IntoOutcome, Schedule, error::Retryable};

pub use kind::{BareKind, KindOf, Named, NotATaskType, Probe, is_named, settle_defaults};
pub use payload::{KeyByDisplay, KeyText, expect_unit, key_text};
pub use produce::{Child, ChildByItself, IntoProduced};

/// A handler's result, its error fatal unless `retry_if` says that it is worth a retry.
///
/// # Errors
/// The handler's failure.
pub fn into_result_if<R: IntoOutcome, E: Into<Error>>(
    result: Result<R, E>,
    retry_if: impl FnOnce(&E) -> bool,
) -> Result<Outcome, Failure> {
    result.map(IntoOutcome::into_outcome).map_err(|error| {
        let retry = retry_if(&error);
        let mut failure = Failure::from(error.into());
        if !retry {
            failure.retry = Retryable::Never;
        }
        failure
    })
}

/// A schedule that the macro has checked.
///
/// # Panics
/// If core refuses what the macro's core accepted.
#[must_use]
pub fn interval(period: Duration) -> Schedule {
    Schedule::every(period)
        .unwrap_or_else(|error| panic!("invariant: checked by #[worker]: {error}"))
}

/// A schedule that the macro has checked.
///
/// # Panics
/// If core refuses what the macro's core accepted.
#[must_use]
pub fn cron(expression: &str, zone: Option<&str>) -> Schedule {
    match zone {
        Some(zone) => Schedule::cron_in(expression, zone),
        None => Schedule::cron(expression),
    }
    .unwrap_or_else(|error| panic!("invariant: checked by #[worker]: {error}"))
}

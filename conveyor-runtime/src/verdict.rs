//! The verdict: what becomes of a task after an attempt. No store is asked, nothing waits.

use std::time::Duration;

use conveyor_core::Backoff;
use conveyor_core::context::{Cancelled, Context};
use conveyor_core::error::Retryable;
use conveyor_core::outcome::{Failure, OutcomeKind};
use conveyor_core::retry::{Decision, RetryPolicy};
use conveyor_core::store::{NewTask, Settle, Verdict};
use conveyor_core::worker::catch_panic;

use crate::engine::Engine;
use crate::execute::Attempt;
use crate::registry::Registered;

/// Why a task was cancelled whose handler was told so.
const ON_REQUEST: &str = "cancelled on request";

impl Engine {
    /// What to settle after an attempt.
    pub(crate) fn judge(&self, worker: &Registered, ctx: &Context, attempt: Attempt) -> Settle {
        let told = ctx.cancellation();
        let panicked = matches!(attempt, Attempt::Panicked(_));
        let mut children = Vec::new();
        let verdict = match attempt {
            Attempt::Undecodable(error) => Verdict::Park { reason: error.to_string() },
            Attempt::Returned(Ok(outcome)) => match outcome.into_kind() {
                OutcomeKind::Snooze(delay) => Verdict::Snooze { delay },
                OutcomeKind::Cancel(why) => Verdict::Cancel { why },
                OutcomeKind::Produced(tasks) => match self.new_children(tasks) {
                    Ok(produced) => {
                        children = produced;
                        Verdict::Succeed
                    }
                    Err(failure) => self.after_error(worker, ctx, failure),
                },
                _ => Verdict::Succeed,
            },
            // The error is the stop's, not the handler's.
            Attempt::Returned(Err(failure)) => match told {
                Some(Cancelled::Shutdown | Cancelled::LeaseLost) => {
                    Verdict::Return { started: true }
                }
                Some(Cancelled::Requested) => Verdict::Cancel { why: ON_REQUEST.to_owned() },
                _ => self.after_error(worker, ctx, failure),
            },
            Attempt::Panicked(text) => self.after_panic(worker, ctx, &text),
            Attempt::Dropped => match told {
                Some(Cancelled::Requested) => Verdict::Cancel { why: ON_REQUEST.to_owned() },
                Some(Cancelled::Timeout) => {
                    let timeout = ctx.claimed().timeout.or(worker.timeout).unwrap_or_default();
                    let message =
                        format!("the attempt took longer than its timeout of {timeout:?}");
                    let failure = Failure { message, retry: Retryable::ByPolicy };
                    self.after_error(worker, ctx, failure)
                }
                _ => Verdict::Return { started: true },
            },
        };
        tell(ctx, &verdict, panicked);
        Settle {
            fence: ctx.fence(),
            ticket: ctx.claimed().ticket,
            verdict,
            children,
            panicked,
            timed_out: told == Some(Cancelled::Timeout),
        }
    }

    fn new_children(&self, tasks: Vec<conveyor_core::AnyTask>) -> Result<Vec<NewTask>, Failure> {
        tasks
            .into_iter()
            .map(|task| {
                // A worker's key is derived by its own code.
                let why = match catch_panic(|| self.new_task(task)) {
                    Ok(Ok(task)) => return Ok(task),
                    Ok(Err(error)) => format!("a produced task is invalid: {error}"),
                    Err(panic) => format!("a produced task's key or payload panicked: {panic}"),
                };
                Err(Failure { message: why, retry: Retryable::ByPolicy })
            })
            .collect()
    }

    fn after_error(&self, worker: &Registered, ctx: &Context, failure: Failure) -> Verdict {
        let Failure { message: error, retry } = failure;
        let requested = match retry {
            Retryable::Never => return Verdict::Fail { error },
            Retryable::After(delay) => Some(delay),
            Retryable::ByPolicy => None,
        };
        let random = self.runtime.random();
        decide(&policy(worker, ctx), error, |policy| {
            policy.after_error(ctx.attempt(), requested, random)
        })
    }

    fn after_panic(&self, worker: &Registered, ctx: &Context, text: &str) -> Verdict {
        let random = self.runtime.random();
        decide(&policy(worker, ctx), format!("panicked: {text}"), |policy| {
            policy.after_panic(ctx.attempt(), random)
        })
    }

    /// The verdict on a claim that was not started.
    pub(crate) fn hand_back(claimed: &conveyor_core::store::Claimed) -> Settle {
        let verdict = if claimed.cancel {
            Verdict::Cancel { why: ON_REQUEST.to_owned() }
        } else {
            Verdict::Return { started: false }
        };
        settle_unstarted(claimed, verdict)
    }
}

pub(crate) fn settle_unstarted(
    claimed: &conveyor_core::store::Claimed,
    verdict: Verdict,
) -> Settle {
    Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    }
}

/// The worker's policy, with the retries that the task itself may say.
fn policy(worker: &Registered, ctx: &Context) -> RetryPolicy {
    let retries = ctx.claimed().retries.unwrap_or(worker.retry.retries);
    RetryPolicy { retries, ..worker.retry.clone() }
}

/// Asks the policy. A backoff that is a function of the worker's may panic: the default one stands
/// in for it then.
fn decide(policy: &RetryPolicy, error: String, ask: impl Fn(&RetryPolicy) -> Decision) -> Verdict {
    let decision = catch_panic(|| ask(policy)).unwrap_or_else(|panic| {
        tracing::error!(%panic, "a backoff panicked; the default one is used");
        ask(&RetryPolicy { backoff: Backoff::DEFAULT, ..policy.clone() })
    });
    match decision {
        Decision::Retry(delay) => Verdict::Retry { delay, error },
        Decision::GiveUp => Verdict::Fail { error },
    }
}

/// Tells the log what an operator should know of.
fn tell(ctx: &Context, verdict: &Verdict, panicked: bool) {
    let (id, kind, attempt) = (ctx.id(), ctx.kind(), ctx.attempt());
    match verdict {
        Verdict::Fail { error } => {
            tracing::error!(%id, %kind, attempt, panicked, %error, "the task failed");
        }
        Verdict::Retry { delay, error } => {
            let delay: Duration = *delay;
            tracing::warn!(%id, %kind, attempt, panicked, ?delay, %error, "the task will be retried");
        }
        Verdict::Park { reason } => tracing::error!(%id, %kind, %reason, "the task was parked"),
        _ => {}
    }
}

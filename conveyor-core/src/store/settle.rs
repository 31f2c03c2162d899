//! How attempts end: [`Settle`], its [`Verdict`], and what a task has cost.

use std::time::Duration;

use super::enqueue::NewTask;
use crate::id::Fence;

/// How an attempt ended, and what follows from it.
#[derive(Clone, Debug)]
pub struct Settle {
    /// What proves that the attempt held its task.
    pub fence: Fence,
    /// The ticket of the claim.
    pub ticket: u64,
    /// What becomes of the task.
    pub verdict: Verdict,
    /// The tasks to enqueue in the same step. One whose key is taken is left out and counted as a
    /// duplicate; the bound of a bounded store does not apply to them. None are made by a settle
    /// that only marks the lease as interrupted.
    pub children: Vec<NewTask>,
    /// Whether the attempt panicked: for the counters.
    pub panicked: bool,
    /// Whether the attempt outlasted its timeout: for the counters.
    pub timed_out: bool,
}

/// What becomes of a task after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded, and ends.
    Succeed,
    /// It failed, and is tried again: costs one error.
    Retry {
        /// How long it waits.
        delay: Duration,
        /// Why it failed.
        error: String,
    },
    /// It failed for good, and ends: costs one error.
    Fail {
        /// Why it failed.
        error: String,
    },
    /// It ends as cancelled.
    Cancel {
        /// Why.
        why: String,
    },
    /// It runs again later, at no cost but a snooze.
    Snooze {
        /// How long it waits.
        delay: Duration,
    },
    /// It goes back to its place, at no cost but an interruption if it had started.
    Return {
        /// Whether an attempt had started.
        started: bool,
    },
    /// Its handler cannot be stopped: the lease runs out by itself, at no cost.
    Interrupt,
    /// Its payload cannot be decoded: it waits for somebody who can, at no cost.
    Park {
        /// Why it cannot.
        reason: String,
    },
}

impl Verdict {
    /// Whether the task ends by it.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Verdict::Succeed | Verdict::Fail { .. } | Verdict::Cancel { .. })
    }
}

/// What became of a [`Settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It took effect.
    Applied,
    /// It took effect before: this is a repeat.
    Already,
    /// The fence is not the current one: nothing changed.
    Fenced,
}

/// What a task has cost so far, each counted as what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Attempts that failed or panicked.
    pub errors: u32,
    /// Times that it died alone with its process.
    pub crashes: u32,
    /// Times that a shutdown or another's crash interrupted it.
    pub interruptions: u32,
    /// Times that its handler snoozed it.
    pub snoozes: u32,
}

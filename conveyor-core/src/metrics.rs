//! What is counted: [`Counts`] for one queue or kind, [`Counters`] for all.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::name::{Kind, QueueName};

/// Numbers of tasks and attempts.
///
/// The first four are how many tasks are in a state now; the others only rise, each added to in
/// the very step of what it counts, so that they agree with each other at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Claimable tasks.
    pub queued: u64,
    /// Tasks that wait for their time: delayed, snoozed, or backing off before a retry.
    pub scheduled: u64,
    /// Tasks that nobody here can run: of an unknown kind, or with a payload that does not decode.
    pub parked: u64,
    /// Tasks under a lease.
    pub active: u64,
    /// Tasks that were accepted.
    pub enqueued: u64,
    /// Tasks that succeeded.
    pub processed: u64,
    /// Tasks that failed for good.
    pub failed: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that crashed their process as often as the budget allows.
    pub crashed: u64,
    /// Attempts that failed and were followed by a retry.
    pub retried: u64,
    /// Attempts that panicked.
    pub panicked: u64,
    /// Attempts that outlasted their timeout.
    pub timed_out: u64,
    /// Attempts that were put off by their handler.
    pub snoozed: u64,
    /// Attempts that a shutdown or a crash of others interrupted, to be made again at no cost.
    pub returned: u64,
    /// Tasks that were refused because a live task has their kind and key.
    pub duplicates: u64,
}

impl Counts {
    /// Tasks that have not ended.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.queued + self.scheduled + self.parked + self.active
    }

    /// Tasks that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.processed + self.failed + self.cancelled + self.crashed
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        // Destructured, so that a new count cannot be forgotten here.
        let Counts {
            queued,
            scheduled,
            parked,
            active,
            enqueued,
            processed,
            failed,
            cancelled,
            crashed,
            retried,
            panicked,
            timed_out,
            snoozed,
            returned,
            duplicates,
        } = other;
        self.queued += queued;
        self.scheduled += scheduled;
        self.parked += parked;
        self.active += active;
        self.enqueued += enqueued;
        self.processed += processed;
        self.failed += failed;
        self.cancelled += cancelled;
        self.crashed += crashed;
        self.retried += retried;
        self.panicked += panicked;
        self.timed_out += timed_out;
        self.snoozed += snoozed;
        self.returned += returned;
        self.duplicates += duplicates;
    }
}

/// A store's counts, by queue and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The counts of each queue and kind that there was a task of.
    pub each: BTreeMap<(QueueName, Kind), Counts>,
}

impl Counters {
    /// The counts of everything.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.sum(|_, _| true)
    }

    /// The counts of a queue.
    #[must_use]
    pub fn queue(&self, queue: &str) -> Counts {
        self.sum(|of, _| of.as_str() == queue)
    }

    /// The counts of a kind.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Counts {
        self.sum(|_, of| of.as_str() == kind)
    }

    fn sum(&self, counted: impl Fn(&QueueName, &Kind) -> bool) -> Counts {
        let mut sum = Counts::default();
        for ((queue, kind), counts) in &self.each {
            if counted(queue, kind) {
                sum += counts;
            }
        }
        sum
    }
}

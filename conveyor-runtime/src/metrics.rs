//! [`Metrics`]: what a manager counts.

use std::ops::Deref;

use conveyor_core::metrics::{Counters, Counts};
use conveyor_core::{Kind, QueueName};

use crate::registry::Workers;

/// How many tasks are where, and what became of the others: in total (its fields, by deref), by
/// queue, and by kind. Exact at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    total: Counts,
    counters: Counters,
}

impl Metrics {
    /// What the store counted, as a process with these workers sees it: tasks of other kinds are
    /// parked, as far as it is concerned.
    pub(crate) fn new(mut counters: Counters, workers: &Workers) -> Self {
        for ((_, kind), counts) in &mut counters.each {
            if workers.get(kind).is_none() {
                counts.parked += std::mem::take(&mut counts.queued);
                counts.parked += std::mem::take(&mut counts.scheduled);
            }
        }
        Metrics { total: counters.total(), counters }
    }

    /// The counts of a queue.
    #[must_use]
    pub fn queue(&self, queue: &str) -> Counts {
        self.counters.queue(queue)
    }

    /// The counts of a kind.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Counts {
        self.counters.kind(kind)
    }

    /// The counts of every queue and kind that there was a task of.
    pub fn each(&self) -> impl Iterator<Item = (&QueueName, &Kind, &Counts)> {
        self.counters.each.iter().map(|((queue, kind), counts)| (queue, kind, counts))
    }
}

impl Deref for Metrics {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.total
    }
}

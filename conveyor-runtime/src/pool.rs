//! A pool: the consumers of one or more queues.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use conveyor_core::{Priority, QueueName};

use crate::idle::IdleList;
use crate::permits::Sort;
use crate::seat::Seat;

pub(crate) struct Pool {
    /// Its number among the manager's pools.
    number: usize,
    /// The queues that it takes tasks from, as if they were one.
    queues: ArcSwap<Vec<QueueName>>,
    /// Each consumer's seat.
    pub(crate) seats: Box<[Seat]>,
    /// From which priority up each consumer takes tasks.
    pub(crate) min: Box<[Priority]>,
    pub(crate) idle: IdleList,
}

impl Pool {
    /// The pool of that number, of `consumers`, some of which are reserved for tasks from a priority up.
    pub(crate) fn new(
        number: usize,
        queues: BTreeSet<QueueName>,
        consumers: usize,
        reserved: &[(Priority, usize)],
    ) -> Self {
        let mut min: Vec<Priority> = reserved
            .iter()
            .flat_map(|&(priority, count)| std::iter::repeat_n(priority, count))
            .collect();
        min.resize(consumers, Priority::MIN);
        Pool {
            number,
            queues: ArcSwap::from_pointee(queues.into_iter().collect()),
            seats: (0..consumers).map(|_| Seat::default()).collect(),
            min: min.into(),
            idle: IdleList::new(consumers),
        }
    }

    /// Its consumers that take tasks from `min` up.
    pub(crate) fn sort(&self, min: Priority) -> Sort {
        Sort { pool: self.number, min }
    }

    pub(crate) fn queues(&self) -> Arc<Vec<QueueName>> {
        self.queues.load_full()
    }

    /// Has an idle consumer of each sort look whether there is something for it.
    pub(crate) fn look(&self) {
        if self.idle.len() > 0 {
            self.idle.wake(Priority::MIN, 1);
            self.idle.wake(Priority::MAX, 1);
        }
    }

    pub(crate) fn serves(&self, queue: &QueueName) -> bool {
        self.queues.load().contains(queue)
    }

    /// Takes tasks from another queue too; `false` if it did so already.
    pub(crate) fn serve(&self, queue: &QueueName) -> bool {
        let before = self.queues.rcu(|queues| {
            let mut queues = Vec::clone(queues);
            if !queues.contains(queue) {
                queues.push(queue.clone());
            }
            queues
        });
        !before.contains(queue)
    }
}

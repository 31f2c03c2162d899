//! A pool: the consumers of one or more queues.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use conveyor_core::{Priority, QueueName};

use crate::idle::IdleList;
use crate::seat::Seat;

pub(crate) struct Pool {
    /// The queues that it takes tasks from, as if they were one.
    queues: RwLock<Arc<[QueueName]>>,
    /// Each consumer's seat.
    pub(crate) seats: Box<[Seat]>,
    /// From which priority up each consumer takes tasks.
    pub(crate) min: Box<[Priority]>,
    pub(crate) idle: IdleList,
}

impl Pool {
    /// A pool of `consumers`, some of which are reserved for tasks from a priority up.
    pub(crate) fn new(
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
            queues: RwLock::new(queues.into_iter().collect()),
            seats: (0..consumers).map(|_| Seat::default()).collect(),
            min: min.into(),
            idle: IdleList::new(consumers),
        }
    }

    pub(crate) fn queues(&self) -> Arc<[QueueName]> {
        Arc::clone(&self.queues.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has an idle consumer of each sort look whether there is something for it.
    pub(crate) fn look(&self) {
        if self.idle.len() > 0 {
            self.idle.wake(Priority::MIN, 1);
            self.idle.wake(Priority::MAX, 1);
        }
    }

    pub(crate) fn serves(&self, queue: &QueueName) -> bool {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).contains(queue)
    }

    /// Takes tasks from another queue too.
    pub(crate) fn serve(&self, queue: &QueueName) {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains(queue) {
            *queues = queues.iter().chain([queue]).cloned().collect();
        }
    }
}

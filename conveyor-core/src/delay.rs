//! The delay queue: tasks that wait for their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::lanes::Place;
use crate::time::Timestamp;

/// Tasks in the order of their due time, each a number that means something to the owner.
///
/// A task that is cancelled stays in the heap as a *stale* entry until its time comes or there are
/// more stale entries than others; the owner tells which are by `is_current`.
#[derive(Debug, Default)]
pub struct DelayQueue {
    heap: BinaryHeap<Reverse<(Place, u32)>>,
    stale: usize,
}

impl DelayQueue {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        DelayQueue::default()
    }

    /// How many tasks wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len() - self.stale
    }

    /// Whether no task waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how many tasks memory is allocated.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.heap.capacity()
    }

    /// Has a task wait until it is due.
    pub fn push(&mut self, place: Place, task: u32) {
        self.heap.push(Reverse((place, task)));
    }

    /// Says that one task waits no more; `is_current` must say so from now on.
    pub fn forget(&mut self, mut is_current: impl FnMut(Place, u32) -> bool) {
        self.stale += 1;
        if self.stale > 64 && self.stale > self.heap.len() / 2 {
            self.heap.retain(|&Reverse((place, task))| is_current(place, task));
            self.stale = 0;
            self.give_memory_back();
        }
    }

    /// Takes the next task that is due at `now`.
    pub fn pop_due(
        &mut self,
        now: Timestamp,
        is_current: impl FnMut(Place, u32) -> bool,
    ) -> Option<u32> {
        let due = self.next_due(is_current)?;
        if due > now {
            return None;
        }
        let task = self.heap.pop().map(|Reverse((_, task))| task);
        self.give_memory_back();
        task
    }

    /// What a burst needed is given back when it is over.
    fn give_memory_back(&mut self) {
        if self.heap.capacity() > 1024 && self.heap.len() < self.heap.capacity() / 8 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }

    /// When the next task is due.
    pub fn next_due(
        &mut self,
        mut is_current: impl FnMut(Place, u32) -> bool,
    ) -> Option<Timestamp> {
        while let Some(&Reverse((place, task))) = self.heap.peek() {
            if is_current(place, task) {
                return Some(place.due);
            }
            self.heap.pop();
            self.stale -= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(i64),
        Forget(usize),
        Pop(i64),
    }

    proptest! {
        #[test]
        fn due_tasks_come_in_order_and_forgotten_ones_never(
            steps in prop::collection::vec(
                prop_oneof![
                    3 => (0i64..50).prop_map(Step::Push),
                    1 => any::<usize>().prop_map(Step::Forget),
                    1 => (0i64..50).prop_map(Step::Pop),
                ],
                1..400,
            )
        ) {
            let mut queue = DelayQueue::new();
            let mut model: BTreeSet<(Place, u32)> = BTreeSet::new();
            for (number, step) in (0u32..).zip(steps) {
                match step {
                    Step::Push(due) => {
                        let place = Place { due: Timestamp::from_micros(due), age: u64::from(number) };
                        queue.push(place, number);
                        model.insert((place, number));
                    }
                    Step::Forget(nth) => {
                        let Some(&found) = model.iter().nth(nth % model.len().max(1)) else { continue };
                        model.remove(&found);
                        queue.forget(|place, task| model.contains(&(place, task)));
                    }
                    Step::Pop(now) => {
                        let now = Timestamp::from_micros(now);
                        let next = model.first().copied().filter(|(place, _)| place.due <= now);
                        let popped = queue.pop_due(now, |place, task| model.contains(&(place, task)));
                        prop_assert_eq!(popped, next.map(|found| found.1));
                        next.map(|found| model.remove(&found));
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }

    #[test]
    fn cancelling_all_leaves_no_memory_behind() {
        let mut queue = DelayQueue::new();
        for task in 0..100_000u32 {
            queue.push(Place { due: Timestamp::from_secs(1), age: task.into() }, task);
        }
        for gone in 0..100_000u32 {
            queue.forget(|_, task| task > gone);
        }
        assert!(queue.heap.len() < 200, "{} are left", queue.heap.len());
        assert_eq!(queue.next_due(|_, _| false), None);
    }

    #[test]
    fn a_herd_that_came_due_leaves_no_memory_behind() {
        let mut queue = DelayQueue::new();
        let due = Timestamp::from_secs(1);
        for task in 0..100_000u32 {
            let age = task.into();
            queue.push(Place { due, age }, task);
        }
        for task in 0..100_000u32 {
            assert_eq!(queue.pop_due(due, |_, _| true), Some(task));
        }
        assert!(queue.capacity() <= 1024, "{}", queue.capacity());
    }
}

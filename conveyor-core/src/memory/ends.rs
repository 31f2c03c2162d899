//! [`Ends`]: the tasks that have ended and are not forgotten yet, the oldest first.

use std::collections::VecDeque;

use super::entry::Record;
use crate::time::Timestamp;

/// What is left of tasks that have ended, each under a number that follows that of the one before;
/// after four billion they begin anew.
#[derive(Debug, Default)]
pub(super) struct Ends {
    list: VecDeque<Ended>,
    /// The number of the oldest.
    first: u32,
}

/// A task that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// When.
    pub(super) at: Timestamp,
    pub(super) record: Record,
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn oldest(&self) -> Option<&Ended> {
        self.list.front()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Ended> {
        self.list.get(number.wrapping_sub(self.first) as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ended> {
        self.list.iter()
    }

    /// The number that the next one gets.
    pub(super) fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.list.len() as u32)
    }

    pub(super) fn push(&mut self, ended: Ended) {
        self.list.push_back(ended);
    }

    pub(super) fn pop_oldest(&mut self) -> Option<Ended> {
        let oldest = self.list.pop_front()?;
        self.first = self.first.wrapping_add(1);
        // What a burst needed is given back when it is over.
        if self.list.capacity() > 1024 && self.list.len() < self.list.capacity() / 8 {
            self.list.shrink_to(self.list.len() * 2);
        }
        Some(oldest)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.list.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, TaskId};
    use crate::lanes::Place;
    use crate::priority::Priority;

    #[test]
    fn an_end_keeps_its_number_until_it_is_forgotten() {
        // The numbers begin anew on the way.
        let mut ends = Ends { first: u32::MAX - 1, ..Ends::default() };
        let mut numbers = Vec::new();
        for id in 0..4 {
            numbers.push(ends.next_number());
            let record = Record {
                id: TaskId::from_u128(id),
                place: Place { due: Timestamp::MIN, age: 0 },
                key: None,
                epoch: 0,
                holder: Incarnation::new(0),
                extra: None,
                stream: 0,
                priority: Priority::NORMAL,
            };
            ends.push(Ended { at: Timestamp::MIN, record });
        }
        let id =
            |ends: &Ends, nth: usize| ends.get(numbers[nth]).map(|ended| ended.record.id.as_u128());
        assert_eq!([0, 1, 2, 3].map(|nth| id(&ends, nth)), [Some(0), Some(1), Some(2), Some(3)]);
        ends.pop_oldest();
        assert_eq!([0, 1, 2, 3].map(|nth| id(&ends, nth)), [None, Some(1), Some(2), Some(3)]);
    }
}

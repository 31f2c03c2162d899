//! [`Slots`]: values under numbers that stay theirs while they are there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Values, each under a number. A new value gets the least number that is free, so that after a
/// burst the values move together, and what lies beyond them is given back.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<T>>,
    /// The free numbers, the least first. Those that lie beyond the slots went with them; the
    /// slots grow only when none other is left.
    free: BinaryHeap<Reverse<u32>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: BinaryHeap::new() }
    }
}

impl<T> Slots<T> {
    /// The value under that number.
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// The value under that number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    /// All values, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(number, value)| value.as_ref().map(|value| (number, value)))
    }

    /// All values, to be changed.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }

    /// The number that the next value gets.
    pub(super) fn next_number(&self) -> u32 {
        match self.free.peek() {
            Some(&Reverse(number)) if (number as usize) < self.slots.len() => number,
            _ => u32::try_from(self.slots.len()).expect("invariant: fewer than four billion tasks"),
        }
    }

    /// Adds a value, and tells its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.next_number();
        if let Some(slot) = self.slots.get_mut(number as usize) {
            self.free.pop();
            *slot = Some(value);
        } else {
            if !self.free.is_empty() {
                self.free.clear();
            }
            self.slots.push(Some(value));
        }
        number
    }

    /// Takes the value under that number out.
    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take()?;
        if number as usize + 1 < self.slots.len() {
            self.free.push(Reverse(number));
        } else {
            self.give_back();
        }
        Some(value)
    }

    /// Gives back what is free at the end; each slot's turn comes once, so this costs nothing on
    /// the whole.
    fn give_back(&mut self) {
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        let len = self.slots.len();
        if self.slots.capacity() > 1024 && len < self.slots.capacity() / 8 {
            self.slots.shrink_to(len * 2);
            self.free.retain(|&Reverse(number)| (number as usize) < len);
            self.free.shrink_to(len * 2);
        }
    }

    /// For how many values and numbers memory is allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity() + self.free.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map, where a new value takes the least key that is free.
        #[test]
        fn a_value_keeps_the_least_number_that_was_free(
            steps in prop::collection::vec(prop::option::of(any::<usize>()), 1..300)
        ) {
            let mut slots = Slots::default();
            let mut model: BTreeMap<u32, usize> = BTreeMap::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Some(nth) if !model.is_empty() => {
                        let number = *model.keys().nth(nth % model.len()).expect("in range");
                        prop_assert_eq!(slots.remove(number), model.remove(&number));
                        prop_assert_eq!(slots.remove(number), None);
                    }
                    _ => {
                        let free = (0..).find(|number| !model.contains_key(number));
                        let number = free.expect("a free number");
                        prop_assert_eq!(slots.insert(value), number);
                        model.insert(number, value);
                    }
                }
                let held: Vec<(u32, usize)> = slots.iter().map(|(n, &value)| (n, value)).collect();
                prop_assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
            }
        }
    }
}

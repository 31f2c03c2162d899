//! The dedup set: which keys are held by live tasks.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// The keys of live tasks, without a copy of them: it keeps the tasks' numbers, and asks the owner
/// for a task's key.
///
/// It has no clean-up of its own, and forgets nothing by age: a key is in it exactly as long as
/// its task is live, since the owner removes it in the step that ends the task.
#[derive(Debug, Default)]
pub struct DedupSet {
    holders: HashTable<u32>,
    hasher: RandomState,
}

impl DedupSet {
    /// No keys.
    #[must_use]
    pub fn new() -> Self {
        DedupSet::default()
    }

    /// How many keys are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// For how many keys memory is allocated.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.holders.capacity()
    }

    /// The task that holds `key`; `key_of` tells the key of a task.
    pub fn holder<K: Hash + Eq>(&self, key: &K, key_of: impl Fn(u32) -> K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.holders.find(hash, |&task| key_of(task) == *key).copied()
    }

    /// Has `task` hold `key`, unless another does.
    ///
    /// # Errors
    /// The task that holds it.
    pub fn hold<K: Hash + Eq>(
        &mut self,
        key: &K,
        task: u32,
        key_of: impl Fn(u32) -> K,
    ) -> Result<(), u32> {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        let is_key = |&holder: &u32| key_of(holder) == *key;
        match self.holders.entry(hash, is_key, |&task| hasher.hash_one(key_of(task))) {
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(task);
                Ok(())
            }
        }
    }

    /// Frees the key of `task`; `false` if it held none.
    pub fn remove<K: Hash + Eq>(&mut self, task: u32, key_of: impl Fn(u32) -> K) -> bool {
        let hash = self.hasher.hash_one(key_of(task));
        let Ok(entry) = self.holders.find_entry(hash, |&holder| holder == task) else {
            return false;
        };
        entry.remove();
        if self.holders.capacity() > 1024 && self.holders.len() < self.holders.capacity() / 8 {
            let hasher = &self.hasher;
            self.holders.shrink_to(self.holders.len() * 2, |&task| hasher.hash_one(key_of(task)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_held_by_at_most_one_task(
            steps in prop::collection::vec((any::<bool>(), 0u8..20), 1..300)
        ) {
            let mut set = DedupSet::new();
            let mut keys: Vec<u8> = Vec::new();
            let mut model: BTreeMap<u8, u32> = BTreeMap::new();
            for (insert, key) in steps {
                let held = set.holder(&key, |task| keys[task as usize]);
                prop_assert_eq!(held, model.get(&key).copied());
                match (insert, held) {
                    (true, None) => {
                        keys.push(key);
                        let task = keys.len() as u32 - 1;
                        prop_assert_eq!(set.hold(&key, task, |task| keys[task as usize]), Ok(()));
                        prop_assert_eq!(set.hold(&key, 99, |task| keys[task as usize]), Err(task));
                        model.insert(key, task);
                    }
                    (false, Some(task)) => {
                        prop_assert!(set.remove(task, |task| keys[task as usize]));
                        prop_assert!(!set.remove(task, |task| keys[task as usize]));
                        model.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }

    #[test]
    fn a_million_keys_leave_no_memory_behind() {
        let mut set = DedupSet::new();
        for task in 0..1_000_000 {
            assert_eq!(set.hold(&task, task, |task| task), Ok(()));
        }
        for task in 0..1_000_000 {
            assert!(set.remove(task, |task| task));
        }
        assert!(set.is_empty());
        assert!(set.holders.allocation_size() < 64 * 1024, "{}", set.holders.allocation_size());
    }
}

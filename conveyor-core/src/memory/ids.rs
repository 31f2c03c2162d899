//! [`ById`]: tasks by their ids, those that were made together side by side.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::id::TaskId;

/// What is known of tasks, by their ids.
pub(super) type ById<T> = HashMap<TaskId, T, BuildHasherDefault<NearHasher>>;

/// Hashes the ids that one generator makes one after the other to numbers that follow each other.
///
/// Tasks that were made together end and are forgotten together. Spread over a table as large as
/// the ends that are kept, each would be looked for where the processor's cache has nothing; side
/// by side, they are found where the last one was.
#[derive(Default)]
pub(super) struct NearHasher(u64);

/// As many ones as there are random bits at the end of an id.
const RANDOM: u64 = (1 << 44) - 1;
/// The part of a hash by which a table tells apart what it finds in one place.
const TAG: u64 = 0x7f << 57;
/// 2⁶⁴ by the golden ratio: multiples of it lie far apart.
const FAR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NearHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, id: u128) {
        // See `TaskIds`: 12 bits of the counter, two of the variant, 18 of the counter, then what
        // is random to the generator.
        let (high, low) = ((id >> 64) as u64, id as u64);
        let counter = ((high & 0xfff) << 18) | ((low >> 44) & 0x3_ffff);
        let place = counter.wrapping_add((low & RANDOM).wrapping_mul(FAR) >> 7);
        self.0 = (place & !TAG) | (place.wrapping_mul(FAR) & TAG);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("an id is hashed as one number");
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;
    use crate::id::TaskIds;
    use crate::time::Timestamp;

    fn hash(id: TaskId) -> u64 {
        BuildHasherDefault::<NearHasher>::default().hash_one(id)
    }

    #[test]
    fn ids_of_one_generator_lie_side_by_side_and_can_be_told_apart() {
        let ids = TaskIds::new(0x1234_5678_9abc_def0);
        // Over all carries of the parts that the counter is kept in.
        let hashes: Vec<u64> =
            (0..600_000).map(|n| hash(ids.next(Timestamp::from_micros(n * 700)))).collect();
        let in_order = |pair: &[u64]| (pair[0] & !TAG) + 1 == pair[1] & !TAG;
        assert!(hashes.windows(2).all(in_order));
        for near in hashes[..100_000].chunks(16) {
            let mut tags: Vec<u64> = near.iter().map(|hash| hash & TAG).collect();
            tags.sort_unstable();
            tags.dedup();
            assert!(tags.len() > 12, "{} tags for 16 neighbours", tags.len());
        }
    }

    #[test]
    fn two_generators_do_not_lie_on_each_other() {
        let [a, b] = [7, 8].map(|random| hash(TaskIds::new(random).next(Timestamp::MIN)) & !TAG);
        assert!(a.abs_diff(b) > 1 << 40, "{a:x} {b:x}");
    }
}

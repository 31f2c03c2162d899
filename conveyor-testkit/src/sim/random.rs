//! [`Random`]: the only source of chance in a simulation.

/// A small seeded generator (splitmix64): the same seed gives the same numbers, on every machine.
///
/// For the workloads of tests; it is no source of secrets.
///
/// ```
/// use conveyor_testkit::Random;
///
/// let mut random = Random::new(7);
/// let roll = random.below(6) + 1;
/// assert!((1..=6).contains(&roll));
/// assert_eq!(Random::new(7).below(6) + 1, roll);
/// ```
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// What the numbers of a simulation are for. Each use has a stream of its own, so that one more
/// draw for the one leaves the others as they were, and a replay stays close to the first run.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    /// Which of the ready tasks runs next.
    Schedule = 1,
    /// What the runtime gives to the code under test.
    Runtime = 2,
    /// What the test draws for itself.
    Test = 3,
}

impl Random {
    /// A generator with that seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    pub(crate) fn stream(seed: u64, stream: Stream) -> Self {
        // Seeds are small and alike (0, 1, 2, …): mixing sets them far apart.
        Random::new(mix(mix(seed) ^ stream as u64))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of the product: no division, and a bias of at most bound / 2⁶⁴.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }
}

pub(crate) const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        let drawn = [random.next_u64(), random.next_u64(), random.next_u64()];
        let reference =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, reference);
    }

    #[test]
    fn every_number_below_the_bound_comes_up_and_no_other() {
        let mut random = Random::new(3);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[random.below(5)] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1_200).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let first = |stream| Random::stream(0, stream).next_u64();
        assert_ne!(first(Stream::Schedule), first(Stream::Runtime));
        assert_ne!(first(Stream::Runtime), first(Stream::Test));
    }
}

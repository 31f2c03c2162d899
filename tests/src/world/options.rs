//! [`Options`]: what sort of world a seed makes.

use std::time::Duration;

use conveyor::{Missed, Overlap};
use conveyor_testkit::{FaultPlan, Random};

/// What a world is like. All of it follows from the seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many processes work at a time.
    pub processes: usize,
    /// The processes share a store; else there is one, which has the store to itself.
    pub shared: bool,
    /// What goes wrong on the way to the store.
    pub faults: FaultPlan,
    /// How long the store is away at most, now and then.
    pub longest_absence: Duration,
    /// Processes are killed, by the test and by tasks.
    pub crashes: bool,
    /// Processes are stopped for a while.
    pub stops: bool,
    /// Processes are shut down, and others started for them.
    pub shutdowns: bool,
    /// Processes have a wrong clock.
    pub skew: bool,
    /// The most live tasks that the store holds.
    pub capacity: Option<usize>,
    /// How many steps the test takes before the faults stop.
    pub steps: usize,
    /// The longest pause between two steps, in milliseconds.
    pub pace: u64,
    /// How long a lease is.
    pub lease: Duration,
    /// The most crashes of a task.
    pub crash_budget: u32,
    /// The consumers of a process that all queues share but `mail`.
    pub consumers: usize,
    /// How many of them are reserved for urgent tasks.
    pub reserved: usize,
    /// What `tick` does about instants that were missed.
    pub missed: Missed,
    /// What `tick` does while its last task is live.
    pub overlap: Overlap,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut one_in = |n: usize| random.below(n) == 0;
        // A lone process in memory, nothing wrong: what most users have. All is prompt and exact.
        let lone = one_in(4);
        let calm = lone || one_in(6);
        let faulty = !calm && !one_in(4);
        let slow = faulty && one_in(3);
        let (crashes, stops) = (!calm && !one_in(3), !calm && one_in(2));
        let (shutdowns, skew) = (one_in(2), !lone && one_in(2));
        let bounded = one_in(5);
        let absence = if faulty && one_in(2) { 1 + random.below(30) as u64 } else { 0 };
        let reserved = random.below(3);
        Options {
            processes: if lone { 1 } else { 1 + random.below(4) },
            shared: !lone,
            faults: match (faulty, slow) {
                (false, _) => FaultPlan::none(),
                (true, false) => FaultPlan::rough(),
                (true, true) => {
                    FaultPlan { slow: 60, slowness: Duration::from_secs(12), ..FaultPlan::rough() }
                }
            },
            longest_absence: Duration::from_secs(absence),
            crashes,
            stops,
            shutdowns,
            skew,
            capacity: bounded.then(|| 10 + random.below(30)),
            steps: 40 + random.below(80),
            pace: [20, 300, 1_000][random.below(3)],
            lease: Duration::from_secs([4, 10, 15][random.below(3)]),
            crash_budget: 1 + random.below(3) as u32,
            consumers: reserved + 1 + random.below(5),
            reserved,
            missed: [Missed::Once, Missed::Skip, Missed::All][random.below(3)],
            overlap: [Overlap::Skip, Overlap::Allow][random.below(2)],
        }
    }

    /// Whether nothing goes wrong in this world.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.faults == FaultPlan::none() && self.longest_absence.is_zero()
    }
}

//! A world for each seed: processes on one store, mishaps, and a checker that holds all that
//! happened against what Conveyor promises.
//!
//! First comes a time of mishaps, in which nothing untrue may happen. Then they stop, and all that
//! is due must end.

pub mod checker;
pub mod cluster;
pub mod history;
pub mod options;
mod steps;
pub mod witness;
pub mod workers;

use std::fmt::Write as _;
use std::time::Duration;

use conveyor::{Store, TaskId};
use conveyor_testkit::{Sim, Simulation};

use checker::{AtRest, Broken, check};
use cluster::Cluster;
use history::{Event, History, Story};
use options::Options;

/// How long a world goes on without a mishap, before it comes to rest.
const CALM: Duration = Duration::from_secs(150);

/// In which all must end that can, after that. Suspects take most of it: one at a time, and up to
/// 20 s for each of their attempts.
const REST: Duration = Duration::from_secs(3_000);

/// How long ends are kept, and somewhat more.
const RETENTION: Duration = Duration::from_secs(3_700);

/// Several times what a world takes.
const MAX_STEPS: u64 = 100_000;

/// What became of a world.
#[derive(Debug)]
pub struct World {
    /// Its seed.
    pub seed: u64,
    /// What sort of world it was.
    pub options: Options,
    /// The promises that were broken.
    pub broken: Vec<Broken>,
    /// All that happened.
    pub events: Vec<Event>,
    /// How much virtual time passed.
    pub time: Duration,
    /// How many times a task was polled.
    pub steps: u64,
    /// Stands for the order of all steps.
    pub fingerprint: u64,
}

/// Makes the world of a seed, and checks it.
#[must_use]
pub fn run(seed: u64) -> World {
    let options = Options::of(seed);
    let made = Simulation::new(seed).max_steps(MAX_STEPS).run(|sim| make(sim, options.clone()));
    let Made { events, rest, mut broken, time, steps, fingerprint } = made;
    broken.extend(check(&options, &events, &rest));
    broken.sort_by_key(|broken| broken.at);
    World { seed, options, broken, events, time, steps, fingerprint }
}

struct Made {
    events: Vec<Event>,
    rest: AtRest,
    broken: Vec<Broken>,
    time: Duration,
    steps: u64,
    fingerprint: u64,
}

async fn make(sim: Sim, options: Options) -> Made {
    let history = History::new(&sim);
    let mut cluster = Cluster::new(&sim, &options, &history);
    let mut broken = Vec::new();
    cluster.fill_up().await;
    for _ in 0..options.steps {
        cluster.step().await;
    }
    cluster.calm().await;
    cluster.go_on(CALM).await;
    let mut note = |result: Result<(), String>| {
        if let Err(what) = result {
            broken.push(Broken { at: sim.elapsed(), what, tasks: Vec::new() });
        }
    };
    note(cluster.come_to_rest(REST).await);
    note(cluster.shut_all_down().await);
    let memory = cluster.memory();
    let counts = memory.counters().await.map_or_else(|_| Default::default(), |c| c.total());
    let rest = AtRest { tasks: cluster.everything().await, counts };
    note(forget(&sim, &cluster, &rest).await);
    let (time, steps, fingerprint) = (sim.elapsed(), sim.steps(), sim.fingerprint());
    Made { events: history.take(), rest, broken, time, steps, fingerprint }
}

/// Cancels what nobody knows, and has the store forget all ends: then it holds nothing.
async fn forget(sim: &Sim, cluster: &Cluster, rest: &AtRest) -> Result<(), String> {
    let ids: Vec<TaskId> = rest.tasks.iter().map(|task| task.id).collect();
    let memory = cluster.memory();
    let cancelled = memory.cancel(&ids).await;
    sim.advance(RETENTION).await;
    let pruned = memory.prune(usize::MAX).await;
    let left = cluster.everything().await;
    if left.is_empty() {
        return Ok(());
    }
    Err(format!("the store does not forget: {left:#?} ({cancelled:?}, {pruned:?})"))
}

impl World {
    /// Whether the same happened in the other one, in the same order.
    #[must_use]
    pub fn is_same(&self, other: &World) -> bool {
        let told = |world: &World| format!("{:?}", world.events);
        self.fingerprint == other.fingerprint && told(self) == told(other)
    }

    /// What went wrong, for a person: the seed, the options, what was broken, and the story of the
    /// tasks that the first of it is about.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!("seed {}: {:#?}\n", self.seed, self.options);
        for broken in self.broken.iter().take(10) {
            _ = writeln!(text, "{broken}");
        }
        if let Some(first) = self.broken.first() {
            let tasks = if first.tasks.is_empty() {
                let more = self.broken.iter().find(|broken| !broken.tasks.is_empty());
                more.map_or(Vec::new(), |broken| broken.tasks.clone())
            } else {
                first.tasks.clone()
            };
            _ = write!(text, "\n{}", Story::of(&self.events, &tasks));
        }
        text
    }
}

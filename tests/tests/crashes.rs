//! Processes die, stop and come back, and every task still ends once.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    Cancelled, EnqueueError, Filter, Kind, MemoryStore, Overlap, Store, TaskId, TaskInfo, TaskState,
};
use conveyor_core::store::{Wake, WakeSink};
use conveyor_testkit::{Process, Random, Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// An attempt that began, or was over; one that is killed is never over.
#[derive(Clone, Copy, Debug)]
struct Seen {
    task: TaskId,
    epoch: u64,
    node: usize,
    at: Duration,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Begin,
    Over,
}

/// Every end that the store told of.
#[derive(Default)]
struct Ends(Log<(TaskId, End)>);

impl WakeSink for Ends {
    fn wake(&self, wake: Wake<'_>) {
        if let Wake::Ended { task, end } = wake {
            self.0.push((task, end.unwrap().clone()));
        }
    }

    fn watches_ends(&self) -> bool {
        true
    }
}

/// One store, and the nodes that work on it.
struct Cluster {
    sim: Sim,
    store: Arc<MemoryStore>,
    ends: Arc<Ends>,
    seen: Log<Seen>,
    crash_budget: u32,
    ticks: bool,
    started: usize,
    /// Enqueues, and runs nothing.
    client: Manager,
}

/// A process with its manager.
struct Node {
    number: usize,
    process: Process,
    manager: Manager,
    resume_at: Duration,
}

/// What a task of the kind `work` does: it takes so many milliseconds, and so many of its attempts
/// fail.
type Work = (u64, u32);

struct Attempt {
    sim: Sim,
    seen: Log<Seen>,
    entry: Seen,
}

impl Attempt {
    fn begin(sim: &Sim, seen: &Log<Seen>, node: usize, ctx: &Context) -> Self {
        let (task, epoch) = (ctx.id(), ctx.epoch());
        let entry = Seen { task, epoch, node, at: sim.elapsed(), what: What::Begin };
        seen.push(entry);
        Attempt { sim: sim.clone(), seen: seen.clone(), entry }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.seen.push(Seen { at: self.sim.elapsed(), what: What::Over, ..self.entry });
    }
}

impl Cluster {
    fn new(sim: &Sim, crash_budget: u32) -> Self {
        let store = Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
        let ends = Arc::new(Ends::default());
        let sink: Weak<dyn WakeSink> = Arc::downgrade(&(ends.clone() as Arc<dyn WakeSink>));
        store.subscribe(sink);
        let client = sim.manager_builder().store(store.clone()).build().unwrap();
        let (sim, seen) = (sim.clone(), Log::new());
        Cluster { sim, store, ends, seen, crash_budget, ticks: false, started: 0, client }
    }

    /// Has the nodes that are started from now on make a task by a schedule, too.
    fn with_ticks(mut self) -> Self {
        self.ticks = true;
        self
    }

    async fn start(&mut self) -> Node {
        let number = self.started;
        self.started += 1;
        let process = self.sim.process("node");
        match self.sim.random() % 4 {
            0 => process.skew_wall_ahead(SECOND * 3600),
            1 => process.skew_wall_back(SECOND * 3600),
            _ => {}
        }
        let (sim, seen) = (self.sim.clone(), self.seen.clone());
        let work = consumer(
            "work",
            move |(millis, failures): Work, ctx: Context| {
                let attempt = Attempt::begin(&sim, &seen, number, &ctx);
                async move {
                    let _attempt = attempt;
                    ctx.sleep(Duration::from_millis(millis)).await;
                    if ctx.attempt() <= failures { Err("not yet") } else { Ok(()) }
                }
            },
            |kind| _ = kind.retries(3).backoff(Backoff::exponential(SECOND, SECOND * 8)),
        );
        let (sim, seen) = (self.sim.clone(), self.seen.clone());
        let tick = consumer(
            "tick",
            move |(): (), ctx: Context| {
                let attempt = Attempt::begin(&sim, &seen, number, &ctx);
                async move {
                    let _attempt = attempt;
                    ctx.sleep(SECOND).await;
                }
            },
            |kind| {
                let schedule = Schedule::every(SECOND * 7).unwrap();
                kind.schedule(schedule.overlap(Overlap::Allow));
            },
        );
        let (sim, seen, own) = (self.sim.clone(), self.seen.clone(), process.clone());
        let poison = consumer(
            "poison",
            move |(): (), ctx: Context| {
                let attempt = Attempt::begin(&sim, &seen, number, &ctx);
                let own = own.clone();
                async move {
                    let _attempt = attempt;
                    ctx.sleep(SECOND / 2).await;
                    own.die().await;
                }
            },
            |_| {},
        );
        let mut builder = Manager::builder()
            .runtime(process.runtime())
            .store(self.store.clone())
            .lease(LEASE)
            .crash_budget(self.crash_budget)
            .poll_interval(SECOND * 2)
            .consumers(3)
            .register(work)
            .register(poison);
        if self.ticks {
            builder = builder.register(tick);
        }
        let manager = builder.build().unwrap();
        manager.start().await.unwrap();
        Node { number, process, manager, resume_at: Duration::MAX }
    }

    async fn tasks(&self) -> Vec<TaskInfo> {
        let filter = Filter { limit: 100_000, ..Filter::default() };
        self.store.inspect(&filter).await.unwrap().tasks
    }

    /// What that node holds, by the store's word.
    async fn held_by(&self, node: &Node) -> Vec<TaskId> {
        let manager = format!("{:?}", node.manager);
        let is_held = |task: &TaskInfo| {
            task.state == TaskState::Active
                && task.holder.is_some_and(|holder| manager.contains(&format!("{holder:?}")))
        };
        self.tasks().await.iter().filter(|task| is_held(task)).map(|task| task.id).collect()
    }

    async fn live_work(&self) -> usize {
        let tasks = self.tasks().await;
        tasks.iter().filter(|task| task.state.is_live()).count()
    }

    /// Waits until all has ended, with all faults over and the schedule taken away.
    async fn settle_down(&self, limit: Duration) {
        self.store.remove_schedule(&Kind::from_static("tick")).await.unwrap();
        let until = self.sim.elapsed() + limit;
        while self.live_work().await > 0 {
            if self.sim.elapsed() >= until {
                let live: Vec<_> = self.tasks().await;
                let live: Vec<_> = live.iter().filter(|task| task.state.is_live()).collect();
                panic!("live still, {limit:?} after the last fault: {live:#?}");
            }
            self.sim.advance(SECOND).await;
        }
        // What is late comes now.
        self.sim.advance(LEASE * 3).await;
        assert_eq!(self.live_work().await, 0);
    }

    /// At most one live task has a key.
    async fn check_keys(&self) {
        let mut keys = BTreeSet::new();
        for task in self.tasks().await {
            if let (Some(key), true) = (task.key, task.state.is_live()) {
                assert!(keys.insert(format!("{key:?}")), "two live tasks have the key {key:?}");
            }
        }
    }

    /// Everything ended once, was begun no more often than it was charged for, and is counted once.
    async fn check_ends(&self, accepted: &[TaskId]) {
        let tasks = self.tasks().await;
        let by_id: BTreeMap<TaskId, &TaskInfo> = tasks.iter().map(|task| (task.id, task)).collect();
        for id in accepted {
            assert!(by_id[id].end.is_some(), "an accepted task has not ended: {:?}", by_id[id]);
        }
        let mut told = BTreeSet::new();
        for (task, end) in self.ends.0.all() {
            assert!(told.insert(task), "{task} ended twice");
            assert_eq!(by_id[&task].end, Some(end));
        }
        assert_eq!(told.len(), tasks.len(), "each end is told");

        let mut begun: BTreeMap<TaskId, u32> = BTreeMap::new();
        for seen in self.seen.all().iter().filter(|seen| seen.what == What::Begin) {
            *begun.entry(seen.task).or_default() += 1;
        }
        let mut counted = (0, 0, 0, 0, 0);
        for task in &tasks {
            let budgets = task.budgets;
            let failed = matches!(task.end, Some(End::Failed(_)));
            let charged = budgets.errors + budgets.crashes + budgets.interruptions;
            let begun = begun.get(&task.id).copied().unwrap_or_default();
            assert!(begun <= 1 + charged, "began {begun} times: {task:?}");
            counted.0 += u64::from(task.end == Some(End::Succeeded));
            counted.1 += u64::from(failed);
            counted.2 += u64::from(task.end == Some(End::Crashed));
            counted.3 += u64::from(budgets.errors) - u64::from(failed);
            counted.4 += u64::from(budgets.interruptions);
        }
        let total = self.store.counters().await.unwrap().total();
        assert_eq!(
            (total.processed, total.failed, total.crashed, total.retried, total.returned),
            counted
        );
        assert_eq!((total.enqueued, total.cancelled), (tasks.len() as u64, 0));
    }

    /// An attempt begins beside an earlier one only if that one's process was down for too long.
    fn check_overlaps(&self, downs: &[(usize, Duration)]) {
        let mut under_way: BTreeMap<TaskId, Vec<Seen>> = BTreeMap::new();
        for seen in self.seen.all() {
            let attempts = under_way.entry(seen.task).or_default();
            if seen.what == What::Over {
                attempts.retain(|attempt| attempt.epoch != seen.epoch);
                continue;
            }
            for earlier in attempts.iter() {
                assert!(earlier.epoch < seen.epoch, "{earlier:?} and {seen:?}");
                // The store's clock counts whole microseconds.
                let lease_ends = earlier.at + LEASE - Duration::from_micros(1);
                assert!(seen.at >= lease_ends, "too early: {earlier:?} and {seen:?}");
                let was_down = downs.iter().any(|&(node, at)| {
                    // It renews its leases every third of their time.
                    node == earlier.node && at >= earlier.at && at + LEASE * 2 / 3 <= seen.at
                });
                assert!(was_down, "its process was well: {earlier:?} and {seen:?}");
            }
            attempts.push(seen);
        }
    }

    /// No two ticks are of the same instant.
    async fn check_ticks(&self) -> usize {
        let tasks = self.tasks().await;
        let mut instants = BTreeSet::new();
        for task in tasks.iter().filter(|task| task.kind.as_str() == "tick") {
            assert!(instants.insert(task.due), "two ticks of {}", task.due);
        }
        instants.len()
    }
}

/// A workload, and nodes that crash, stop, go on and are replaced, all by chance. What happened.
fn chaos(seed: u64) -> (u64, usize, usize) {
    simulate(seed, |sim| async move {
        let mut random = Random::new(sim.random());
        let crash_budget = [1, 2, 5][random.below(3)];
        let mut cluster = Cluster::new(&sim, crash_budget).with_ticks();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(cluster.start().await);
        }
        let (mut accepted, mut downs) = (Vec::new(), Vec::new());
        // How often a task was all that a node held that crashed or stopped: only then may it be
        // held to have been the cause.
        let mut alone: BTreeMap<TaskId, u32> = BTreeMap::new();
        for _ in 0..60 {
            for _ in 0..random.below(4) {
                let work: Work = (random.below(8_000) as u64, random.below(6) as u32);
                let mut task = Task::new("work", work);
                if random.below(3) == 0 {
                    task = task.key(format!("key {}", random.below(4)));
                }
                if random.below(4) == 0 {
                    task = task.delay(SECOND * random.below(20) as u32);
                }
                match cluster.client.enqueue(task).await {
                    Ok(receipt) => accepted.push(receipt.id()),
                    Err(EnqueueError::Duplicate { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let index = random.below(nodes.len());
            let action = random.below(8);
            if action < 2 {
                let node = &mut nodes[index];
                if let [task] = cluster.held_by(node).await[..] {
                    *alone.entry(task).or_default() += 1;
                }
                downs.push((node.number, sim.elapsed()));
                if action == 0 {
                    node.process.crash();
                    nodes[index] = cluster.start().await;
                } else {
                    node.process.pause();
                    node.resume_at = sim.elapsed() + SECOND * random.below(30) as u32;
                }
            }
            sim.advance(Duration::from_millis(random.below(3_000) as u64)).await;
            for node in &mut nodes {
                if node.resume_at <= sim.elapsed() {
                    node.process.resume();
                    node.resume_at = Duration::MAX;
                }
            }
            cluster.check_keys().await;
        }
        nodes.iter().for_each(|node| node.process.resume());
        cluster.settle_down(SECOND * 600).await;

        cluster.check_ends(&accepted).await;
        cluster.check_overlaps(&downs);
        let ticks = cluster.check_ticks().await;
        for task in cluster.tasks().await {
            let alone = alone.get(&task.id).copied().unwrap_or_default();
            assert!(task.budgets.crashes <= alone, "a bystander was charged: {task:?}");
        }
        (sim.fingerprint(), accepted.len(), ticks)
    })
}

#[test]
fn whatever_crashes_and_stops_everything_ends_once() {
    for_seeds((0..150).chain([1_314]), |seed| {
        let (_, accepted, ticks) = chaos(seed);
        assert!(accepted > 30 && ticks > 5, "{accepted} tasks and {ticks} ticks");
    });
}

#[test]
fn the_same_seed_gives_the_same_crashes() {
    for_seeds(1_000..1_005, |seed| assert_eq!(chaos(seed), chaos(seed)));
}

#[test]
fn poison_ends_as_crashed_and_its_siblings_succeed() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 3);
            let mut nodes = Vec::new();
            for _ in 0..3 {
                nodes.push(cluster.start().await);
            }
            let place = sim.random() % 30;
            let (mut siblings, mut poison) = (Vec::new(), None);
            for number in 0..30 {
                if number == place {
                    let receipt = cluster.client.enqueue(Task::new("poison", ())).await.unwrap();
                    poison = Some(receipt.id());
                }
                let work: Work = (sim.random() % 3_000, 0);
                siblings.push(cluster.client.enqueue(Task::new("work", work)).await.unwrap().id());
            }
            let (poison, mut crashes) = (poison.unwrap(), 0);
            while cluster.live_work().await > 0 {
                assert!(sim.elapsed() < SECOND * 900, "{:#?}", cluster.tasks().await);
                sim.advance(SECOND).await;
                for node in &mut nodes {
                    if node.process.has_crashed() {
                        crashes += 1;
                        *node = cluster.start().await;
                    }
                }
            }
            cluster.check_ends(&siblings).await;
            for task in cluster.tasks().await {
                if task.id == poison {
                    assert_eq!((&task.end, task.budgets.crashes), (&Some(End::Crashed), 3));
                    assert_eq!(crashes, 3 + task.budgets.interruptions);
                } else {
                    assert_eq!((&task.end, task.budgets.crashes), (&Some(End::Succeeded), 0));
                }
            }
        });
    });
}

#[test]
fn what_a_stopped_process_brings_after_its_lease_changes_nothing() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 3);
            let stopped = cluster.start().await;
            sim.run_until_idle().await;
            let work: Work = (5_000, 1);
            let id = cluster.client.enqueue(Task::new("work", work)).await.unwrap().id();
            sim.advance(SECOND).await;
            assert_eq!(cluster.held_by(&stopped).await, [id]);
            stopped.process.pause();
            let well = cluster.start().await;
            // The other takes it over once the lease has run out, and is at it.
            while cluster.held_by(&well).await.is_empty() {
                assert!(sim.elapsed() < LEASE * 4);
                sim.advance(SECOND).await;
            }
            assert!(sim.elapsed() >= LEASE);
            let before = (cluster.tasks().await, cluster.store.counters().await.unwrap());
            stopped.process.resume();
            sim.run_until_idle().await;
            let after = (cluster.tasks().await, cluster.store.counters().await.unwrap());
            assert_eq!(before, after, "its settle came, and counts nowhere");
            let over = cluster.seen.all().iter().filter(|seen| seen.what == What::Over).count();
            assert_eq!(over, 1, "but its attempt is over");
            cluster.settle_down(SECOND * 60).await;
            cluster.check_ends(&[id]).await;
            let task = cluster.tasks().await.remove(0);
            assert_eq!((task.end, task.budgets.errors), (Some(End::Succeeded), 1));
        });
    });
}

#[test]
fn a_resumed_process_tells_its_handlers_that_their_leases_are_lost() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 5);
            let process = sim.process("stopped");
            let (heard, log) = (Log::new(), sim.clone());
            let told = heard.clone();
            let patient = consumer(
                "work",
                move |_: Work, ctx: Context| {
                    let (told, sim) = (told.clone(), log.clone());
                    async move { told.push((ctx.cancelled().await, sim.elapsed())) }
                },
                |_| {},
            );
            let manager = Manager::builder()
                .runtime(process.runtime())
                .store(cluster.store.clone())
                .lease(LEASE)
                .register(patient)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let id = cluster.client.enqueue(Task::new("work", (1_000_u64, 0_u32))).await;
            sim.advance(SECOND).await;
            process.pause();
            let _well = cluster.start().await;
            sim.advance(LEASE * 3).await;
            let resumed = sim.elapsed();
            process.resume();
            sim.advance(SECOND).await;
            assert_eq!(heard.all(), [(Cancelled::LeaseLost, resumed)]);
            cluster.settle_down(SECOND * 60).await;
            cluster.check_ends(&[id.unwrap().id()]).await;
        });
    });
}

#[test]
fn who_slept_through_its_leases_has_none_of_its_tasks_charged() {
    for_seeds(0..300, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 1);
            let nodes = [cluster.start().await, cluster.start().await];
            let mut accepted = Vec::new();
            for millis in [4_000, 4_000, 4_000, 9_000, 9_000, 9_000] {
                let work: Work = (millis, 0);
                accepted.push(cluster.client.enqueue(Task::new("work", work)).await.unwrap().id());
            }
            sim.advance(SECOND).await;
            // As a machine does whose lid is closed: the short tasks are settled too late, and
            // meanwhile the other process looks for leases that have run out.
            nodes.iter().for_each(|node| node.process.pause());
            sim.advance(LEASE + SECOND).await;
            nodes.iter().for_each(|node| node.process.resume());
            cluster.settle_down(SECOND * 600).await;
            cluster.check_ends(&accepted).await;
            for task in cluster.tasks().await {
                assert_eq!((&task.end, task.budgets.crashes), (&Some(End::Succeeded), 0));
            }
        });
    });
}

/// It goes on at the very moment at which another looks for leases that have run out: were the task
/// settled first that ended meanwhile, the other one would look like what took the process down.
#[test]
fn who_slept_until_its_leases_ran_out_has_none_of_its_tasks_charged() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 1);
            let sleeper = cluster.start().await;
            let mut accepted = Vec::new();
            for work in [(4_000, 0), (30_000, 0)] as [Work; 2] {
                accepted.push(cluster.client.enqueue(Task::new("work", work)).await.unwrap().id());
            }
            sim.run_until_idle().await;
            assert_eq!(cluster.held_by(&sleeper).await.len(), 2);
            let _other = cluster.start().await;
            sim.advance(SECOND).await;
            sleeper.process.pause();
            sim.advance(LEASE - SECOND).await;
            sleeper.process.resume();
            cluster.settle_down(SECOND * 600).await;
            cluster.check_ends(&accepted).await;
            for task in cluster.tasks().await {
                assert_eq!((&task.end, task.budgets.crashes), (&Some(End::Succeeded), 0));
            }
        });
    });
}

#[test]
fn what_a_killed_process_held_is_not_handed_back_but_runs_out() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            let mut cluster = Cluster::new(&sim, 5);
            let killed = cluster.start().await;
            let work: Work = (5_000, 0);
            let id = cluster.client.enqueue(Task::new("work", work)).await.unwrap().id();
            sim.advance(SECOND).await;
            assert_eq!(cluster.held_by(&killed).await, [id]);
            let _well = cluster.start().await;
            killed.process.crash();
            cluster.settle_down(SECOND * 60).await;
            cluster.check_ends(&[id]).await;
            cluster.check_overlaps(&[(killed.number, SECOND)]);
            let seen = cluster.seen.all();
            let begun: Vec<_> = seen.iter().filter(|seen| seen.what == What::Begin).collect();
            let [first, second] = begun[..] else { panic!("{begun:?}") };
            assert_eq!((first.node, second.node), (0, 1));
            // The other looks every half of a lease.
            assert!(second.at >= LEASE && second.at <= LEASE * 2, "{:?}", second.at);
            assert_eq!(cluster.tasks().await[0].budgets.crashes, 1);
        });
    });
}

//! A store behind a bad wire: while calls are lost, late and doubled nothing untrue happens, and
//! when that stops everything ends.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    Counts, EnqueueError, Filter, Incarnation, Kind, MemoryStore, Missed, Overlap, QueueName,
    Store, StoreErrorKind, TaskId, TaskInfo,
};
use conveyor_core::store::{ClaimRequest, Demand, KindRoom, Wake, WakeSink};
use conveyor_testkit::{FaultPlan, FaultyStore, Sim, for_seeds, simulate};
use conveyor_tests::consumer;

const LEASE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(7);
const RETRIES: u32 = 3;
/// In which everything must have ended after the last fault: a slow call that is under way, the
/// lease, the poll, the engine's longest pause, the backoffs and the work.
const REST: Duration = Duration::from_secs(120);

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What happened, checked while it happens.
#[derive(Default)]
struct History {
    /// The attempts under way, and the fence's epoch of each.
    running: BTreeMap<TaskId, u64>,
    /// The attempts that began.
    starts: BTreeMap<TaskId, Vec<u64>>,
    ends: BTreeMap<TaskId, End>,
    /// The ids that each of the numbers ran with.
    copies: BTreeMap<u32, BTreeSet<TaskId>>,
    /// Whose task has begun and not ended, for each key.
    keys: BTreeMap<String, TaskId>,
    ticks: BTreeSet<TaskId>,
    /// What must not be; told by the test, since a panic in a handler is only another failure.
    wrong: Vec<String>,
}

#[derive(Clone)]
struct Witness {
    sim: Sim,
    history: Arc<Mutex<History>>,
}

impl Witness {
    fn new(sim: &Sim) -> Self {
        Witness { sim: sim.clone(), history: Arc::default() }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// An attempt begins; it ends when what is returned is dropped.
    fn begin(&self, number: Option<u32>, ctx: &Context) -> Running {
        let (id, epoch) = (ctx.id(), ctx.epoch());
        let at = self.sim.elapsed();
        let mut guard = self.history();
        let history = &mut *guard;
        if let Some(other) = history.running.insert(id, epoch) {
            history.wrong.push(format!("{at:?}: {id} starts ({epoch}) beside itself ({other})"));
        }
        let starts = history.starts.entry(id).or_default();
        if starts.contains(&epoch) {
            history.wrong.push(format!("{at:?}: one claim of {id} ({epoch}) starts twice"));
        }
        starts.push(epoch);
        if let Some(end) = history.ends.get(&id) {
            history.wrong.push(format!("{at:?}: {id} starts after its end ({end:?})"));
        }
        match number {
            Some(number) => _ = history.copies.entry(number).or_default().insert(id),
            None => {
                history.ticks.insert(id);
                // The schedule was put at the start, or later.
                let most = at.as_secs() / TICK.as_secs() + 1;
                if history.ticks.len() as u64 > most {
                    history.wrong.push(format!("{at:?}: more ticks than instants"));
                }
            }
        }
        if let Some(key) = ctx.key()
            && let Some(other) = history.keys.insert(key.to_string(), id)
            && other != id
        {
            history.wrong.push(format!("{at:?}: {id} and {other} are live with the key {key}"));
        }
        Running { witness: self.clone(), id, epoch }
    }
}

struct Running {
    witness: Witness,
    id: TaskId,
    epoch: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut history = self.witness.history();
        if history.running.get(&self.id) == Some(&self.epoch) {
            history.running.remove(&self.id);
        }
    }
}

impl WakeSink for Witness {
    fn wake(&self, wake: Wake<'_>) {
        if let Wake::Ended { task, end } = wake {
            let end = end.expect("the memory has it at hand").clone();
            let at = self.sim.elapsed();
            let mut history = self.history();
            history.keys.retain(|_, holder| *holder != task);
            if let Some(before) = history.ends.insert(task, end) {
                history.wrong.push(format!("{at:?}: {task} ends again, after {before:?}"));
            }
        }
    }

    fn watches_ends(&self) -> bool {
        true
    }
}

/// Works for a while; every third number fails, now and then.
fn worker(witness: &Witness, kind: &'static str, longest: Duration) -> impl Worker {
    let witness = witness.clone();
    let handler = move |number: u32, ctx: Context| {
        let witness = witness.clone();
        async move {
            let _running = witness.begin(Some(number), &ctx);
            let time = longest.mul_f64((witness.sim.random() % 1_000) as f64 / 1_000.0);
            let work = std::pin::pin!(ctx.sleep(time));
            futures::future::select(work, std::pin::pin!(ctx.cancelled())).await;
            if ctx.is_cancelled()
                || (number.is_multiple_of(3) && witness.sim.random().is_multiple_of(2))
            {
                return Err("not this time");
            }
            Ok(())
        }
    };
    consumer(kind, handler, |kind| {
        kind.retries(RETRIES).backoff(Backoff::fixed(secs(1)));
    })
}

fn ticker(witness: &Witness) -> impl Worker {
    let witness = witness.clone();
    let handler = move |(): (), ctx: Context| {
        let witness = witness.clone();
        async move {
            let _running = witness.begin(None, &ctx);
        }
    };
    let schedule = Schedule::every(TICK).unwrap().overlap(Overlap::Allow).missed(Missed::Skip);
    consumer("tick", handler, move |kind| _ = kind.schedule(schedule.clone()))
}

fn manager(sim: &Sim, faults: &FaultyStore, witness: &Witness) -> Manager {
    sim.manager_builder()
        .store(Arc::new(faults.clone()))
        .lease(LEASE)
        .consumers(6)
        .register(worker(witness, "quick", Duration::from_micros(1)))
        .register(worker(witness, "steady", secs(3)))
        .register(worker(witness, "long", secs(14)))
        .register(ticker(witness))
        .build()
        .unwrap()
}

fn task(sim: &Sim, number: u32) -> Task<u32> {
    let roll = |bound: u64| sim.random() % bound;
    let kind = ["quick", "quick", "steady", "long"][roll(4) as usize];
    let mut task = Task::new(kind, number).priority(roll(10) as i16);
    if roll(3) == 0 {
        task = task.key(format!("{kind}-{}", roll(3)));
    }
    if roll(4) == 0 {
        task = task.delay(Duration::from_millis(roll(8_000)));
    }
    task
}

/// All that the store knows of.
async fn everything(store: &dyn Store) -> Vec<TaskInfo> {
    let filter = Filter { limit: 100_000, ..Filter::default() };
    store.inspect(&filter).await.unwrap().tasks
}

/// What became of each enqueue.
#[derive(Debug)]
enum Asked {
    Accepted(TaskId),
    Duplicate,
    Unknown,
}

async fn storm(sim: Sim, managers: usize, plan: FaultPlan, longest_absence: u64) {
    let memory = Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
    let witness = Witness::new(&sim);
    let sink: Arc<dyn WakeSink> = Arc::new(witness.clone());
    memory.subscribe(Arc::downgrade(&sink) as Weak<dyn WakeSink>);
    // Each manager has a wire of its own.
    let wires: Vec<_> =
        (0..managers).map(|_| FaultyStore::new(&sim, memory.clone(), plan)).collect();
    let managers: Vec<_> = wires.iter().map(|wire| manager(&sim, wire, &witness)).collect();
    for (manager, wire) in managers.iter().zip(&wires) {
        // A start may ask the store, and says so if it cannot: that is another test's.
        wire.stop();
        manager.start().await.unwrap();
        wire.start();
    }
    let mut asked = Vec::new();
    for number in 0..60 {
        let at = (sim.random() % managers.len() as u64) as usize;
        asked.push(match managers[at].enqueue(task(&sim, number)).await {
            Ok(receipt) => Asked::Accepted(receipt.id()),
            Err(EnqueueError::Duplicate { .. }) => Asked::Duplicate,
            Err(EnqueueError::Store(error)) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable);
                Asked::Unknown
            }
            Err(error) => panic!("{error}"),
        });
        sim.advance(Duration::from_millis(sim.random() % 1_000)).await;
        if longest_absence > 0 && sim.random().is_multiple_of(20) {
            wires[at].away_for(Duration::from_millis(sim.random() % (longest_absence * 1_000)));
        }
    }
    wires.iter().for_each(FaultyStore::stop);
    // No more ticks, so that there is a rest.
    managers.iter().for_each(|manager| _ = manager.unregister("tick"));
    sim.advance(REST).await;
    sim.run_until_idle().await;
    let injected: Vec<_> = wires.iter().map(|wire| wire.injected().to_string()).collect();
    let all = everything(&*memory).await;
    // Ticks that nobody knows any more are no work.
    let live: Vec<_> =
        all.iter().filter(|task| task.end.is_none() && task.kind.as_str() != "tick").collect();
    assert!(live.is_empty(), "these have not ended: {live:#?}\n{injected:#?}");
    let counts = memory.counters().await.unwrap().total();
    check(&witness.history(), &asked, &all, counts);
}

fn check(history: &History, asked: &[Asked], all: &[TaskInfo], counts: Counts) {
    assert!(history.wrong.is_empty(), "{:#?}", history.wrong);
    assert!(history.running.is_empty(), "{:?}", history.running);
    for (number, asked) in asked.iter().enumerate() {
        let copies = history.copies.get(&(number as u32)).cloned().unwrap_or_default();
        match asked {
            Asked::Accepted(id) => {
                assert!(history.ends.contains_key(id), "{number} ({id}) is lost");
                assert!(copies.iter().all(|copy| copy == id), "{number}: {copies:?} for {id}");
            }
            Asked::Duplicate => assert!(copies.is_empty(), "{number} was refused, and ran"),
            Asked::Unknown => assert!(copies.len() <= 1, "{number}: {copies:?}"),
        }
    }
    for task in all {
        let starts = history.starts.get(&task.id).map_or(0, Vec::len) as u32;
        let budgets = task.budgets;
        let most = 1 + budgets.errors + budgets.interruptions + budgets.crashes + budgets.snoozes;
        assert!(starts <= most.min(task.epoch as u32), "{starts} starts of {task:#?}");
        assert!(budgets.errors <= RETRIES + 1, "{task:#?}");
    }
    let mut told = Counts::default();
    for end in history.ends.values() {
        match end {
            End::Succeeded => told.processed += 1,
            End::Failed(_) => told.failed += 1,
            End::Cancelled(_) => told.cancelled += 1,
            End::Crashed => told.crashed += 1,
            end => panic!("{end:?}"),
        }
    }
    let ends = |of: &Counts| [of.processed, of.failed, of.cancelled, of.crashed];
    assert_eq!(ends(&counts), ends(&told), "the counters are the ends");
    assert_eq!(counts.enqueued, all.len() as u64, "each was counted once");
    assert_eq!(counts.active, 0);
}

/// Calls take longer than the lease now and then.
fn slow() -> FaultPlan {
    FaultPlan { slow: 60, slowness: secs(12), ..FaultPlan::rough() }
}

#[test]
fn one_manager_on_a_rough_wire() {
    for_seeds(0..150, |seed| {
        simulate(seed, |sim| storm(sim, 1, FaultPlan::rough(), 0));
    });
}

#[test]
fn one_manager_whose_store_goes_away() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| storm(sim, 1, FaultPlan::rough(), 25));
    });
}

#[test]
fn two_managers_on_rough_wires() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| storm(sim, 2, FaultPlan::rough(), 0));
    });
}

#[test]
fn two_managers_whose_store_goes_away() {
    // The last one began a task under a lease that was counted from the repeat of its claim.
    for_seeds((0..100).chain([215]), |seed| {
        simulate(seed, |sim| storm(sim, 2, FaultPlan::rough(), 25));
    });
}

#[test]
fn two_managers_on_slow_wires() {
    // The last ones warned a handler of its lost lease too late.
    for_seeds((0..60).chain([1_047, 1_095]), |seed| {
        simulate(seed, |sim| storm(sim, 2, slow(), 0));
    });
}

#[test]
fn two_managers_on_slow_wires_whose_store_goes_away() {
    for_seeds((0..60).chain([1_016, 1_078]), |seed| {
        simulate(seed, |sim| storm(sim, 2, slow(), 12));
    });
}

#[test]
fn a_claim_is_found_again_however_many_were_given_since() {
    simulate(0, |sim| async move {
        let memory = Arc::new(MemoryStore::new(sim.clock()));
        let manager = sim.manager_builder().store(memory.clone()).build().unwrap();
        for number in 0..40u32 {
            manager.enqueue(Task::new("work", number)).await.unwrap();
        }
        let (queues, kinds) =
            ([QueueName::DEFAULT], [KindRoom { kind: Kind::from_static("work"), room: 1 }]);
        let claim = async |token| {
            let demand =
                Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room: 1 };
            let by = Incarnation::new(7);
            let request = ClaimRequest { by, token, lease: LEASE, demand, alone: false };
            memory.claim(request).await.unwrap().tasks[0].fence
        };
        let first = claim(0).await;
        for token in 1..=20 {
            claim(token).await;
        }
        assert_eq!(claim(0).await, first);
    });
}

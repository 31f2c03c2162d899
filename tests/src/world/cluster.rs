//! [`Cluster`]: one store, the processes that work on it, and what the test does to them.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor::{
    Filter, Manager, MemoryStore, PoolSize, Priority, QueueName, Schedule, Store, TaskId, TaskInfo,
    TaskState,
};
use conveyor_core::runtime::BoxFuture;
use conveyor_testkit::{FaultyStore, Process, Sim};
use futures::future::{Either, select};

use super::history::{Change, History, What};
use super::options::Options;
use super::witness::Witness;
use super::workers::{Bench, JobKind, KINDS, Place, TICK};

/// The queue with a pool of its own.
pub const MAIL: &str = "mail";

/// How many consumers `mail` has in each process.
pub const MAIL_CONSUMERS: usize = 2;

/// A process that works on the store.
pub(super) struct Node {
    pub(super) number: usize,
    /// None if it is the test's own process.
    pub(super) process: Option<Process>,
    pub(super) manager: Manager,
    /// None if it has the store to itself.
    pub(super) wire: Option<FaultyStore>,
    pub(super) place: Place,
    calls: Calls,
    /// When it is to go on after a stop.
    pub(super) goes_on: Option<Duration>,
}

/// A world in the making.
pub struct Cluster {
    pub(super) sim: Sim,
    pub(super) options: Options,
    pub(super) history: History,
    memory: Arc<MemoryStore>,
    bench: Bench,
    pub(super) nodes: Vec<Node>,
    next_process: usize,
    pub(super) next_number: u32,
    pub(super) ghosts: usize,
    pub(super) ids: Arc<Mutex<Vec<TaskId>>>,
    /// Those that were asked to shut down.
    leaving: Vec<Node>,
    /// Of all processes that there ever were.
    wires: Vec<FaultyStore>,
    /// The time of mishaps is over.
    calm: bool,
}

/// Calls of managers that have not returned.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    /// Adds a call: what comes back is to be run.
    fn add(&self, call: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, ()> {
        let calls = self.clone();
        calls.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            call.await;
            calls.0.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn pending(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cluster {
    /// A world with nobody in it.
    #[must_use]
    pub fn new(sim: &Sim, options: &Options, history: &History) -> Self {
        let mut memory = MemoryStore::new(sim.clock());
        if options.shared {
            memory = memory.shared_by_managers();
        }
        if let Some(capacity) = options.capacity {
            memory = memory.with_capacity_limit(capacity);
        }
        Cluster {
            sim: sim.clone(),
            options: options.clone(),
            history: history.clone(),
            memory: Arc::new(memory),
            bench: Bench::new(sim, history),
            nodes: Vec::new(),
            next_process: 0,
            next_number: 0,
            ghosts: 0,
            ids: Arc::default(),
            leaving: Vec::new(),
            wires: Vec::new(),
            calm: false,
        }
    }

    /// The store itself.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryStore> {
        &self.memory
    }

    pub(super) fn below(&self, bound: usize) -> usize {
        (self.sim.random() % bound as u64) as usize
    }

    pub(super) fn one_in(&self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub(super) fn millis(&self, longest: u64) -> Duration {
        Duration::from_millis(self.sim.random() % longest.max(1))
    }

    pub(super) fn note(&self, process: usize, change: Change) {
        self.history.note(process, What::World(change));
    }

    /// Starts a process with a manager of its own.
    ///
    /// # Panics
    /// If its manager does not build, which is a mistake of this file's.
    pub async fn start_process(&mut self) {
        let number = self.next_process;
        self.next_process += 1;
        let process = self.options.shared.then(|| self.sim.process("node"));
        if let Some(process) = &process
            && self.options.skew
        {
            self.skew(process);
        }
        let witness = Witness::new(
            &self.sim,
            number,
            process.clone(),
            Arc::clone(&self.memory),
            &self.history,
        );
        let (store, wire): (Arc<dyn Store>, _) = if self.options.shared {
            let wire = FaultyStore::new(&self.sim, Arc::new(witness), self.options.faults);
            self.wires.push(wire.clone());
            (Arc::new(wire.clone()), Some(wire))
        } else {
            (Arc::new(witness), None)
        };
        let place = self.bench.place(number, process.clone());
        let runtime = process.as_ref().map_or_else(|| self.sim.runtime(), Process::runtime);
        let Options { lease, crash_budget, consumers, reserved, .. } = self.options;
        let mut builder = Manager::builder()
            .runtime(runtime)
            .store(store)
            .lease(lease)
            .crash_budget(crash_budget)
            .consumers(consumers)
            .consumers_for(Priority::HIGH, reserved)
            .pool(MAIL, PoolSize::new(MAIL_CONSUMERS))
            .register(place.ticker(self.tick_schedule(TICK)))
            .register(place.feed());
        for kind in KINDS.iter().filter(|kind| kind.is_known_to(number)) {
            builder = builder.register(place.worker(kind));
        }
        let manager = builder.build().expect("the world's managers are well built");
        self.note(number, Change::Up);
        let retry = Duration::from_millis(100);
        while !matches!(within(&self.sim, retry * 100, manager.start()).await, Some(Ok(()))) {
            if process.as_ref().is_some_and(Process::has_crashed) {
                return;
            }
            // The wire was bad just then.
            self.sim.advance(retry).await;
        }
        let calls = Calls::default();
        self.nodes.push(Node { number, process, manager, wire, place, calls, goes_on: None });
    }

    pub(super) fn tick_schedule(&self, period: Duration) -> Schedule {
        let every = Schedule::every(period).expect("the period is long enough");
        every.missed(self.options.missed).overlap(self.options.overlap)
    }

    pub(super) fn skew(&self, process: &Process) {
        match self.below(3) {
            0 => process.skew_wall_ahead(self.millis(7_200_000)),
            1 => process.skew_wall_back(self.millis(7_200_000)),
            _ => {}
        }
    }

    /// A process that is up and not stopped.
    pub(super) fn any_node(&self) -> Option<&Node> {
        let up: Vec<&Node> = self.nodes.iter().filter(|node| node.goes_on.is_none()).collect();
        (!up.is_empty()).then(|| up[self.below(up.len())])
    }

    /// Has a process call its manager. The call dies with the process.
    pub(super) fn call<F: Future<Output = ()> + Send + 'static>(
        &self,
        call: impl FnOnce(Manager) -> F,
    ) {
        let Some(node) = self.any_node() else { return };
        self.call_of(node, call(node.manager.clone()));
    }

    fn call_of(&self, node: &Node, call: impl Future<Output = ()> + Send + 'static) {
        let process = node.process.as_ref();
        let runtime = process.map_or_else(|| self.sim.runtime(), Process::runtime);
        drop(runtime.spawn("call", node.calls.add(call)));
    }

    /// Starts processes for those that died.
    pub(super) fn clear_away(&mut self) {
        for nodes in [&mut self.nodes, &mut self.leaving] {
            nodes.retain(|node| !node.process.as_ref().is_some_and(Process::has_crashed));
        }
    }

    fn pending_calls(&self) -> usize {
        self.nodes.iter().chain(&self.leaving).map(|node| node.calls.pending()).sum()
    }

    /// Starts as many processes as are missing; in the end also such that every kind is known.
    pub async fn fill_up(&mut self) {
        self.clear_away();
        while self.nodes.len() < self.options.processes || (self.calm && !self.knows_all()) {
            self.start_process().await;
        }
    }

    fn knows_all(&self) -> bool {
        let is_known = |kind: &JobKind| self.nodes.iter().any(|n| kind.is_known_to(n.number));
        KINDS.iter().all(is_known)
    }

    pub(super) fn resume_who_is_due(&mut self) {
        let now = self.sim.elapsed();
        self.resume_if(|goes_on| goes_on <= now);
    }

    fn resume_if(&mut self, is_due: impl Fn(Duration) -> bool) {
        for node in &mut self.nodes {
            if node.goes_on.is_some_and(&is_due) {
                node.goes_on = None;
                let process = node.process.as_ref().filter(|process| !process.has_crashed());
                if let Some(process) = process {
                    self.history.note(node.number, What::World(Change::Go));
                    process.resume();
                }
            }
        }
    }

    pub(super) fn shut_down(&mut self, node: Node, grace: Duration) {
        let (history, manager, number) = (self.history.clone(), node.manager.clone(), node.number);
        self.call_of(&node, async move {
            history.note(number, What::World(Change::ShutDown(grace)));
            let Ok(report) = manager.shutdown(grace).await;
            history.note(number, What::World(Change::Down(report.abandoned)));
        });
        self.leaving.push(node);
    }

    /// Stops the faults for good, and has all processes up, with the code for everything.
    pub async fn calm(&mut self) {
        self.resume_if(|_| true);
        self.options.faults = self.options.calm_wire();
        for wire in &self.wires {
            wire.set_plan(self.options.faults);
            wire.away_for(Duration::ZERO);
        }
        self.options.crashes = false;
        self.calm = true;
        self.fill_up().await;
        let memory = Arc::clone(&self.memory);
        let witness = Witness::new(&self.sim, 0, None, memory, &self.history);
        for queue in [MAIL, "default"] {
            // Who would have resumed them may have died.
            drop(witness.pause(&QueueName::from_static(queue), false).await);
        }
        self.note(0, Change::Calm);
    }

    /// Goes on for so long without a mishap, and with a task now and then.
    pub async fn go_on(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            // Tasks that take their process down still do.
            self.fill_up().await;
            self.enqueue_some();
            self.sim.advance(self.millis(6_000)).await;
            if self.options.shutdowns && self.options.shared && self.one_in(4) {
                self.enqueue_some();
                self.replace_one().await;
            }
        }
    }

    /// Has no schedule tick any more, and waits until all is done that can be; says what is not.
    ///
    /// # Errors
    /// What is not done after a time in which it should be.
    pub async fn come_to_rest(&mut self, longest: Duration) -> Result<(), String> {
        let end = self.sim.elapsed() + longest;
        loop {
            self.fill_up().await;
            for node in &self.nodes {
                node.manager.unregister("tick");
                node.manager.unregister("feed");
                self.note(node.number, Change::Unregister);
            }
            self.sim.advance(Duration::from_secs(5)).await;
            let left = self.unfinished().await;
            let calls = self.pending_calls();
            if left.is_empty() && calls == 0 {
                return Ok(());
            }
            if self.sim.elapsed() > end {
                return Err(format!(
                    "{longest:?} after the last fault {calls} calls have not returned, and these \
                     tasks have not ended: {left:#?}"
                ));
            }
        }
    }

    /// The live tasks that somebody has the code for.
    async fn unfinished(&self) -> Vec<TaskInfo> {
        let all = self.everything().await;
        let known = |task: &TaskInfo| KINDS.iter().any(|kind| kind.name == task.kind.as_str());
        all.into_iter().filter(|task| task.state != TaskState::Ended && known(task)).collect()
    }

    /// All that the store knows of.
    pub async fn everything(&self) -> Vec<TaskInfo> {
        let filter = Filter { limit: usize::MAX, ..Filter::default() };
        self.memory.inspect(&filter).await.map_or_else(|_| Vec::new(), |page| page.tasks)
    }

    /// Shuts every process down, and waits until all are.
    ///
    /// # Errors
    /// If that takes much longer than it may.
    pub async fn shut_all_down(&mut self) -> Result<(), String> {
        let grace = Duration::from_secs(1);
        for node in std::mem::take(&mut self.nodes) {
            self.shut_down(node, grace);
        }
        self.sim.advance(grace * 2).await;
        self.clear_away();
        match self.pending_calls() {
            0 => Ok(()),
            calls => Err(format!("{calls} shutdowns have not returned")),
        }
    }
}

/// What the call comes to, if it does within that time.
async fn within<T>(sim: &Sim, time: Duration, call: impl Future<Output = T>) -> Option<T> {
    match select(pin!(call), pin!(sim.advance(time))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

//! [`Cluster`]: one store, the processes that work on it, and what the test does to them.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor::{
    AnyTask, EnqueueError, IntoTask, Manager, MemoryStore, PoolSize, Priority, QueueName, Receipt,
    Schedule, Store, Task, TaskId, TaskInfo,
};
use conveyor::{Filter, TaskState};
use conveyor_core::runtime::BoxFuture;
use conveyor_testkit::{FaultyStore, Process, Sim};

use futures::future::{Either, select};

use super::history::{Change, History, Reply, What};
use super::options::Options;
use super::witness::Witness;
use super::workers::{Bench, GHOST, Job, JobKind, KINDS, Place, Step, TICK, Then};

/// The queue with a pool of its own.
pub const MAIL: &str = "mail";

/// How many consumers `mail` has in each process.
pub const MAIL_CONSUMERS: usize = 2;

/// A process that works on the store.
struct Node {
    number: usize,
    /// None if it is the test's own process.
    process: Option<Process>,
    manager: Manager,
    /// None if it has the store to itself.
    wire: Option<FaultyStore>,
    place: Place,
    calls: Calls,
    /// When it is to go on after a stop.
    goes_on: Option<Duration>,
}

/// A world in the making.
pub struct Cluster {
    sim: Sim,
    options: Options,
    history: History,
    memory: Arc<MemoryStore>,
    bench: Bench,
    nodes: Vec<Node>,
    next_process: usize,
    next_number: u32,
    ghosts: usize,
    ids: Arc<Mutex<Vec<TaskId>>>,
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

    fn below(&self, bound: usize) -> usize {
        (self.sim.random() % bound as u64) as usize
    }

    fn one_in(&self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn millis(&self, longest: u64) -> Duration {
        Duration::from_millis(self.sim.random() % longest.max(1))
    }

    fn note(&self, process: usize, change: Change) {
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

    fn tick_schedule(&self, period: Duration) -> Schedule {
        let every = Schedule::every(period).expect("the period is long enough");
        every.missed(self.options.missed).overlap(self.options.overlap)
    }

    fn skew(&self, process: &Process) {
        match self.below(3) {
            0 => process.skew_wall_ahead(self.millis(7_200_000)),
            1 => process.skew_wall_back(self.millis(7_200_000)),
            _ => {}
        }
    }

    /// A process that is up and not stopped.
    fn any_node(&self) -> Option<&Node> {
        let up: Vec<&Node> = self.nodes.iter().filter(|node| node.goes_on.is_none()).collect();
        (!up.is_empty()).then(|| up[self.below(up.len())])
    }

    /// Has a process call its manager. The call dies with the process.
    fn call<F: Future<Output = ()> + Send + 'static>(&self, call: impl FnOnce(Manager) -> F) {
        let Some(node) = self.any_node() else { return };
        self.call_of(node, call(node.manager.clone()));
    }

    fn call_of(&self, node: &Node, call: impl Future<Output = ()> + Send + 'static) {
        let process = node.process.as_ref();
        let runtime = process.map_or_else(|| self.sim.runtime(), Process::runtime);
        drop(runtime.spawn("call", node.calls.add(call)));
    }

    /// Takes one step of the test's: mostly tasks, now and then a mishap.
    pub async fn step(&mut self) {
        self.clear_away();
        match self.below(100) {
            0..60 => self.enqueue_some(),
            60..68 => self.cancel_one(),
            68..72 => self.pause_for_a_while(),
            72..75 => self.set_schedule(),
            75..80 if self.options.crashes => self.crash_one().await,
            80..85 if self.options.stops => self.stop_one(),
            85..89 if self.options.shutdowns && self.options.shared => self.replace_one().await,
            89..93 if !self.options.longest_absence.is_zero() => self.cut_off_one(),
            93..96 if self.options.skew => self.skew_one(),
            96..98 => self.register_again(),
            _ => self.enqueue_some(),
        }
        self.sim.advance(self.millis(self.options.pace)).await;
        self.resume_who_is_due();
    }

    /// Starts processes for those that died.
    fn clear_away(&mut self) {
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

    fn enqueue_some(&mut self) {
        let some: Vec<(u32, AnyTask)> = (0..=self.below(3)).map(|_| self.task()).collect();
        let (history, ids) = (self.history.clone(), Arc::clone(&self.ids));
        if some.len() > 1 && self.one_in(2) {
            self.call(|manager| async move {
                let (numbers, tasks): (Vec<u32>, Vec<AnyTask>) = some.into_iter().unzip();
                for (number, result) in numbers.into_iter().zip(manager.enqueue_all(tasks).await) {
                    note_receipt(&history, &ids, number, result);
                }
            });
            return;
        }
        let patient = self.one_in(2);
        for (number, task) in some {
            let (history, ids) = (history.clone(), Arc::clone(&ids));
            self.call(move |manager| async move {
                let result = if patient {
                    manager.enqueue(task).await
                } else {
                    manager.try_enqueue(task).await
                };
                note_receipt(&history, &ids, number, result);
            });
        }
    }

    /// A task of any sort, and its number.
    fn task(&mut self) -> (u32, AnyTask) {
        let number = self.next_number;
        self.next_number += 1;
        let mut kind = KINDS[[0, 0, 0, 1, 1, 2, 3][self.below(7)]].name;
        if self.ghosts < 3 && self.one_in(40) {
            self.ghosts += 1;
            kind = GHOST;
        }
        let mut steps: Vec<Step> = (0..=self.below(3)).map(|_| self.job_step()).collect();
        if let Some(Step { then: then @ Then::Snooze { .. }, .. }) = steps.last_mut() {
            // Or it would never end.
            *then = Then::Succeed;
        }
        let mut task = Task::new(kind, Job { number, steps });
        if self.one_in(2) {
            task = task.priority([-10, 0, 3, 10, 20][self.below(5)]);
        }
        if self.one_in(3) {
            task = task.key(format!("key {}", self.below(4)));
        }
        if self.one_in(4) {
            task = task.delay(self.millis(8_000));
        }
        if self.one_in(6) {
            task = task.queue(MAIL);
        }
        if self.one_in(10) {
            task = task.timeout(Duration::from_millis(500 + self.sim.random() % 3_000));
        }
        if self.one_in(10) {
            task = task.retries(self.below(3) as u32);
        }
        (number, task.into_task())
    }

    fn job_step(&self) -> Step {
        let works = match self.below(10) {
            0..4 => 0,
            4..8 => self.sim.random() % 500,
            8 => self.sim.random() % 6_000,
            _ => self.sim.random() % 20_000,
        };
        let then = match self.below(40) {
            0..22 => Then::Succeed,
            22..28 => Then::Fail,
            28 => Then::FailForGood,
            29 => Then::RetryAfter { millis: self.sim.random() % 5_000 },
            30..33 => Then::Panic,
            33..35 => Then::Snooze { millis: self.sim.random() % 5_000 },
            35 => Then::CallOff,
            // Whoever waits for room in a handler may wait for itself.
            36..38 if self.options.capacity.is_none() => Then::Enqueue,
            38 if self.options.crashes => Then::Die,
            _ => Then::Succeed,
        };
        Step { works, heeds: !self.one_in(5), then }
    }

    fn cancel_one(&self) {
        let id = {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            if ids.is_empty() {
                return;
            }
            // The last ones are the likeliest to be live.
            let back = self.below(ids.len().min(12));
            ids[ids.len() - 1 - back]
        };
        self.call(|manager| async move { drop(manager.cancel(id).await) });
    }

    fn pause_for_a_while(&self) {
        let queue = if self.one_in(2) { MAIL } else { "default" };
        let (sim, time) = (self.sim.clone(), self.millis(5_000));
        self.call(move |manager| async move {
            drop(manager.pause(queue).await);
            sim.advance(time).await;
            while manager.resume(queue).await.is_err() {
                sim.advance(Duration::from_millis(100)).await;
            }
        });
    }

    fn set_schedule(&self) {
        let schedule = self.tick_schedule([TICK, TICK * 2][self.below(2)]);
        self.call(|manager| async move { drop(manager.set_schedule("tick", schedule).await) });
    }

    async fn crash_one(&mut self) {
        if let Some(node) = self.any_node()
            && let Some(process) = &node.process
        {
            self.note(node.number, Change::Crash);
            process.crash();
        }
        self.clear_away();
        if self.nodes.is_empty() || self.one_in(2) {
            self.fill_up().await;
        }
    }

    fn stop_one(&mut self) {
        let longest = self.options.lease.as_millis() as u64 * 3;
        let goes_on = self.sim.elapsed() + self.millis(longest);
        let at = self.below(self.nodes.len().max(1));
        let Some(node) = self.nodes.get_mut(at) else { return };
        if let Some(process) = &node.process
            && node.goes_on.is_none()
        {
            process.pause();
            node.goes_on = Some(goes_on);
            let number = node.number;
            self.note(number, Change::Stop);
        }
    }

    fn resume_who_is_due(&mut self) {
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

    /// Shuts a process down as a deployment does: a new one is up first.
    async fn replace_one(&mut self) {
        let up: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| self.nodes[at].goes_on.is_none()).collect();
        if up.is_empty() {
            return;
        }
        let node = self.nodes.remove(up[self.below(up.len())]);
        self.start_process().await;
        let grace = self.millis(5_000);
        self.shut_down(node, grace);
    }

    fn shut_down(&mut self, node: Node, grace: Duration) {
        let (history, manager, number) = (self.history.clone(), node.manager.clone(), node.number);
        self.call_of(&node, async move {
            history.note(number, What::World(Change::ShutDown(grace)));
            let Ok(report) = manager.shutdown(grace).await;
            history.note(number, What::World(Change::Down(report.abandoned)));
        });
        self.leaving.push(node);
    }

    fn cut_off_one(&self) {
        let time = self.options.longest_absence.mul_f64(self.below(1_000) as f64 / 1_000.0);
        // The whole store, or the way of one.
        if self.one_in(3) {
            for node in &self.nodes {
                cut_off(&self.history, node, time);
            }
        } else if let Some(node) = self.any_node() {
            cut_off(&self.history, node, time);
        }
    }

    fn skew_one(&self) {
        if let Some(Node { process: Some(process), .. }) = self.any_node() {
            self.skew(process);
        }
    }

    /// Registers a worker again that a process has already.
    fn register_again(&self) {
        if let Some(node) = self.any_node() {
            let again = node.place.worker(&KINDS[0]);
            drop(node.manager.register(again));
        }
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

fn cut_off(history: &History, node: &Node, time: Duration) {
    if let Some(wire) = &node.wire {
        history.note(node.number, What::World(Change::Away(time)));
        wire.away_for(time);
    }
}

fn note_receipt(
    history: &History,
    ids: &Mutex<Vec<TaskId>>,
    number: u32,
    result: Result<Receipt, EnqueueError>,
) {
    let told = match result {
        Ok(receipt) => {
            ids.lock().unwrap_or_else(PoisonError::into_inner).push(receipt.id());
            Reply::Accepted(receipt.id())
        }
        Err(EnqueueError::Duplicate { .. }) => Reply::Refused,
        Err(EnqueueError::Store(_)) => Reply::Unknown,
        Err(_) => Reply::Refused,
    };
    history.note(usize::MAX, What::Receipt(number, told));
}

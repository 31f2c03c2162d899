//! The state that a simulation's tasks, timers and handles share.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use conveyor_core::runtime::{BoxFuture, JoinError, JoinHandle, StopSignal};
use conveyor_core::time::{Instant, Timestamp};

use super::TaskPanic;
use super::clock::VirtualClock;
use super::random::{Random, Stream, mix};
use super::signal::Signal;
use super::task::{Joined, Task};
use super::timers::Timers;

/// One thread's worth of tasks and timers.
///
/// No lock is held while a task runs, a waker is called or anything of a user's is dropped. All
/// locks are free in a simulation that keeps to one thread.
pub(super) struct Executor {
    pub(super) seed: u64,
    pub(super) clock: VirtualClock,
    pub(super) timers: Mutex<Timers>,
    pub(super) stop: Arc<Signal<StopSignal>>,
    /// Said when nothing is ready at this instant.
    pub(super) idle: Arc<Signal<()>>,
    pub(super) runtime_random: Mutex<Random>,
    pub(super) test_random: Mutex<Random>,
    ready: Mutex<Ready>,
    live: Mutex<Live>,
    panics: Mutex<Vec<TaskPanic>>,
    steps: AtomicU64,
    fingerprint: AtomicU64,
}

#[derive(Default)]
struct Ready {
    /// In no order: the next one is drawn, and the last one takes its place.
    tasks: Vec<Arc<Task>>,
    closed: bool,
}

/// The tasks that have not ended.
#[derive(Default)]
struct Live {
    slots: Vec<Option<Arc<Task>>>,
    free: Vec<usize>,
    spawned: u64,
    closed: bool,
}

impl Live {
    fn place(&mut self, make: impl FnOnce(usize) -> Task) -> Arc<Task> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let task = Arc::new(make(slot));
        self.slots[slot] = Some(Arc::clone(&task));
        task
    }

    fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Executor {
    pub(super) fn new(seed: u64, wall: Timestamp) -> Arc<Self> {
        Arc::new(Executor {
            seed,
            clock: VirtualClock::new(wall),
            timers: Mutex::default(),
            stop: Signal::new(),
            idle: Signal::new(),
            runtime_random: Mutex::new(Random::stream(seed, Stream::Runtime)),
            test_random: Mutex::new(Random::stream(seed, Stream::Test)),
            ready: Mutex::default(),
            live: Mutex::default(),
            panics: Mutex::default(),
            steps: AtomicU64::new(0),
            fingerprint: AtomicU64::new(0),
        })
    }

    /// The task of the root future, which the driver polls itself.
    pub(super) fn root(self: &Arc<Self>) -> Arc<Task> {
        let executor = Arc::clone(self);
        let root =
            lock(&self.live).place(|slot| Task::new(Task::ROOT, "root", slot, executor, None));
        Waker::from(Arc::clone(&root)).wake();
        root
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        future: BoxFuture<'static, ()>,
    ) -> JoinHandle {
        let executor = Arc::clone(self);
        let mut live = lock(&self.live);
        if live.closed {
            drop(live);
            let late = Task::new(u64::MAX, name, usize::MAX, executor, Some(future));
            late.finish(late.end_now());
            return JoinHandle::new(Joined(Arc::new(late)));
        }
        live.spawned += 1;
        let id = live.spawned;
        let task = live.place(|slot| Task::new(id, name, slot, executor, Some(future)));
        drop(live);
        Waker::from(Arc::clone(&task)).wake();
        JoinHandle::new(Joined(task))
    }

    pub(super) fn make_ready(&self, task: Arc<Task>) {
        let mut ready = lock(&self.ready);
        if !ready.closed {
            ready.tasks.push(task);
        }
    }

    /// Draws the next task to run.
    pub(super) fn next_ready(&self, choice: &mut Random) -> Option<Arc<Task>> {
        let mut ready = lock(&self.ready);
        let index = match ready.tasks.len() {
            0 => return None,
            1 => 0,
            n => choice.below(n),
        };
        Some(ready.tasks.swap_remove(index))
    }

    /// Counts a step of `task`; how many there were. The executor's driver alone calls this.
    pub(super) fn begin_step(&self, task: &Task) -> u64 {
        let now = self.clock.now();
        task.begin_step(now);
        let before = self.fingerprint.load(Ordering::Relaxed);
        // The constant keeps a row of zeros from staying zero.
        let after = mix(mix(before ^ now.as_nanos()) ^ task.id).wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.fingerprint.store(after, Ordering::Relaxed);
        let steps = self.steps.load(Ordering::Relaxed) + 1;
        self.steps.store(steps, Ordering::Relaxed);
        steps
    }

    /// Runs a spawned task until it waits or ends.
    pub(super) fn step(&self, task: &Arc<Task>) {
        let Some(end) = task.step() else { return };
        self.note_panic(task, &end);
        {
            let mut live = lock(&self.live);
            live.slots[task.slot] = None;
            live.free.push(task.slot);
        }
        task.finish(end);
    }

    /// Wakes whoever waits for the moment at which nothing is ready; whether anybody did.
    pub(super) fn tell_idle(&self) -> bool {
        self.idle.is_awaited() && self.idle.say(())
    }

    /// Moves the clock to `now` and wakes what is due then. `due` is room to work in.
    pub(super) fn advance_to(&self, now: Instant, due: &mut Vec<Waker>) {
        self.clock.advance_to(now);
        lock(&self.timers).take_due(now, due);
        for waker in due.drain(..) {
            waker.wake();
        }
    }

    /// Drops every task, timer and waiter; the panics in the drops. Nothing runs after this.
    pub(super) fn close(&self) -> Vec<TaskPanic> {
        let before = lock(&self.panics).len();
        let tasks = {
            let mut live = lock(&self.live);
            live.closed = true;
            live.free.clear();
            std::mem::take(&mut live.slots)
        };
        let ready = {
            let mut ready = lock(&self.ready);
            ready.closed = true;
            std::mem::take(&mut ready.tasks)
        };
        let mut tasks: Vec<_> = tasks.into_iter().flatten().collect();
        tasks.sort_unstable_by_key(|task| task.id);
        for task in tasks {
            let end = task.end_now();
            self.note_panic(&task, &end);
            task.finish(end);
        }
        drop(ready);
        let timers = lock(&self.timers).take_all();
        drop(timers);
        self.stop.clear();
        self.idle.clear();
        lock(&self.panics)[before..].to_vec()
    }

    fn note_panic(&self, task: &Task, end: &Result<(), JoinError>) {
        if let Err(JoinError::Panicked(text)) = end {
            lock(&self.panics).push(TaskPanic { task: task.name, text: text.clone() });
        }
    }

    pub(super) fn panics(&self) -> Vec<TaskPanic> {
        lock(&self.panics).clone()
    }

    pub(super) fn spawned(&self) -> u64 {
        lock(&self.live).spawned
    }

    /// The live tasks, without the root.
    pub(super) fn live(&self) -> usize {
        lock(&self.live).count().saturating_sub(1)
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint.load(Ordering::Relaxed)
    }

    /// The live tasks, one a line, oldest first.
    pub(super) fn describe_tasks(&self) -> String {
        const MOST: usize = 40;
        let mut tasks: Vec<_> = lock(&self.live).slots.iter().flatten().cloned().collect();
        tasks.sort_unstable_by_key(|task| task.id);
        let now = self.clock.now();
        let mut text = String::new();
        for task in tasks.iter().take(MOST) {
            let (id, name, polls) = (task.id, task.name, task.polls());
            let since = now.saturating_since(task.last_poll());
            let state = if task.is_ready() { "is ready" } else { "waits" };
            let _ = write!(
                text,
                "\n  {name} (task {id}) {state}, polled {since:?} ago, {polls} polls in all"
            );
        }
        if tasks.len() > MOST {
            let _ = write!(text, "\n  and {} more", tasks.len() - MOST);
        }
        text
    }
}

/// Locks. Nothing of a user's runs under these locks, so a poisoned one still holds good data.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The state that a simulation's tasks, timers and handles share.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use conveyor_core::runtime::{BoxFuture, JoinError, JoinHandle};
use conveyor_core::time::{Instant, Timestamp};

use super::TaskPanic;
use super::clock::VirtualClock;
use super::process::Owner;
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
    /// Said when nothing is ready at this instant.
    pub(super) idle: Arc<Signal<()>>,
    pub(super) test_random: Mutex<Random>,
    ready: Mutex<Ready>,
    /// In the order in which they were started; the first is the test's own.
    owners: Mutex<Vec<Arc<Owner>>>,
    /// The process whose task runs; the test's own while none does.
    running: AtomicU64,
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
            idle: Signal::new(),
            test_random: Mutex::new(Random::stream(seed, Stream::Test)),
            ready: Mutex::default(),
            owners: Mutex::new(vec![Owner::test(seed)]),
            running: AtomicU64::new(Owner::TEST),
            live: Mutex::default(),
            panics: Mutex::default(),
            steps: AtomicU64::new(0),
            fingerprint: AtomicU64::new(0),
        })
    }

    /// The process of the test itself.
    pub(super) fn test(&self) -> Arc<Owner> {
        Arc::clone(&lock(&self.owners)[0])
    }

    /// Starts a process.
    pub(super) fn start_process(&self, name: &'static str) -> Arc<Owner> {
        let mut owners = lock(&self.owners);
        let owner = Owner::process(self.seed, owners.len() as u64, name);
        owners.push(Arc::clone(&owner));
        owner
    }

    /// The process whose task runs.
    pub(super) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    /// The task of the root future, which the driver polls itself.
    pub(super) fn root(self: &Arc<Self>) -> Arc<Task> {
        let executor = Arc::clone(self);
        let root = lock(&self.live)
            .place(|slot| Task::new(Task::ROOT, "root", slot, executor, self.test(), None));
        Waker::from(Arc::clone(&root)).wake();
        root
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        name: &'static str,
        future: BoxFuture<'static, ()>,
    ) -> JoinHandle {
        let executor = Arc::clone(self);
        let owner = Arc::clone(owner);
        if owner.has_crashed() {
            // Not dropped, as nothing of a killed process is.
            std::mem::forget(future);
            let never = Task::new(u64::MAX, name, usize::MAX, executor, owner, None);
            never.finish(Err(JoinError::Aborted));
            return JoinHandle::new(Joined(Arc::new(never)));
        }
        let mut live = lock(&self.live);
        if live.closed {
            drop(live);
            let late = Task::new(u64::MAX, name, usize::MAX, executor, owner, Some(future));
            late.finish(late.end_now());
            return JoinHandle::new(Joined(Arc::new(late)));
        }
        live.spawned += 1;
        let id = live.spawned;
        let task = live.place(|slot| Task::new(id, name, slot, executor, owner, Some(future)));
        drop(live);
        Waker::from(Arc::clone(&task)).wake();
        JoinHandle::new(Joined(task))
    }

    pub(super) fn make_ready(&self, task: Arc<Task>) {
        let mut ready = lock(&self.ready);
        if ready.closed {
            return;
        }
        ready.tasks.extend(Owner::hold(task));
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
        self.running.store(task.owner.id, Ordering::Relaxed);
        let end = task.step();
        self.running.store(Owner::TEST, Ordering::Relaxed);
        let Some(end) = end else { return };
        self.note_panic(task, &end);
        {
            let mut live = lock(&self.live);
            live.slots[task.slot] = None;
            live.free.push(task.slot);
        }
        task.finish(end);
    }

    /// Has no task of that process run until it is resumed.
    pub(super) fn pause(&self, owner: &Arc<Owner>) {
        let mut ready = lock(&self.ready);
        owner.pause();
        let tasks = std::mem::take(&mut ready.tasks);
        ready.tasks = tasks.into_iter().filter_map(Owner::hold).collect();
    }

    /// Goes on with a paused process.
    pub(super) fn resume(&self, owner: &Arc<Owner>) {
        let mut ready = lock(&self.ready);
        let held = owner.resume();
        if !ready.closed {
            ready.tasks.extend(held);
        }
    }

    /// Has every task of that process vanish, and all its timers.
    pub(super) fn crash(&self, owner: &Arc<Owner>) {
        let dropped = {
            let mut ready = lock(&self.ready);
            let held = owner.crash();
            let (theirs, tasks): (Vec<_>, Vec<_>) = std::mem::take(&mut ready.tasks)
                .into_iter()
                .partition(|task| Arc::ptr_eq(&task.owner, owner));
            ready.tasks = tasks;
            (held, theirs)
        };
        drop(dropped);
        let mut gone = Vec::new();
        {
            let mut live = lock(&self.live);
            let Live { slots, free, .. } = &mut *live;
            for (number, slot) in slots.iter_mut().enumerate() {
                let theirs = slot.as_ref().is_some_and(|task| Arc::ptr_eq(&task.owner, owner));
                if theirs && slot.as_ref().is_some_and(|task| task.vanish()) {
                    gone.extend(slot.take());
                    free.push(number);
                }
            }
        }
        let timers = lock(&self.timers).take_of(owner.id);
        drop(timers);
        gone.sort_unstable_by_key(|task| task.id);
        for task in gone {
            task.finish(Err(JoinError::Aborted));
        }
        owner.stop.clear();
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
        let mut held = Vec::new();
        let timers = lock(&self.timers).take_all();
        drop(timers);
        for owner in lock(&self.owners).iter() {
            held.extend(owner.resume());
            owner.stop.clear();
        }
        drop(held);
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

    /// Which processes are paused, for the message of a deadlock.
    pub(super) fn describe_paused(&self) -> String {
        let owners = lock(&self.owners);
        let paused: Vec<_> =
            owners.iter().filter(|owner| owner.is_paused()).map(|owner| owner.name).collect();
        match paused.len() {
            0 => String::new(),
            1 => format!("; the process {} is paused, and nobody is left to resume it", paused[0]),
            _ => format!(
                "; the processes {} are paused, and nobody is left to resume them",
                paused.join(", ")
            ),
        }
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
            let state = match (task.is_ready(), task.owner.is_paused()) {
                (true, false) => "is ready",
                (false, false) => "waits",
                (true, true) => "would be ready, but its process is paused,",
                (false, true) => "waits, and its process is paused,",
            };
            let process = task.owner.shown();
            let _ = write!(
                text,
                "\n  {name} (task {id}{process}) {state}, polled {since:?} ago, {polls} polls in all"
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

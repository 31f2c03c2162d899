//! [`Simulation`]: sets up a run, drives it, and says why it got stuck.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use conveyor_core::time::{Instant, Timestamp};

use super::clock::DEFAULT_WALL;
use super::executor::{Executor, lock};
use super::random::{Random, Stream};
use super::runtime::SimRuntime;
use super::task::Task;
use super::{Sim, TaskPanic};

/// Runs `test` as the root task of a simulation with that seed, until it is done.
///
/// A shortcut for [`Simulation::new(seed).run(test)`](Simulation::run), which see for when it
/// panics.
///
/// ```
/// use std::time::Duration;
/// use conveyor_testkit::simulate;
///
/// let day = simulate(7, |sim| async move {
///     sim.advance(Duration::from_secs(24 * 60 * 60)).await; // takes no time
///     sim.wall()
/// });
/// assert_eq!(day.to_string(), "2026-01-02T00:00:00Z");
/// ```
///
/// # Panics
/// As [`Simulation::run`].
pub fn simulate<T, Fut: Future<Output = T>>(seed: u64, test: impl FnOnce(Sim) -> Fut) -> T {
    Simulation::new(seed).run(test)
}

/// The settings of a simulation; [`simulate`] takes the defaults.
#[derive(Clone, Debug)]
pub struct Simulation {
    seed: u64,
    wall: Timestamp,
    max_steps: u64,
    max_time: Duration,
}

impl Simulation {
    /// A simulation with that seed, from 2026-01-01T00:00:00Z on, of at most 50 million steps and
    /// 100 days.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Simulation {
            seed,
            wall: DEFAULT_WALL,
            max_steps: 50_000_000,
            max_time: Duration::from_secs(100 * 24 * 60 * 60),
        }
    }

    /// Sets what the wall clock says at the start.
    #[must_use]
    pub const fn wall(mut self, wall: Timestamp) -> Self {
        self.wall = wall;
        self
    }

    /// Sets after how many steps the simulation panics. A step runs one task until it waits.
    #[must_use]
    pub const fn max_steps(mut self, steps: u64) -> Self {
        self.max_steps = steps;
        self
    }

    /// Sets after how much virtual time the simulation panics.
    #[must_use]
    pub const fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    /// Runs `test` as the root task until it is done, then drops every task that is left.
    ///
    /// Whenever nothing is ready, the clock moves to the next timer. The root is polled on the
    /// caller's thread, and need be neither `Send` nor `'static`.
    ///
    /// # Panics
    /// With the root's own panic, after the seed was printed to stderr; and, naming the seed,
    /// - if nothing is ready, no timer is set, and the root is not done (a deadlock), with the tasks
    ///   that wait and the processes that are paused;
    /// - if the limit of steps or of virtual time is passed, with the tasks that are live;
    /// - if a task that was left over panics when it is dropped.
    pub fn run<T, Fut: Future<Output = T>>(self, test: impl FnOnce(Sim) -> Fut) -> T {
        #[cfg(conveyor_plant)]
        crate::plant::plant_as_told();
        let seed = self.seed;
        let executor = Executor::new(seed, self.wall);
        let sim = Sim::new(SimRuntime { executor: Arc::clone(&executor), owner: executor.test() });
        let ran = self.drive(&executor, async move { test(sim).await });
        let left = executor.close();
        match ran {
            Ok(value) if left.is_empty() => value,
            Ok(_) => panic!(
                "seed {seed}: tasks that were left at the end of the simulation panicked when they \
                 were dropped:{}",
                list(&left)
            ),
            Err(failure) => {
                if !left.is_empty() {
                    eprintln!(
                        "seed {seed}: tasks also panicked when they were dropped:{}",
                        list(&left)
                    );
                }
                match failure {
                    Failure::Stuck(why) => panic!("{why}"),
                    Failure::Panicked(payload) => {
                        eprintln!(
                            "seed {seed}: the simulation panicked at {:?} of virtual time",
                            executor.clock.elapsed()
                        );
                        resume_unwind(payload)
                    }
                }
            }
        }
    }

    fn drive<T>(
        &self,
        executor: &Arc<Executor>,
        root: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut root = Box::pin(root);
        let ran = self.run_tasks(executor, root.as_mut());
        // Its drop may panic: after its end, or a failure, that must not hide how it went.
        match (ran, catch_unwind(AssertUnwindSafe(|| drop(root)))) {
            (Ok(_), Err(payload)) => Err(Failure::Panicked(payload)),
            (ran, _) => ran,
        }
    }

    fn run_tasks<T>(
        &self,
        executor: &Arc<Executor>,
        mut root: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Failure> {
        let mut choice = Random::stream(self.seed, Stream::Schedule);
        let mut due = Vec::new();
        let waker = Waker::from(executor.root());
        let mut cx = Context::from_waker(&waker);
        let end = Instant::from_nanos(0) + self.max_time;
        loop {
            while let Some(task) = executor.next_ready(&mut choice) {
                if executor.begin_step(&task) > self.max_steps {
                    return Err(self.too_many_steps(executor, &task));
                }
                if task.id != Task::ROOT {
                    executor.step(&task);
                    continue;
                }
                match catch_unwind(AssertUnwindSafe(|| root.as_mut().poll(&mut cx))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(value)) => return Ok(value),
                    Err(payload) => return Err(Failure::Panicked(payload)),
                }
            }
            if executor.tell_idle() {
                continue;
            }
            let next = lock(&executor.timers).next_deadline();
            match next {
                Some(deadline) if deadline <= end => executor.advance_to(deadline, &mut due),
                Some(_) => return Err(self.too_much_time(executor)),
                None => return Err(self.deadlock(executor)),
            }
        }
    }

    fn deadlock(&self, executor: &Executor) -> Failure {
        Failure::Stuck(format!(
            "seed {}: deadlock after {:?} of virtual time: nothing is ready, no timer is set, and \
             the root is not done{}. The live tasks:{}",
            self.seed,
            executor.clock.elapsed(),
            executor.describe_paused(),
            executor.describe_tasks()
        ))
    }

    fn too_many_steps(&self, executor: &Executor, last: &Task) -> Failure {
        Failure::Stuck(format!(
            "seed {}: the limit of {} steps was passed after {:?} of virtual time, by {} (task {}): \
             a livelock, or raise the limit by `max_steps`. The live tasks:{}",
            self.seed,
            self.max_steps,
            executor.clock.elapsed(),
            last.name,
            last.id,
            executor.describe_tasks()
        ))
    }

    fn too_much_time(&self, executor: &Executor) -> Failure {
        Failure::Stuck(format!(
            "seed {}: the next timer lies beyond the limit of {:?} of virtual time, and the root is \
             not done: it waits for what never comes, or raise the limit by `max_time`. The live \
             tasks:{}",
            self.seed,
            self.max_time,
            executor.describe_tasks()
        ))
    }
}

enum Failure {
    Panicked(Box<dyn Any + Send>),
    Stuck(String),
}

fn list(panics: &[TaskPanic]) -> String {
    panics.iter().map(|TaskPanic { task, text }| format!("\n  {task}: {text}")).collect()
}

//! The workers of a world: each does what its task's payload says, and writes down how it went.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor::{
    Backoff, Cancelled, Context, Definition, Error, IntoOutcome, Outcome, Schedule, Task, TaskId,
    Worker,
};
use conveyor_testkit::{Process, Sim};
use serde::{Deserialize, Serialize};

use super::history::{Attempt, Change, History, How, Reply, What};

/// What a task is to do: a step for each of its attempts, the last one again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its number, by which the test knows it.
    pub number: u32,
    /// What its attempts do.
    pub steps: Vec<Step>,
}

/// What one attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long it works, in milliseconds.
    pub works: u64,
    /// Whether it stops when it is told to.
    pub heeds: bool,
    /// How it ends, if it is let.
    pub then: Then,
}

/// How an attempt ends that is let to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each says it all")]
pub enum Then {
    Succeed,
    Fail,
    FailForGood,
    RetryAfter { millis: u64 },
    Panic,
    Snooze { millis: u64 },
    CallOff,
    Enqueue,
    Die,
}

/// A kind of task that does [`Job`]s, and what its worker says of it.
#[derive(Clone, Copy, Debug)]
pub struct JobKind {
    /// Its name.
    pub name: &'static str,
    /// How many run at a time in a process.
    pub concurrency: Option<u32>,
    /// How often it is retried.
    pub retries: u32,
    /// The least and the most that it waits before a retry, in milliseconds.
    pub backoff: (u64, u64),
    /// Whether a panic is retried.
    pub retry_on_panic: bool,
    /// How long an attempt may take, in milliseconds.
    pub timeout: Option<u64>,
}

/// The kinds that every process knows but `rare`, which is known to the first and every other one.
pub const KINDS: [JobKind; 4] = [
    JobKind { name: "quick", concurrency: None, retries: 3, backoff: (1_000, 1_000), ..PLAIN },
    JobKind {
        name: "steady",
        concurrency: Some(2),
        retries: 2,
        backoff: (500, 8_000),
        timeout: Some(5_000),
        ..PLAIN
    },
    JobKind { name: "fragile", retries: 1, retry_on_panic: false, ..PLAIN },
    JobKind { name: "rare", ..PLAIN },
];

/// A kind that nobody knows.
pub const GHOST: &str = "ghost";

/// How often `tick` ticks.
pub const TICK: Duration = Duration::from_secs(7);

/// How often `feed` produces.
pub const FEED: Duration = Duration::from_secs(11);

const PLAIN: JobKind = JobKind {
    name: "plain",
    concurrency: None,
    retries: 3,
    backoff: (2_000, 2_000),
    retry_on_panic: true,
    timeout: None,
};

impl JobKind {
    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static JobKind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// How long it waits before a retry.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        let (least, most) = self.backoff;
        if least == most {
            return Backoff::fixed(Duration::from_millis(least));
        }
        Backoff::exponential(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Whether a process has the code for it.
    #[must_use]
    pub fn is_known_to(&self, process: usize) -> bool {
        self.name != "rare" || process.is_multiple_of(2)
    }
}

/// What the handlers of all processes share.
#[derive(Clone)]
pub struct Bench {
    sim: Sim,
    history: History,
    /// How often each task was started.
    starts: Arc<Mutex<BTreeMap<TaskId, usize>>>,
    /// How many tasks were produced.
    produced: Arc<AtomicU32>,
}

/// The numbers of the tasks that handlers enqueue are that of their own task, and this as often as
/// the task was started.
const CHILD: u32 = 100_000;

/// The numbers of produced tasks start here.
const PRODUCED: u32 = 1 << 30;

impl Bench {
    /// A bench whose handlers write to that history.
    #[must_use]
    pub fn new(sim: &Sim, history: &History) -> Self {
        Bench {
            sim: sim.clone(),
            history: history.clone(),
            starts: Arc::default(),
            produced: Arc::new(AtomicU32::new(PRODUCED)),
        }
    }

    /// The place of a process.
    #[must_use]
    pub fn place(&self, number: usize, process: Option<Process>) -> Place {
        Place { bench: self.clone(), number, process }
    }
}

/// Where the handlers of a process work.
#[derive(Clone)]
pub struct Place {
    bench: Bench,
    number: usize,
    /// To die with; none if the process is the test's own.
    process: Option<Process>,
}

/// An attempt under way. Its end is written down when it is dropped.
struct Running {
    place: Place,
    ctx: Context,
    attempt: Attempt,
    /// How often the task was started before.
    before: usize,
    how: How,
}

impl Place {
    fn begin(&self, ctx: &Context) -> Running {
        let attempt = Attempt { task: ctx.id(), epoch: ctx.epoch() };
        let before = {
            let mut starts = self.bench.starts.lock().unwrap_or_else(PoisonError::into_inner);
            let starts = starts.entry(ctx.id()).or_default();
            *starts += 1;
            *starts - 1
        };
        self.note(What::Start(attempt));
        Running { place: self.clone(), ctx: ctx.clone(), attempt, before, how: How::Dropped }
    }

    fn note(&self, what: What) {
        self.bench.history.note(self.number, what);
    }

    /// The worker of a kind.
    #[must_use]
    pub fn worker(&self, kind: &'static JobKind) -> impl Worker {
        JobWorker { kind, place: self.clone() }
    }

    /// The worker of `tick`, which does nothing.
    #[must_use]
    pub fn ticker(&self, schedule: Schedule) -> impl Worker {
        Ticker { place: self.clone(), schedule }
    }

    /// The worker of `feed`, which produces a few tasks of the kind `quick`, some with keys.
    #[must_use]
    pub fn feed(&self) -> impl Worker {
        Feed(self.clone())
    }
}

impl Running {
    fn end(mut self, how: How) {
        self.how = how;
    }

    /// Works for so long; `false` if it was told to stop before, and heeds that.
    async fn works(&self, ctx: &Context, step: Step) -> bool {
        let runtime = ctx.runtime();
        let over = runtime.now() + Duration::from_millis(step.works);
        let told = {
            let work = std::pin::pin!(runtime.sleep_until(over));
            let told = std::pin::pin!(ctx.cancelled());
            match futures::future::select(work, told).await {
                futures::future::Either::Left(_) => return true,
                futures::future::Either::Right((why, _)) => why,
            }
        };
        self.told(told);
        if !step.heeds {
            runtime.sleep_until(over).await;
        }
        !step.heeds
    }

    fn told(&self, why: Cancelled) {
        self.place.note(What::Told(self.attempt, why));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.place.note(What::Finish(self.attempt, self.how, self.ctx.cancellation()));
    }
}

struct JobWorker {
    kind: &'static JobKind,
    place: Place,
}

impl Worker for JobWorker {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        let place = self.place.clone();
        let handler = move |job: Job, ctx: Context| {
            let place = place.clone();
            async move { place.perform(&job, &ctx).await }
        };
        let defined = definition.consume(self.kind.name, handler);
        defined
            .retries(self.kind.retries)
            .backoff(self.kind.backoff())
            .retry_on_panic(self.kind.retry_on_panic);
        if let Some(limit) = self.kind.concurrency {
            defined.concurrency(limit);
        }
        if let Some(timeout) = self.kind.timeout {
            defined.timeout(Duration::from_millis(timeout));
        }
    }
}

impl Place {
    async fn perform(&self, job: &Job, ctx: &Context) -> Result<Outcome, Error> {
        let running = self.begin(ctx);
        let step = job.steps[running.before.min(job.steps.len() - 1)];
        if !running.works(ctx, step).await {
            running.end(How::Stopped);
            return Err("told to stop".into());
        }
        match step.then {
            Then::Succeed => running.end(How::Succeeded),
            Then::Fail => {
                running.end(How::Failed);
                return Err("it failed".into());
            }
            Then::FailForGood => {
                running.end(How::FailedForGood);
                return Err(Error::fatal("it failed for good"));
            }
            Then::RetryAfter { millis } => {
                let delay = Duration::from_millis(millis);
                running.end(How::FailedFor(delay));
                return Err(Error::retry_after("not now", delay));
            }
            Then::Panic => {
                running.end(How::Panicked);
                // Without a word on stderr, which thousands of worlds would fill.
                std::panic::resume_unwind(Box::new("the handler panicked"));
            }
            Then::Snooze { millis } => {
                running.end(How::Snoozed);
                return Ok(Outcome::snooze(Duration::from_millis(millis)));
            }
            Then::CallOff => {
                running.end(How::CalledOff);
                return Ok(Outcome::cancel("pointless"));
            }
            Then::Enqueue => {
                let step = Step { works: 10, heeds: true, then: Then::Succeed };
                let number = job.number + CHILD * (running.before as u32 + 1);
                let child = Job { number, steps: vec![step] };
                let told = match ctx.enqueue(Task::new("quick", child)).await {
                    Ok(receipt) => Reply::Accepted(receipt.id()),
                    Err(_) => Reply::Unknown,
                };
                self.note(What::Receipt(number, told));
                running.end(How::Succeeded);
            }
            Then::Die => {
                if let Some(process) = &self.process {
                    self.note(What::World(Change::Crash));
                    match process.die().await {}
                }
                running.end(How::Succeeded);
            }
        }
        Ok(().into_outcome())
    }
}

struct Ticker {
    place: Place,
    schedule: Schedule,
}

impl Worker for Ticker {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        let place = self.place.clone();
        let handler = move |(): (), ctx: Context| {
            let place = place.clone();
            async move { place.begin(&ctx).end(How::Succeeded) }
        };
        definition.consume("tick", handler).schedule(self.schedule.clone());
    }
}

struct Feed(Place);

impl Worker for Feed {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        let place = self.0.clone();
        let producer = move |ctx: Context| {
            let place = place.clone();
            async move { place.produce(&ctx) }
        };
        let schedule = Schedule::every(FEED).unwrap_or_else(|error| unreachable!("{error}"));
        definition.produce("feed", producer).schedule(schedule).retries(5);
    }
}

impl Place {
    /// Produces two tasks, after it failed at first now and then.
    fn produce(&self, ctx: &Context) -> Result<Vec<Task<Job>>, Error> {
        let running = self.begin(ctx);
        if running.before == 0
            && !ctx.epoch().is_multiple_of(2)
            && self.bench.sim.random().is_multiple_of(4)
        {
            running.end(How::Failed);
            return Err("nothing to be had".into());
        }
        let step = Step { works: 20, heeds: true, then: Then::Succeed };
        let first = self.bench.produced.fetch_add(2, Ordering::Relaxed);
        let job = |number| Job { number, steps: vec![step] };
        running.end(How::Succeeded);
        Ok(vec![Task::new("quick", job(first)), Task::new("quick", job(first + 1)).key("produced")])
    }
}

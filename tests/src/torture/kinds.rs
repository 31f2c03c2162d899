//! The kinds of tasks that a torture runs, each a way to go on or to go wrong.

use std::pin::pin;
use std::time::Duration;

use conveyor::prelude::*;
use futures::future::{Either, select};
use serde::{Deserialize, Serialize};

use super::line::{How, What};
use super::recorder::{Recorder, Running};

/// What a task of any kind has to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Job {
    /// How long it works.
    pub(super) millis: u64,
    /// How often it fails.
    pub(super) fails: u32,
    /// How many plain tasks it enqueues.
    pub(super) children: u32,
}

/// How often a task may take its process with it.
pub(super) const CRASH_BUDGET: u32 = 3;

/// The builder, with every kind.
pub(super) fn register(builder: conveyor::ManagerBuilder) -> conveyor::ManagerBuilder {
    let builder = builder.register(plain).register(keyed).register(retried).register(snoozing);
    builder.register(slow).register(tick).register(poison)
}

/// Works for a little while, and enqueues others.
#[conveyor::worker]
async fn plain(job: Job, recorder: State<Recorder>, ctx: Context) -> conveyor::Result<()> {
    let running = recorder.begin(&ctx);
    ctx.sleep(Duration::from_millis(job.millis)).await;
    for _ in 0..job.children {
        let child = Job { millis: 1, ..Job::default() };
        // A store that does not answer may hold it up for longer than its lease.
        match select(pin!(ctx.enqueue(plain.task(child))), pin!(ctx.cancelled())).await {
            Either::Left((receipt, _)) => recorder.note(What::Acknowledged(receipt?.id())),
            Either::Right((why, _)) => {
                running.told(format!("{why:?}"));
                return Err("told to stop".into());
            }
        }
    }
    running.end(How::Succeeded);
    Ok(())
}

/// Holds its key, through retries too.
#[conveyor::worker(retries = 4, backoff = "100ms..400ms", concurrency = 4)]
async fn keyed(job: Job, recorder: State<Recorder>, ctx: Context) -> conveyor::Result<()> {
    fails_at_first(&job, recorder.begin(&ctx), &ctx).await
}

/// Fails, at times for good, or panics.
#[conveyor::worker(retries = 2, backoff = "50ms..200ms")]
async fn retried(job: Job, recorder: State<Recorder>, ctx: Context) -> conveyor::Result<()> {
    let running = recorder.begin(&ctx);
    if ctx.attempt() <= job.fails && job.millis.is_multiple_of(2) {
        running.end(How::Panicked);
        // Without a word on stderr.
        std::panic::resume_unwind(Box::new("the handler panicked"));
    }
    fails_at_first(&job, running, &ctx).await
}

/// Comes back at every third claim only.
#[conveyor::worker]
async fn snoozing(_job: Job, recorder: State<Recorder>, ctx: Context) -> Outcome {
    let running = recorder.begin(&ctx);
    if ctx.epoch().is_multiple_of(3) {
        running.end(How::Succeeded);
        return Outcome::success();
    }
    running.end(How::Snoozed);
    Outcome::snooze(Duration::from_millis(150))
}

/// Outlasts its lease.
#[conveyor::worker(retries = 20, backoff = "100ms..1s")]
async fn slow(job: Job, recorder: State<Recorder>, ctx: Context) -> conveyor::Result<()> {
    fails_at_first(&job, recorder.begin(&ctx), &ctx).await
}

/// What a schedule brings.
#[conveyor::worker(interval = "1s")]
async fn tick(recorder: State<Recorder>, ctx: Context) {
    let running = recorder.begin(&ctx);
    ctx.sleep(Duration::from_millis(20)).await;
    running.end(How::Succeeded);
}

/// Takes its process with it.
#[conveyor::worker]
async fn poison(recorder: State<Recorder>, ctx: Context) {
    // Nothing is noted of its end, since there is none.
    let _running = recorder.begin(&ctx);
    std::process::abort();
}

/// Works, unless it is told to stop; then fails as often as it is to.
async fn fails_at_first(job: &Job, running: Running, ctx: &Context) -> conveyor::Result<()> {
    let work = pin!(ctx.sleep(Duration::from_millis(job.millis)));
    if let Either::Right((why, _)) = select(work, pin!(ctx.cancelled())).await {
        running.told(format!("{why:?}"));
        running.end(How::Stopped);
        return Err("told to stop".into());
    }
    if ctx.attempt() <= job.fails {
        running.end(How::Failed);
        return Err("it fails".into());
    }
    running.end(How::Succeeded);
    Ok(())
}

//! What fails and how it goes on: errors, panics, timeouts, and errors that decide for themselves.

use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Cancelled, Error};

/// Fails twice, then succeeds.
#[conveyor::worker(retries = 3, backoff = "10ms..100ms")]
async fn flaky(ctx: Context) -> Result<(), String> {
    match ctx.attempt() {
        1 | 2 => Err(format!("attempt {} was not lucky", ctx.attempt())),
        _ => Ok(()),
    }
}

/// A panic costs its own task a retry, and nobody else anything.
#[conveyor::worker(retries = 1, backoff = "10ms")]
async fn panics_once(ctx: Context) {
    assert!(ctx.attempt() > 1, "the first attempt always panics");
}

/// No retry can cure this.
#[conveyor::worker(retries = 9)]
async fn fatal() -> conveyor::Result<()> {
    Err(Error::fatal("the account is closed"))
}

/// The other side says when to come back.
#[conveyor::worker(retries = 1)]
async fn rate_limited(ctx: Context) -> conveyor::Result<()> {
    if ctx.attempt() == 1 {
        return Err(Error::retry_after("too many requests", Duration::from_millis(50)));
    }
    Ok(())
}

#[derive(Debug)]
struct Status(u16);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}", self.0)
    }
}

impl std::error::Error for Status {}

/// The handler's own error type decides, here by a function.
#[conveyor::worker(retries = 9, backoff = "10ms", retry_if = |status: &Status| status.0 >= 500)]
async fn by_status(ctx: Context) -> Result<(), Status> {
    Err(Status(if ctx.attempt() == 1 { 503 } else { 404 }))
}

/// At its deadline the handler is told, and has a grace to put things in order.
#[conveyor::worker(timeout = "50ms", cancel_grace = "1s", retries = 0)]
async fn slow(ctx: Context) -> Result<(), String> {
    match ctx.cancelled().await {
        Cancelled::Timeout => Err("gave up in good order".to_owned()),
        other => Err(format!("stopped, since {other}")),
    }
}

/// Not an error, just not yet: a snooze costs no retry.
#[conveyor::worker(retries = 0)]
async fn not_yet(ctx: Context) -> Outcome {
    if ctx.epoch() == 1 {
        return Outcome::snooze(Duration::from_millis(20));
    }
    Outcome::success()
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    // The panics are part of the show; their backtraces are not.
    std::panic::set_hook(Box::new(|_| {}));
    let manager = Manager::builder()
        .register(flaky)
        .register(panics_once)
        .register(fatal)
        .register(rate_limited)
        .register(by_status)
        .register(slow)
        .register(not_yet)
        .build()?;
    manager.start().await?;
    let tasks = [
        flaky.task().erase(),
        panics_once.task().erase(),
        fatal.task().erase(),
        rate_limited.task().erase(),
        by_status.task().erase(),
        slow.task().erase(),
        not_yet.task().erase(),
    ];
    for task in tasks {
        let kind = task.kind.clone();
        let end = manager.enqueue(task).await?.wait().await?;
        println!("{kind:>14} {end}");
    }
    let metrics = manager.metrics();
    println!(
        "{} processed, {} failed, {} retried, {} panicked, {} timed out, {} snoozed",
        metrics.processed,
        metrics.failed,
        metrics.retried,
        metrics.panicked,
        metrics.timed_out,
        metrics.snoozed
    );
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

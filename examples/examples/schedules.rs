//! Work that the clock makes: intervals, cron in a time zone, producers, and a change on the run.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use serde::{Deserialize, Serialize};

/// An interval has no drift: its instants are multiples of it from the start, the first at once.
#[conveyor::worker(interval = "200ms")]
async fn heartbeat(ctx: Context) {
    println!("heartbeat, task {}", ctx.id());
}

/// Every second of a working day in Berlin. With `missed = skip`, what was missed while the
/// process was away stays missed; the default makes it up once.
#[conveyor::worker(cron = "* * * * * *", timezone = "Europe/Berlin", missed = skip)]
async fn every_second() {
    println!("a second began in Berlin");
}

#[derive(Clone, Serialize, Deserialize)]
struct Page {
    number: u32,
}

/// A producer makes tasks at each tick; what it returns is enqueued in one step with its own end.
struct Crawler {
    next: AtomicU32,
}

#[conveyor::worker(interval = "300ms", produce_timeout = "5s", priority = low)]
impl Crawler {
    async fn produce(&self) -> conveyor::Result<Vec<Page>> {
        let first = self.next.fetch_add(2, Ordering::Relaxed);
        Ok(vec![Page { number: first }, Page { number: first + 1 }])
    }

    async fn consume(&self, page: Page) -> conveyor::Result<()> {
        println!("crawled page {}", page.number);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder()
        .register(heartbeat)
        .register(every_second)
        .register(Crawler { next: AtomicU32::new(1) })
        .build()?;
    manager.start().await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    println!("the heartbeat slows down to once an hour");
    manager.set_schedule("heartbeat", Schedule::every(Duration::from_secs(3600))?).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;

    manager.shutdown(Duration::from_secs(5)).await?;
    let metrics = manager.metrics();
    println!(
        "{} heartbeats, {} seconds, {} pages",
        metrics.kind("heartbeat").processed,
        metrics.kind("every_second").processed,
        metrics.kind("Crawler").processed
    );
    Ok(())
}

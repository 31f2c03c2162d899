//! Two workers, one manager: a function that a schedule calls, and one that is given tasks.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use serde::{Deserialize, Serialize};

/// Where mail goes. Every handler that asks for it shares one.
struct Smtp {
    host: &'static str,
}

#[derive(Default)]
struct Cache {
    refreshed: AtomicU32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Email {
    to: String,
}

/// Runs every 100 ms, ahead of normal work.
#[conveyor::worker(interval = "100ms", priority = high)]
async fn refresh_cache(cache: State<Cache>) {
    let times = cache.refreshed.fetch_add(1, Ordering::Relaxed) + 1;
    println!("refreshed the cache, for the {times}. time");
}

/// Runs once for each task, again if it fails, at most 8 at a time.
#[conveyor::worker(
    queue = "mail",
    retries = 5,
    backoff = "10ms..1s",
    timeout = "30s",
    concurrency = 8
)]
async fn send_email(email: Email, smtp: State<Smtp>, ctx: Context) -> conveyor::Result<()> {
    if ctx.attempt() == 1 {
        return Err(format!("{} is busy", smtp.host).into());
    }
    println!("sent a mail to {} by {}, at attempt {}", email.to, smtp.host, ctx.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder()
        .state(Smtp { host: "localhost" })
        .state(Cache::default())
        .register(refresh_cache)
        .register(send_email)
        .consumers(16)
        .consumers_for(Priority::HIGH, 4) // Reserved: only HIGH and above use them.
        .build()?; // Checks everything that can be checked before work starts.
    manager.start().await?;

    let email = Email { to: "ada@example.com".to_owned() };
    let task = send_email.task(email.clone()).key("welcome:ada").delay(Duration::from_millis(250));
    let receipt = manager.enqueue(task).await?;

    // While a task with this key is live, another is refused.
    if let Err(error) = manager.enqueue(send_email.task(email).key("welcome:ada")).await {
        println!("twice? {error}");
    }

    println!("the mail {}", receipt.wait().await?);
    manager.shutdown(Duration::from_secs(30)).await?; // Or `manager.run()`: until Ctrl-C.

    let metrics = manager.metrics();
    println!(
        "{} processed, {} retried, {} queued",
        metrics.processed, metrics.retried, metrics.queued
    );
    Ok(())
}

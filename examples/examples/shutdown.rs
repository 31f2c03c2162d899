//! Stopping in good order: what finishes, what is handed back, and what that costs (nothing).
//!
//! A service calls `manager.run()`, which waits for Ctrl-C or SIGTERM and then does what this
//! example does by itself: run it with `wait` to see that.

use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Cancelled, EnqueueError};

/// Would take longer than the grace; it hears of the shutdown and stops in good order.
#[conveyor::worker]
async fn long(number: u32, ctx: Context) -> Result<(), String> {
    tokio::select! {
        () = ctx.sleep(Duration::from_secs(3600)) => Ok(()),
        why = ctx.cancelled() => {
            assert_eq!(why, Cancelled::Shutdown);
            println!("long {number} saves its work, since {why}");
            Err("not done".to_owned())
        }
    }
}

/// Is done within the grace.
#[conveyor::worker]
async fn short(number: u32, ctx: Context) {
    ctx.sleep(Duration::from_millis(100)).await;
    println!("short {number} is done");
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder()
        .register(long)
        .register(short)
        .consumers(4)
        .shutdown_grace(Duration::from_millis(300))
        .build()?;
    manager.start().await?;
    for number in 1..=2 {
        manager.enqueue(long.task(number)).await?;
        manager.enqueue(short.task(number)).await?;
    }
    // Waits behind those four.
    manager.enqueue(short.task(3).delay(Duration::from_secs(60))).await?;

    let report = if std::env::args().nth(1).as_deref() == Some("wait") {
        println!("press Ctrl-C, or send SIGTERM");
        manager.run().await?
    } else {
        tokio::time::sleep(Duration::from_millis(20)).await;
        manager.shutdown(Duration::from_millis(300)).await?
    };
    println!(
        "{} finished, {} handed back, {} abandoned",
        report.finished, report.returned, report.abandoned
    );

    if let Err(EnqueueError::Stopped) = manager.enqueue(short.task(4)).await {
        println!("and nothing is accepted any more");
    }
    let metrics = manager.metrics();
    println!(
        "{} queued and {} scheduled are left for the next start",
        metrics.queued, metrics.scheduled
    );
    Ok(())
}

//! One live task for each key: what is refused, and when the key is free again.

use std::time::Duration;

use conveyor::EnqueueError;
use conveyor::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Report {
    customer: u32,
}

/// The key is derived from the payload, so that no caller can forget it.
#[conveyor::worker(key = |report| format!("customer:{}", report.customer), retries = 2, backoff = "20ms")]
async fn make_report(report: Report, ctx: Context) -> Result<(), String> {
    ctx.sleep(Duration::from_millis(20)).await;
    if ctx.attempt() == 1 {
        return Err("the database is busy".to_owned());
    }
    println!("made the report of customer {}", report.customer);
    Ok(())
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let manager = Manager::builder().register(make_report).build()?;
    manager.start().await?;

    let first = manager.enqueue(make_report.task(Report { customer: 7 })).await?;
    // Refused while it waits, while it runs, and between its retries.
    match manager.enqueue(make_report.task(Report { customer: 7 })).await {
        Err(EnqueueError::Duplicate { id, key, .. }) => {
            println!("refused: {key} is held by the first: {}", id == Some(first.id()));
        }
        other => println!("unexpected: {other:?}"),
    }
    // Another customer is another key.
    manager.enqueue(make_report.task(Report { customer: 8 })).await?.wait().await?;

    println!("the first {}", first.wait().await?);
    // The end and the release are one step: whoever saw the end can enqueue again.
    let again = manager.enqueue(make_report.task(Report { customer: 7 })).await?;
    println!("again {}", again.wait().await?);
    println!("{} duplicates were refused", manager.metrics().duplicates);
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

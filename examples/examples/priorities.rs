//! Who goes first: lanes, the share of the oldest, and consumers that are reserved.

use std::time::Duration;

use conveyor::prelude::*;

#[conveyor::worker]
async fn serve(name: String, ctx: Context) {
    println!("  {:>8}: {name}", ctx.priority());
    ctx.sleep(Duration::from_millis(5)).await;
}

/// Holds a consumer for long.
#[conveyor::worker]
async fn crunch(number: u32, ctx: Context) {
    ctx.sleep(Duration::from_millis(300)).await;
    println!("  crunched {number}");
}

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    println!("one consumer, tasks enqueued from low to critical; a number is a priority too:");
    let manager = Manager::builder().register(serve).consumers(1).build()?;
    let levels =
        [Priority::LOW, Priority::NORMAL, Priority::new(5), Priority::HIGH, Priority::CRITICAL];
    // Enqueued before the start, so that all are there when the first is chosen.
    let mut receipts = Vec::new();
    for priority in levels {
        for number in 1..=2 {
            let name = format!("number {number} of its lane");
            receipts.push(manager.enqueue(serve.task(name).priority(priority)).await?);
        }
    }
    manager.start().await?;
    for receipt in receipts {
        receipt.wait().await?;
    }
    manager.shutdown(Duration::from_secs(5)).await?;

    println!("two consumers hold long tasks, but one is reserved for what is urgent:");
    let manager = Manager::builder()
        .register(serve)
        .register(crunch)
        .consumers(3)
        .consumers_for(Priority::HIGH, 1)
        .build()?;
    manager.start().await?;
    let receipts = manager.enqueue_all((1..=4).map(|number| crunch.task(number))).await;
    let urgent = serve.task("did not wait for the long ones".to_owned()).priority(Priority::HIGH);
    manager.enqueue(urgent).await?.wait().await?;
    for receipt in receipts {
        receipt?.wait().await?;
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

//! A service that runs until it is asked to stop, for the test of what a signal does to it: says
//! `ready` once its task is under way, and what became of it in the end.

use std::io::Write;
use std::time::Duration;

use conveyor::{Context, Manager, Task};
use conveyor_tests::consumer;

#[tokio::main]
async fn main() -> conveyor::Result<()> {
    let worker = consumer(
        "waits",
        |(): (), ctx: Context| async move {
            say("ready");
            // Until the shutdown asks it to stop, at the end of its grace.
            ctx.cancelled().await;
        },
        |_| {},
    );
    let manager =
        Manager::builder().register(worker).shutdown_grace(Duration::from_millis(50)).build()?;
    manager.enqueue(Task::new("waits", ())).await?;
    let report = manager.run().await?;
    let metrics = manager.metrics();
    say(&format!(
        "finished {} returned {} abandoned {} active {} processed {}",
        report.finished, report.returned, report.abandoned, metrics.active, metrics.processed
    ));
    Ok(())
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may listen any more: then there is nobody to tell.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}

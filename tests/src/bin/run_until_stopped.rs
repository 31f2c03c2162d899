//! A service that runs until it is asked to stop, for the test of what a signal does to it:
//! `run_until_stopped RUNTIME TASK`.
//!
//! The runtime is one of `tokio`, `tokio-on-one-thread` and `smol`, the task one of `waits` and
//! `blocks`, which waits on a thread of its own. There are two managers with a task each. The
//! service says `ready` once a task is under way, `draining` when a manager was told to stop, and
//! in the end what became of its task. The tasks end when the service's input does.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{EnqueueError, Runtime, SmolRuntime, TokioRuntime};
use conveyor_tests::Gate;
use futures::future::join;

fn main() -> conveyor::Result<()> {
    let runtime = std::env::args().nth(1).unwrap_or_default();
    let mut builder = match runtime.as_str() {
        "smol" => return smol::block_on(service(Arc::new(SmolRuntime::new()))),
        "tokio" => tokio::runtime::Builder::new_multi_thread(),
        "tokio-on-one-thread" => tokio::runtime::Builder::new_current_thread(),
        other => return Err(format!("no runtime {other:?}").into()),
    };
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async { service(Arc::new(TokioRuntime::current()?)).await })
}

async fn service(runtime: Arc<dyn Runtime>) -> conveyor::Result<()> {
    let gate = Gate::new();
    let opens = gate.clone();
    std::thread::spawn(move || {
        // An error is an end, too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        opens.open();
    });
    let (one, two) = join(run(&runtime, &gate), run(&runtime, &gate)).await;
    one.and(two)
}

#[conveyor::worker]
async fn waits(gate: State<Gate>) {
    say("ready");
    gate.passed().await;
}

#[conveyor::worker(blocking)]
fn blocks(gate: State<Gate>) {
    say("ready");
    gate.block();
}

async fn run(runtime: &Arc<dyn Runtime>, gate: &Gate) -> conveyor::Result<()> {
    let kind = std::env::args().nth(2).unwrap_or_default();
    let task = || Task::new(kind.clone(), ());
    // What blocks is not waited for.
    let grace = if kind == "blocks" { Duration::ZERO } else { Duration::from_secs(60) };
    let manager = Manager::builder()
        .runtime(Arc::clone(runtime))
        .capacity(1)
        .state(gate.clone())
        .register(waits)
        .register(blocks)
        .shutdown_grace(grace)
        .build()?;
    manager.enqueue(task()).await?;
    // It waits for room until it is refused.
    let refused = async {
        if let Err(EnqueueError::Stopped) = manager.enqueue(task()).await {
            say("draining");
        }
    };
    let (report, ()) = join(manager.run(), refused).await;
    let (report, metrics) = (report?, manager.metrics());
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

//! The same on smol: nothing but `main` differs. Runs until Ctrl-C or SIGTERM.
//!
//! A crate that depends on `conveyor` with `default-features = false, features = ["smol",
//! "macros"]` has no tokio in its build, and can leave out `.runtime(…)`: it is said here only since
//! the examples are built with both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conveyor::SmolRuntime;
use conveyor::prelude::*;

#[derive(Default)]
struct Ticks {
    seen: AtomicU32,
}

#[conveyor::worker(interval = "50ms")]
async fn tick(ticks: State<Ticks>, ctx: Context) {
    let number = ticks.seen.fetch_add(1, Ordering::Relaxed) + 1;
    println!("tick {number} on {}", ctx.runtime().name());
}

fn main() -> conveyor::Result<()> {
    smol::block_on(async {
        let manager = Manager::builder()
            .runtime(Arc::new(SmolRuntime::new()))
            .state(Ticks::default())
            .register(tick)
            .build()?;
        let report = manager.run().await?;
        println!(
            "stopped: {} finished, {} handed back, {} abandoned",
            report.finished, report.returned, report.abandoned
        );
        Ok(())
    })
}

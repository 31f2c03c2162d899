//! A service with tasks that take their process with them, for the test of what becomes of those:
//! `poisoned STORE CRASH_BUDGET`.
//!
//! It works on the tasks at that URL until its input ends. A line of its input releases the
//! bystanders, which hold their seats until then, so that what dies at first does not die alone.

use std::hint::black_box;
use std::io::BufRead;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor_tests::Gate;
use conveyor_tests::torture::open::open;

/// How long claims hold: so long after a death the tasks of the dead are taken back.
const LEASE: Duration = Duration::from_secs(1);

/// How much is asked for at a time, until there is no more. Nothing is ever written to it.
const GREED: usize = 64 << 20;

/// Who is beside whom.
#[derive(Clone, Default)]
struct Beside {
    /// Open when somebody is beside the poison, or need not be.
    company: Gate,
    released: Gate,
}

#[conveyor::worker]
async fn bystander(beside: State<Beside>) {
    beside.company.open();
    beside.released.passed().await;
}

#[conveyor::worker]
async fn aborts(beside: State<Beside>) {
    beside.company.passed().await;
    std::process::abort();
}

#[conveyor::worker]
async fn overflows_its_stack(beside: State<Beside>) {
    fn deeper(depth: u64) -> u64 {
        let room = black_box([depth; 128]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + room[0] }
    }
    beside.company.passed().await;
    black_box(deeper(0));
}

#[conveyor::worker]
async fn runs_out_of_memory(beside: State<Beside>) {
    beside.company.passed().await;
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(Vec::with_capacity(GREED)));
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> conveyor::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which store?")?;
    let crash_budget = arguments.next().ok_or("how many crashes?")?.parse()?;
    let (beside, ended) = (Beside::default(), Gate::new());
    std::thread::spawn({
        let (beside, ended) = (beside.clone(), ended.clone());
        move || {
            // An error is an end, too.
            for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
                beside.company.open();
                beside.released.open();
            }
            ended.open();
        }
    });
    let manager = Manager::builder()
        .store(open(&url).await?)
        .state(beside)
        .register(bystander)
        .register(aborts)
        .register(overflows_its_stack)
        .register(runs_out_of_memory)
        .lease(LEASE)
        .poll_interval(Duration::from_millis(100))
        .crash_budget(crash_budget)
        .consumers(4)
        .build()?;
    manager.start().await?;
    ended.passed().await;
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

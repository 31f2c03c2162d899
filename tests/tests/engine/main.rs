//! What the engine promises, on every runtime: see `conveyor_tests::setting`.
//!
//! The tests beside this folder show the same promises in virtual time, to the microsecond and in
//! hundreds of orders; these show that real threads, timers and wake-ups keep them too. They wait
//! for events, and of time they say only that nothing came too early.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

mod back_pressure;
mod blocking;
mod control;
mod dedup;
mod leases;
mod metrics;
mod order;
mod panics;
mod retries;
mod schedules;
mod shutdown;
mod timeouts;

use std::time::Duration;

use conveyor::prelude::*;
use conveyor_tests::{Gate, Log};

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than any test takes: what is due then does not come.
const NEVER: Duration = Duration::from_secs(3600);

fn failed(why: &str) -> End {
    End::Failed(why.to_owned())
}

/// The numbers of the tasks that started, in order.
type Started = Log<u64>;

/// Notes its number when it starts, and ends when the gate is open.
#[conveyor::worker(retries = 0)]
async fn waits(number: u64, started: State<Started>, gate: State<Gate>) {
    started.push(number);
    gate.passed().await;
}

/// Notes its number, and ends.
#[conveyor::worker(retries = 0)]
async fn notes(number: u64, started: State<Started>) {
    started.push(number);
}

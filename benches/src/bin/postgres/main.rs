//! Enqueue and drain at once in PostgreSQL, against the smallest correct loop of statements.
//!
//! `cargo run --release --bin postgres [TASKS] [ROUNDS] [CONSUMERS]`. A private server is started for
//! it, with everything as Debian sets it up: a commit waits for the disk. The clock stops when the
//! store has recorded how every task ended, not when the handlers have returned.

mod limit;
mod ours;

use std::time::Duration;

use conveyor_benches::{median, per_second, rate};
use conveyor_test_servers::{Options, Postgres};

/// What is done in a round.
#[derive(Clone, Copy)]
pub struct Load {
    pub tasks: u64,
    pub consumers: usize,
    /// How many tasks are enqueued by one call.
    pub batch: u64,
}

/// Bytes of a task's payload, beside what JSON adds.
pub const PAYLOAD: usize = 100;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
        .collect();
    let number = |at: usize, default: u64| arguments.get(at).copied().unwrap_or(default);
    let load = Load { tasks: number(0, 100_000), consumers: number(2, 64) as usize, batch: 500 };
    let rounds = number(1, 5);
    let server = Postgres::start(Options::new()).expect("PostgreSQL is installed");
    println!(
        "{} tasks of {PAYLOAD} bytes, enqueued {} a call, {} consumers; {}, fsync and \
         synchronous_commit on; {}",
        load.tasks,
        load.batch,
        load.consumers,
        server.query("select 'PostgreSQL ' || current_setting('server_version')").unwrap().trim(),
        if cfg!(debug_assertions) { "DEBUG BUILD: say --release" } else { "release" },
    );
    let names = ["limit", "conveyor"];
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        for (at, name) in names.iter().enumerate() {
            let url = server.create_database(&format!("{name}{round}")).expect("a database");
            let took: Duration = match at {
                0 => limit::run(&url, load).await,
                _ => ours::run(&url, load).await,
            };
            let rate = rate(load.tasks, took);
            let warm_up = if round == 0 { " (warming up)" } else { "" };
            println!("  {name:<16} {:>9}{warm_up}", per_second(rate));
            if round > 0 {
                rates[at].push(rate);
            }
        }
    }
    let limit = rates[0].clone();
    for (name, rates) in names.iter().zip(rates) {
        let ratios = rates.iter().zip(&limit).map(|(rate, limit)| rate / limit).collect();
        println!(
            "median: {name:<16} {:>9}, {:.2} of the limit",
            per_second(median(rates)),
            median(ratios)
        );
    }
}

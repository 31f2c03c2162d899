//! Enqueue and drain at once, in memory, against bare `tokio::spawn` of the same no-op.
//!
//! Everything that a service would have on is on: keys, four priorities, the panic guard, a
//! timeout of 30 s, retries, and metrics. The two are run in turn, and compared as a ratio: this
//! says what the engine costs on any machine, where absolute rates say little.
//!
//! `cargo run --release --bin memory [smol] [TASKS] [ROUNDS] [CONSUMERS] [PRODUCERS]`; with `smol`
//! the engine runs on that, while the producers stay on tokio.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conveyor::prelude::*;
use conveyor_benches::{median, per_second, rate};
use tokio::sync::Notify;

/// Counts down to the end of a run.
struct Left {
    tasks: AtomicU64,
    done: Notify,
}

impl Left {
    fn new(tasks: u64) -> Arc<Self> {
        Arc::new(Left { tasks: AtomicU64::new(tasks), done: Notify::new() })
    }

    fn one_less(&self) {
        if self.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

#[conveyor::worker(timeout = "30s", retries = 3)]
async fn no_op(number: u64, left: State<Arc<Left>>) {
    std::hint::black_box(number);
    left.one_less();
}

struct Options {
    smol: bool,
    tasks: u64,
    rounds: usize,
    consumers: usize,
    producers: u64,
}

fn options() -> Options {
    let mut arguments = std::env::args().skip(1).peekable();
    let smol = arguments.next_if(|first| first == "smol").is_some();
    let numbers: Vec<u64> = arguments
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
        .collect();
    let number = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    Options {
        smol,
        tasks: number(0, 1_000_000),
        rounds: number(1, 7) as usize,
        consumers: number(2, 16) as usize,
        producers: number(3, 2),
    }
}

async fn conveyor(options: &Options) -> Duration {
    let left = Left::new(options.tasks);
    let mut builder =
        Manager::builder().state(Arc::clone(&left)).register(no_op).consumers(options.consumers);
    if options.smol {
        builder = builder.runtime(Arc::new(conveyor::SmolRuntime::new()));
    }
    let manager = builder.build().expect("the manager is valid");
    manager.start().await.expect("memory is always there");
    let priorities = [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::CRITICAL];
    let start = Instant::now();
    let producers: Vec<_> = (0..options.producers)
        .map(|producer| {
            let (manager, each) = (manager.clone(), options.tasks / options.producers);
            tokio::spawn(async move {
                for number in 0..each {
                    let task = no_op
                        .task(number)
                        .key(format!("{producer}:{number}"))
                        .priority(priorities[number as usize % 4]);
                    manager.enqueue(task).await.expect("the key is new");
                    if number % 64 == 63 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("producers do not panic");
    }
    left.done.notified().await;
    let took = start.elapsed();
    manager.shutdown(Duration::from_secs(10)).await.expect("nothing is left to do");
    assert_eq!(manager.metrics().processed, options.tasks, "every task is counted");
    took
}

async fn bare_spawn(options: &Options) -> Duration {
    let left = Left::new(options.tasks);
    let start = Instant::now();
    let producers: Vec<_> = (0..options.producers)
        .map(|_| {
            let (left, each) = (Arc::clone(&left), options.tasks / options.producers);
            tokio::spawn(async move {
                for number in 0..each {
                    let left = Arc::clone(&left);
                    tokio::spawn(async move {
                        std::hint::black_box(number);
                        left.one_less();
                    });
                    if number % 64 == 63 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("producers do not panic");
    }
    left.done.notified().await;
    start.elapsed()
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let mut options = options();
    options.tasks -= options.tasks % options.producers;
    println!(
        "{} tasks, {} producers, {} consumers, {} threads; keys, four priorities, panic guard, \
         30 s timeout, 3 retries, metrics; the engine on {}, {}",
        options.tasks,
        options.producers,
        options.consumers,
        tokio::runtime::Handle::current().metrics().num_workers(),
        if options.smol { "smol" } else { "tokio" },
        if cfg!(debug_assertions) { "(DEBUG BUILD: say --release)" } else { "release" },
    );
    let (mut ours, mut bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let a = rate(options.tasks, conveyor(&options).await);
        let b = rate(options.tasks, bare_spawn(&options).await);
        if round == 0 {
            continue; // The first round warms up.
        }
        println!("  conveyor {:>10}   tokio::spawn {:>10}", per_second(a), per_second(b));
        ours.push(a);
        bare.push(b);
        ratios.push(a / b);
    }
    println!(
        "median: conveyor {}, tokio::spawn {}, ratio {:.2}",
        per_second(median(ours)),
        per_second(median(bare)),
        median(ratios),
    );
}

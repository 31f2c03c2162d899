//! Enqueue and drain at once, in a SQLite file, with commits that wait for the disk and without.
//!
//! The whole engine is there: keys, retries, leases, metrics. The two ways are run in turn.
//!
//! `cargo run --release --bin sqlite [TASKS] [ROUNDS] [CONSUMERS] [PRODUCERS]`; the producers each
//! enqueue one task at a time and wait for the answer, as handlers of requests do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conveyor::prelude::*;
use conveyor::sqlite::{SqliteOptions, Synchronous};
use conveyor_benches::{median, rate};
use tokio::sync::Notify;

/// Counts down to the end of a run.
struct Left {
    tasks: AtomicU64,
    done: Notify,
}

#[conveyor::worker(timeout = "30s", retries = 3)]
async fn no_op(number: u64, left: State<Arc<Left>>) {
    std::hint::black_box(number);
    if left.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
        left.done.notify_one();
    }
}

async fn run(file: &Path, synchronous: Synchronous, numbers: [u64; 4]) -> f64 {
    let [tasks, _, consumers, producers] = numbers;
    let left = Arc::new(Left { tasks: AtomicU64::new(tasks), done: Notify::new() });
    let store = SqliteOptions::new(file).synchronous(synchronous).open().await;
    let manager = Manager::builder()
        .store(Arc::new(store.expect("the file can be made")))
        .state(Arc::clone(&left))
        .register(no_op)
        .consumers(consumers as usize)
        .build()
        .expect("the manager is valid");
    manager.start().await.expect("the store answers");
    let start = Instant::now();
    let producers: Vec<_> = (0..producers)
        .map(|producer| {
            let (manager, each) = (manager.clone(), tasks / producers);
            tokio::spawn(async move {
                for number in 0..each {
                    let task = no_op.task(number).key(format!("{producer}:{number}"));
                    manager.enqueue(task).await.expect("the key is new");
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("producers do not panic");
    }
    left.done.notified().await;
    let rate = rate(tasks, start.elapsed());
    manager.shutdown(Duration::from_secs(10)).await.expect("nothing is left to do");
    rate
}

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let given: Vec<u64> = std::env::args()
        .skip(1)
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{text:?} is no number")))
        .collect();
    let number = |at: usize, default: u64| given.get(at).copied().unwrap_or(default);
    let mut numbers = [number(0, 20_000), number(1, 5), number(2, 16), number(3, 32)];
    numbers[0] -= numbers[0] % numbers[3];
    let [tasks, rounds, consumers, producers] = numbers;
    println!(
        "{tasks} tasks, {producers} producers one by one, {consumers} consumers, keys, retries"
    );
    let folder = std::env::temp_dir().join(format!("conveyor-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let (mut full, mut normal) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let file = |name: &str| folder.join(format!("{name}-{round}.db"));
        full.push(run(&file("full"), Synchronous::Full, numbers).await);
        normal.push(run(&file("normal"), Synchronous::Normal, numbers).await);
    }
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    println!("every commit on disk   {:>8.0} tasks/s, median of {rounds}", median(full));
    println!("left to the system     {:>8.0} tasks/s, median of {rounds}", median(normal));
}

//! An idle manager does not wake up: counts the context switches of a process that has workers,
//! consumers and nothing to do.
//!
//! `cargo run --release --bin idle [SECONDS]`

use std::time::Duration;

use conveyor::prelude::*;

#[conveyor::worker]
async fn no_op(number: u64) {
    std::hint::black_box(number);
}

/// Times that any thread of this process gave up its processor of its own accord.
fn voluntary_switches() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt"))?;
            line.split_whitespace().last()?.parse::<u64>().ok()
        })
        .sum()
}

async fn switches_over(seconds: u64) -> u64 {
    let before = voluntary_switches();
    // A thread of its own sleeps, so that the runtime is left alone.
    let (done, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        done.send(()).expect("somebody waits");
    });
    wait.await.expect("the thread ends");
    voluntary_switches() - before
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(10, |text| text.parse().expect("a number"));
    let bare = switches_over(seconds).await;
    let manager = Manager::builder().register(no_op).consumers(16).build().expect("valid");
    manager.start().await.expect("memory is always there");
    // Something to do first, so that every part has run once.
    let receipt = manager.enqueue(no_op.task(1)).await.expect("there is room");
    receipt.wait().await.expect("it ends");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = switches_over(seconds).await;
    println!(
        "voluntary context switches of all threads in {seconds} s: {bare} without a manager, \
         {idle} with an idle one (16 consumers, in memory)"
    );
}

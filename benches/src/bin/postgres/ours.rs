//! Conveyor: a manager on the store, with all that it has switched on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor::postgres::PostgresOptions;
use conveyor::prelude::*;

use super::{Load, PAYLOAD};

#[conveyor::worker(timeout = "30s", retries = 3)]
async fn no_op(text: String) {
    std::hint::black_box(text);
}

pub async fn run(url: &str, load: Load) -> Duration {
    let store = PostgresOptions::new(url).expect("a URL").open().await.expect("the store opens");
    let manager = Manager::builder()
        .store(Arc::new(store))
        .register(no_op)
        .consumers(load.consumers)
        .build()
        .expect("the manager is valid");
    manager.start().await.expect("the store is there");
    let start = Instant::now();
    let text = "x".repeat(PAYLOAD);
    let mut left = load.tasks;
    while left > 0 {
        let count = left.min(load.batch);
        left -= count;
        let batch = (0..count).map(|_| no_op.task(text.clone()));
        for reply in manager.enqueue_all(batch).await {
            reply.expect("it is accepted");
        }
    }
    while manager.fetch_metrics().await.expect("the store is there").processed < load.tasks {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = start.elapsed();
    manager.shutdown(Duration::from_secs(10)).await.expect("nothing is left to do");
    took
}

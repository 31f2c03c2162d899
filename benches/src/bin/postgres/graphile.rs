//! graphile_worker, with a local queue and batched completion: its fastest documented settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;

use super::{Load, PAYLOAD};

#[derive(Clone, Debug)]
struct Done(Arc<AtomicU64>);

#[derive(Serialize, Deserialize)]
struct NoOp(String);

impl TaskHandler for NoOp {
    const IDENTIFIER: &'static str = "no_op";

    async fn run(self, ctx: WorkerContext) -> impl IntoTaskHandlerResult {
        std::hint::black_box(self.0);
        ctx.get_ext::<Done>().expect("it was added").0.fetch_add(1, Ordering::SeqCst);
        Ok::<(), String>(())
    }
}

pub async fn run(url: &str, load: Load) -> Duration {
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await.expect("a pool");
    let done = Arc::new(AtomicU64::new(0));
    let worker = WorkerOptions::default()
        .concurrency(load.consumers)
        .pg_pool(pool.clone())
        .add_extension(Done(Arc::clone(&done)))
        .complete_job_batch_delay(Duration::from_millis(5))
        .local_queue(LocalQueueConfig::default().with_size(5_000))
        .define_job::<NoOp>()
        .init()
        .await
        .expect("the worker is valid");
    let worker = Arc::new(worker);
    let running = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.run().await }
    });
    let utils = worker.create_utils();
    let start = Instant::now();
    let payload = serde_json::to_value(NoOp("x".repeat(PAYLOAD))).expect("JSON");
    let mut left = load.tasks;
    while left > 0 {
        let count = left.min(load.batch);
        left -= count;
        let job = || RawJobSpec {
            identifier: "no_op".to_owned(),
            payload: payload.clone(),
            spec: JobSpec::default(),
        };
        let jobs: Vec<RawJobSpec> = (0..count).map(|_| job()).collect();
        utils.add_raw_jobs(&jobs).await.expect("they are accepted");
    }
    // What is done is deleted.
    loop {
        let all_ran = done.load(Ordering::SeqCst) >= load.tasks;
        if all_ran {
            let left: i64 = sqlx::query_scalar("select count(*) from graphile_worker.jobs")
                .fetch_one(&pool)
                .await
                .expect("the table is there");
            if left == 0 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = start.elapsed();
    worker.request_shutdown();
    running.await.expect("it does not panic").expect("it stops");
    took
}

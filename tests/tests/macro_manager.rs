//! Workers that the macros wrote, run by a real manager on tokio.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::worker;
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Seen {
    sum: AtomicUsize,
}

#[derive(Clone, Serialize, Deserialize, Task)]
#[task(kind = "count.up", key = |count| count.by)]
struct Count {
    by: usize,
}

#[worker(retries = 0)]
async fn count_up(count: Count, seen: State<Seen>, ctx: Context) -> Result<(), String> {
    assert_eq!(*ctx.kind(), count_up::KIND);
    seen.sum.fetch_add(count.by, Ordering::SeqCst);
    if count.by == 3 { Err("three".to_owned()) } else { Ok(()) }
}

#[worker(blocking, interval = "1h")]
fn at_the_start(seen: State<Seen>) {
    seen.sum.fetch_add(1_000, Ordering::SeqCst);
}

struct Feeds;

#[worker(interval = "1h", priority = high)]
impl Feeds {
    async fn produce(&self) -> conveyor::Result<Vec<usize>> {
        Ok(vec![10_000, 100_000])
    }

    async fn consume(&self, by: &usize, seen: State<Seen>) {
        seen.sum.fetch_add(*by, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_manager_runs_what_the_macros_write() -> conveyor::Result<()> {
    let seen = Arc::new(Seen::default());
    let manager = Manager::builder()
        .shared_state(Arc::clone(&seen))
        .register(count_up)
        .register(at_the_start)
        .register(Feeds)
        .build()?;
    manager.start().await?;
    let counted = manager.enqueue(count_up.task(Count { by: 1 })).await?;
    assert_eq!(counted.wait().await?, End::Succeeded);
    let failed = manager.enqueue(Count { by: 3 }).await?;
    assert_eq!(failed.wait().await?, End::Failed("three".to_owned()));
    while seen.sum.load(Ordering::SeqCst) < 111_004 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(seen.sum.load(Ordering::SeqCst), 111_004);
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

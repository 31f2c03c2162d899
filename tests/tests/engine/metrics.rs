//! Metrics: exact at rest, whatever ran at once.

use conveyor::prelude::*;
use conveyor::{Counts, Error};
use conveyor_tests::Setting;
use futures::future::join_all;

use crate::{Started, millis};

conveyor_tests::on_every_runtime!(counters_equal_the_truth_at_rest);

const TASKS: u64 = 240;

/// Ends in the way that its number says, after a retry or a snooze if it says so.
#[conveyor::worker(retries = 1, backoff = "1ms", timeout = "1h", cancel_grace = "1ms")]
async fn acts(number: u64, started: State<Started>) -> Result<Outcome, Error> {
    let again = started.all().contains(&number);
    started.push(number);
    smol::future::yield_now().await;
    match number % 8 {
        0 => Ok(Outcome::success()),
        1 => Err("failed".into()),
        2 => Err(Error::fatal("fatal")),
        3 => panic!("as told"),
        4 => Ok(Outcome::cancel("as told")),
        5 if again => Ok(Outcome::success()),
        5 => Ok(Outcome::snooze(millis(1))),
        6 => std::future::pending().await,
        _ if again => Ok(Outcome::success()),
        _ => Err("once".into()),
    }
}

async fn counters_equal_the_truth_at_rest(setting: Setting) {
    let manager = setting
        .manager()
        .consumers(6)
        .consumers_for(Priority::HIGH, 2)
        .state(Started::new())
        .register(acts)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let producers = (0..4).map(|producer| {
        let manager = manager.clone();
        setting.spawn(async move {
            for number in (producer..TASKS).step_by(4) {
                let queue = if number % 16 < 8 { "default" } else { "mail" };
                let level = if number % 3 == 0 { Priority::HIGH } else { Priority::NORMAL };
                let mut task = acts.task(number).queue(queue).priority(level);
                if number % 8 == 6 {
                    task = task.timeout(millis(1)).retries(0);
                }
                manager.enqueue(task).await.unwrap();
            }
        })
    });
    for producer in join_all(producers).await {
        producer.unwrap();
    }
    manager.idle().await.unwrap();
    let metrics = manager.metrics();
    let each = TASKS / 8;
    let mut expected = Counts::default();
    expected.enqueued = TASKS;
    expected.processed = each * 3;
    expected.failed = each * 4;
    expected.cancelled = each;
    expected.retried = each * 3;
    expected.panicked = each * 2;
    expected.timed_out = each;
    expected.snoozed = each;
    assert_eq!(*metrics, expected);
    assert_eq!(metrics.kind("acts"), expected);
    assert_eq!(manager.fetch_metrics().await.unwrap().kind("acts"), expected);
    let by_queue = ["default", "mail"].map(|queue| metrics.queue(queue).ended());
    assert_eq!(by_queue, [TASKS / 2; 2]);
}

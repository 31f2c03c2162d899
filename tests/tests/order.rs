//! Order: which task is next, who may run it, and that it starts as soon as somebody can.

use std::time::Duration;

use conveyor::{Context, Manager, ManagerBuilder, Priority, Task};
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::consumer;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn task(kind: &'static str, payload: u64) -> Task<u64> {
    Task::new(kind, payload)
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime())
}

/// Takes as many milliseconds as its payload says.
async fn sleeps(length: u64, ctx: Context) {
    ctx.sleep(millis(length)).await;
}

fn default(_: &mut KindDefinition) {}

/// Each task of a mixed batch finds somebody who may run it, whoever takes which.
#[test]
fn a_mixed_batch_is_started_by_all_who_are_idle() {
    for_seeds(0..30, |seed| {
        for (high, normal) in [(0, 3), (1, 2), (1, 1), (2, 1), (3, 0)] {
            simulate(seed, |sim| async move {
                let manager = manager(&sim)
                    .consumers(6)
                    .consumers_for(Priority::HIGH, 3)
                    .register(consumer("work", sleeps, default))
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                sim.run_until_idle().await;
                let delay = millis(sim.random() % 2 * 10);
                let urgent = (0..high).map(|_| Priority::HIGH);
                let others = (0..normal).map(|_| Priority::NORMAL);
                let tasks = urgent
                    .chain(others)
                    .map(|priority| task("work", 1_000_000).priority(priority).delay(delay));
                for receipt in manager.enqueue_all(tasks).await {
                    receipt.unwrap();
                }
                sim.advance(delay).await;
                sim.run_until_idle().await;
                let active = manager.metrics().active;
                assert_eq!(active, high + normal, "{high} high, {normal} normal");
            });
        }
    });
}

//! A manager that has nothing to do does nothing.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::prelude::*;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::consumer;

#[test]
fn an_idle_manager_sets_no_timer_and_wakes_nobody() {
    simulate(1, |sim| async move {
        let worker = consumer("work", |(): (), _: Context| async {}, |_| {});
        let manager =
            Manager::builder().runtime(sim.runtime()).register(worker).consumers(16).build();
        let manager = manager.unwrap();
        manager.start().await.unwrap();
        sim.run_until_idle().await;
        let fresh = sim.live_timers();
        manager.enqueue(Task::new("work", ())).await.unwrap().wait().await.unwrap();
        // Some of these are claimed, and settled, several at once.
        manager.enqueue_all((0..1_000).map(|_| Task::new("work", ()))).await;
        // The lease keeper looks once more, the pruner once: then there is rest.
        sim.advance(Duration::from_secs(300)).await;
        sim.run_until_idle().await;
        assert_eq!((fresh, sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
        let steps = sim.steps();
        sim.advance(Duration::from_secs(24 * 3600)).await;
        assert!(sim.steps() - steps <= 2, "only this test itself took a step");
    });
}

const SECOND: Duration = Duration::from_secs(1);

/// Two consumers for tasks that take ten seconds.
fn acting(sim: &Sim) -> Manager {
    let worker = consumer(
        "act",
        |_: String, ctx: Context| async move { ctx.sleep(SECOND * 10).await },
        |_| {},
    );
    Manager::builder().runtime(sim.runtime()).register(worker).consumers(2).build().unwrap()
}

fn act(what: &str) -> Task<String> {
    Task::new("act", what.to_owned())
}

#[test]
fn idle_waits_for_everything_but_what_nobody_can_do() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let manager = acting(&sim);
            manager.start().await.unwrap();
            manager.idle().await.unwrap();
            assert_eq!(sim.elapsed(), Duration::ZERO);
            for what in ["a", "b", "c"] {
                manager.enqueue(act(what)).await.unwrap();
            }
            manager.enqueue(act("late").delay(SECOND * 60)).await.unwrap();
            manager.enqueue(Task::new("unknown", 7u8)).await.unwrap();
            // What does not decode is parked, which is no end.
            manager.enqueue(Task::new("act", 7u8).delay(SECOND * 65)).await.unwrap();
            manager.idle().await.unwrap();
            assert_eq!(sim.elapsed(), SECOND * 70, "when the last one ended");
            let metrics = manager.metrics();
            assert_eq!((metrics.processed, metrics.parked, metrics.live()), (4, 2, 2));
        });
    });
}

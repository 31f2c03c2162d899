//! A manager that has nothing to do does nothing.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::prelude::*;
use conveyor_testkit::simulate;
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
        // The lease keeper looks once more, the pruner once: then there is rest.
        sim.advance(Duration::from_secs(300)).await;
        sim.run_until_idle().await;
        assert_eq!((fresh, sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
        let steps = sim.steps();
        sim.advance(Duration::from_secs(24 * 3600)).await;
        assert!(sim.steps() - steps <= 2, "only this test itself took a step");
    });
}

//! The lease keeper and the loop of maintenance: they sleep without a timer while there is nothing
//! to wait for, and hear of it when there is.

use std::time::Duration;

use super::*;

use crate::{lease, maintain};

#[test]
fn the_keeper_that_falls_asleep_hears_of_the_first_claim() {
    check(|| {
        let model = Model::new(1);
        let keeper = spawn(lease::keep(Arc::clone(&model.engine)));
        model.engine.hold(1);
        let until = block_on(model.runtime.somebody_sleeps());
        assert_eq!(until, model.runtime.now() + model.engine.settings.lease / 3);
        model.engine.phases.advance(Phase::Stopped);
        keeper.join().unwrap();
    });
}

#[test]
fn the_keeper_hears_of_a_claim_that_comes_while_another_goes() {
    check_within(2, || {
        let model = Model::new(1);
        model.engine.hold(1);
        let keeper = spawn(lease::keep(Arc::clone(&model.engine)));
        let engine = Arc::clone(&model.engine);
        let settles = thread::spawn(move || engine.release(1));
        model.engine.hold(1);
        block_on(model.runtime.somebody_sleeps());
        model.engine.phases.advance(Phase::Stopped);
        settles.join().unwrap();
        keeper.join().unwrap();
    });
}

#[test]
fn maintenance_that_falls_asleep_hears_of_a_task_that_is_due_later() {
    check(|| {
        let model = Model::new(1);
        let maintenance = spawn(maintain::maintain(Arc::clone(&model.engine)));
        let task = Task::new("work", ()).delay(Duration::from_secs(5)).erase();
        block_on(model.engine.enqueue(task)).unwrap();
        let until = block_on(model.runtime.somebody_sleeps());
        assert_eq!(until, model.runtime.now() + Duration::from_secs(5));
        model.engine.phases.advance(Phase::Draining);
        maintenance.join().unwrap();
    });
}

#[test]
fn maintenance_hears_of_a_task_that_is_due_earlier() {
    check(|| {
        let model = Model::new(1);
        let due = |seconds| Task::new("work", ()).delay(Duration::from_secs(seconds)).erase();
        block_on(model.engine.enqueue(due(9))).unwrap();
        let maintenance = spawn(maintain::maintain(Arc::clone(&model.engine)));
        block_on(model.engine.enqueue(due(5))).unwrap();
        // It may have planned for the later one first.
        while block_on(model.runtime.somebody_sleeps())
            > model.runtime.now() + Duration::from_secs(5)
        {}
        model.engine.phases.advance(Phase::Draining);
        maintenance.join().unwrap();
    });
}

//! Timeouts: the handler is told at the deadline, and dropped at the end of its grace, not before.

use std::sync::Arc;

use conveyor::prelude::*;
use conveyor::{Cancelled, Error};
use conveyor_core::time::Instant;
use conveyor_tests::{Gate, Log, Setting};

use crate::{NEVER, Started, failed, millis, notes, waits};

conveyor_tests::on_every_runtime!(
    a_handler_that_ignores_its_timeout_is_dropped_at_the_end_of_its_grace,
    a_handler_that_returns_within_its_grace_ends_as_it_says,
    a_handler_that_is_done_in_time_is_left_alone,
    a_timeout_touches_no_other_task,
);

/// When something happened to the one handler there is.
type Times = Log<(&'static str, Instant)>;

/// Notes when it is dropped.
struct OnDrop(Context, State<Times>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.1.push(("dropped", self.0.runtime().now()));
    }
}

#[conveyor::worker(retries = 1, backoff = "none", timeout = "20ms", cancel_grace = "15ms")]
async fn deaf(ctx: Context, times: State<Times>) {
    times.push(("due", ctx.deadline().unwrap()));
    let _dropped = OnDrop(ctx.clone(), times.clone());
    assert_eq!(ctx.cancelled().await, Cancelled::Timeout);
    times.push(("told", ctx.runtime().now()));
    std::future::pending::<()>().await;
}

async fn a_handler_that_ignores_its_timeout_is_dropped_at_the_end_of_its_grace(setting: Setting) {
    let times = Times::new();
    let manager = setting.manager().state(times.clone()).register(deaf).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(deaf.task()).await.unwrap();
    let why = "the attempt took longer than its timeout of 20ms";
    assert_eq!(receipt.wait().await, Ok(failed(why)));
    let times = times.all();
    for attempt in times.chunks(3) {
        // Where the machine stood still in between, it is dropped without having been told.
        let [("due", due), .., ("dropped", dropped)] = attempt else {
            panic!("{times:?}");
        };
        assert!(*dropped >= *due + millis(15), "dropped too early: {times:?}");
        if let [_, ("told", told), _] = attempt {
            assert!(told >= due, "told too early: {times:?}");
        }
    }
    let metrics = manager.metrics();
    assert_eq!((metrics.timed_out, metrics.retried, metrics.failed), (2, 1, 1));
    assert_eq!((metrics.panicked, metrics.active), (0, 0));
}

/// Stops when it is told to, in the way that its payload says.
#[conveyor::worker(retries = 0, timeout = "10ms", cancel_grace = "1h")]
async fn obeys(how: u32, ctx: Context) -> Result<Outcome, Error> {
    assert_eq!(ctx.cancelled().await, Cancelled::Timeout);
    assert!(ctx.is_cancelled());
    ctx.sleep(millis(5)).await;
    match how {
        0 => Ok(Outcome::success()),
        1 => Ok(Outcome::cancel("late")),
        _ => Err("its own error".into()),
    }
}

async fn a_handler_that_returns_within_its_grace_ends_as_it_says(setting: Setting) {
    let manager = setting.manager().register(obeys).build().unwrap();
    manager.start().await.unwrap();
    let expected = [End::Succeeded, End::Cancelled("late".to_owned()), failed("its own error")];
    for (how, end) in expected.into_iter().enumerate() {
        let receipt = manager.enqueue(obeys.task(how as u32)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(end));
    }
    assert_eq!(manager.metrics().timed_out, 3);
}

#[conveyor::worker(timeout = "1h")]
async fn in_time(wait: u64, ctx: Context) {
    ctx.sleep(millis(wait)).await;
    assert_eq!(ctx.cancellation(), None);
}

async fn a_handler_that_is_done_in_time_is_left_alone(setting: Setting) {
    let manager = setting.manager().register(in_time).build().unwrap();
    manager.start().await.unwrap();
    for wait in [0, 1, 5] {
        // The task's own timeout beats its worker's.
        for task in [in_time.task(wait), in_time.task(wait).timeout(NEVER * 9)] {
            assert_eq!(manager.enqueue(task).await.unwrap().wait().await, Ok(End::Succeeded));
        }
    }
    assert_eq!((manager.metrics().timed_out, manager.metrics().retried), (0, 0));
}

async fn a_timeout_touches_no_other_task(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(2)
        .shared_state(Arc::new(Times::new()))
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
        .register(deaf)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let bystander = manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    let late = manager.enqueue(deaf.task().timeout(millis(5)).retries(0)).await.unwrap();
    let why = "the attempt took longer than its timeout of 5ms";
    assert_eq!(late.wait().await, Ok(failed(why)));
    // Its consumer is free again, and the other one was left alone.
    let next = manager.enqueue(notes.task(1)).await.unwrap();
    assert_eq!(next.wait().await, Ok(End::Succeeded));
    gate.open();
    assert_eq!(bystander.wait().await, Ok(End::Succeeded));
    assert_eq!(manager.metrics().timed_out, 1);
}

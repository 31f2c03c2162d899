//! Work that blocks: on threads that are for that, and on the runtime's own, which no service should
//! do, and one has.

use conveyor::prelude::*;
use conveyor_tests::{Gate, Setting};

use crate::{Started, failed, millis, notes};

conveyor_tests::on_every_runtime!(
    blocking_work_gives_its_value_and_its_panic_is_the_attempts;
    real:
    blocking_work_holds_up_nothing_else,
    as_much_blocks_at_once_as_there_are_consumers,
    a_timeout_frees_the_consumer_of_work_that_goes_on_blocking,
    a_shutdown_hands_back_what_goes_on_blocking;
    threads:
    tasks_go_on_beside_a_handler_that_blocks_its_thread,
    a_blocked_handler_that_returns_late_ends_as_it_says,
    a_blocked_handler_is_abandoned_at_no_cost,
);

/// A sync function, on a thread where it may block.
#[conveyor::worker(blocking, retries = 0)]
fn divides(by: u64, done: State<Started>) -> Result<(), String> {
    done.push(60 / by);
    if by == 7 { Err("not a divisor".to_owned()) } else { Ok(()) }
}

#[conveyor::worker(retries = 0)]
async fn computes(by: u64, ctx: Context, done: State<Started>) -> Result<(), String> {
    let quotient = ctx.spawn_blocking(move || 60 / by).await;
    done.push(quotient);
    if by == 7 { Err("not a divisor".to_owned()) } else { Ok(()) }
}

async fn blocking_work_gives_its_value_and_its_panic_is_the_attempts(setting: Setting) {
    let done = Started::new();
    let manager =
        setting.manager().state(done.clone()).register(divides).register(computes).build().unwrap();
    manager.start().await.unwrap();
    for task in [divides.task(4), computes.task(5), divides.task(7), computes.task(7)] {
        let expected = if *task.payload() == 7 { failed("not a divisor") } else { End::Succeeded };
        assert_eq!(manager.enqueue(task).await.unwrap().wait().await, Ok(expected));
    }
    for task in [divides.task(0), computes.task(0)] {
        let end = manager.enqueue(task).await.unwrap().wait().await;
        assert_eq!(end, Ok(failed("panicked: attempt to divide by zero")));
    }
    assert_eq!(done.all(), [15, 12, 8, 8]);
    assert_eq!(manager.metrics().panicked, 2);
}

/// Blocks a thread that is for that, until the gate is open.
#[conveyor::worker(blocking, retries = 0, cancel_grace = "1ms")]
fn blocks_aside(number: u64, started: State<Started>, gate: State<Gate>) {
    started.push(number);
    gate.block();
}

async fn blocking_work_holds_up_nothing_else(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(2)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks_aside)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let blocked = manager.enqueue(blocks_aside.task(0)).await.unwrap();
    started.reaches(1).await;
    for number in 1..=100 {
        let receipt = manager.enqueue(notes.task(number)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    assert_eq!((manager.metrics().active, manager.metrics().processed), (1, 100));
    gate.open();
    assert_eq!(blocked.wait().await, Ok(End::Succeeded));
}

async fn as_much_blocks_at_once_as_there_are_consumers(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(16)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks_aside)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    for number in 0..20 {
        manager.enqueue(blocks_aside.task(number)).await.unwrap();
    }
    started.reaches(16).await;
    assert_eq!(manager.metrics().active, 16);
    gate.open();
    manager.idle().await.unwrap();
    assert_eq!(manager.metrics().processed, 20);
}

/// What blocks cannot be stopped; its task does not wait for it.
async fn a_timeout_frees_the_consumer_of_work_that_goes_on_blocking(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(1)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks_aside)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let late = manager.enqueue(blocks_aside.task(0).timeout(millis(5))).await.unwrap();
    let why = "the attempt took longer than its timeout of 5ms";
    assert_eq!(late.wait().await, Ok(failed(why)));
    let next = manager.enqueue(notes.task(1)).await.unwrap();
    assert_eq!(next.wait().await, Ok(End::Succeeded));
    let cancelled = manager.enqueue(blocks_aside.task(2)).await.unwrap();
    started.until(|started| started.contains(&2)).await;
    manager.cancel(cancelled.id()).await.unwrap();
    assert_eq!(cancelled.wait().await, Ok(End::Cancelled("cancelled on request".to_owned())));
    assert_eq!(manager.metrics().live(), 0);
    gate.open();
}

async fn a_shutdown_hands_back_what_goes_on_blocking(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(blocks_aside)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    manager.enqueue(blocks_aside.task(0)).await.unwrap();
    started.reaches(1).await;
    let report = manager.shutdown(millis(5)).await.unwrap();
    assert_eq!((report.finished, report.returned, report.abandoned), (0, 1, 0));
    assert_eq!((manager.metrics().queued, manager.metrics().active), (1, 0));
    gate.open();
}

/// Blocks the thread that polls it until the gate is open, and can be told nothing meanwhile.
#[conveyor::worker(retries = 0, cancel_grace = "1ms")]
async fn blocks(number: u64, started: State<Started>, gate: State<Gate>) {
    started.push(number);
    gate.block();
}

async fn tasks_go_on_beside_a_handler_that_blocks_its_thread(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(4)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let blocked = manager.enqueue(blocks.task(0)).await.unwrap();
    started.reaches(1).await;
    for number in 1..=1_000 {
        let receipt = manager.enqueue(notes.task(number)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    assert_eq!((manager.metrics().active, manager.metrics().processed), (1, 1_000));
    gate.open();
    assert_eq!(blocked.wait().await, Ok(End::Succeeded));
    manager.idle().await.unwrap();
}

/// Nobody could tell it of its timeout, so it did not outlast it.
async fn a_blocked_handler_that_returns_late_ends_as_it_says(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(2)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let blocked = manager.enqueue(blocks.task(0).timeout(millis(1))).await.unwrap();
    started.reaches(1).await;
    setting.sleep(millis(10)).await;
    assert_eq!((manager.metrics().active, manager.metrics().timed_out), (1, 0));
    gate.open();
    assert_eq!(blocked.wait().await, Ok(End::Succeeded));
    assert_eq!(manager.metrics().timed_out, 0);
}

async fn a_blocked_handler_is_abandoned_at_no_cost(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let store = setting.store();
    let manager = setting
        .manager_on(&store)
        .consumers(2)
        .state(started.clone())
        .state(gate.clone())
        .register(blocks)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(blocks.task(0)).await.unwrap();
    started.reaches(1).await;

    // Returns although the handler does not.
    let report = manager.shutdown(millis(20)).await.unwrap();
    assert_eq!((report.finished, report.returned, report.abandoned), (0, 0, 1));
    let metrics = manager.metrics();
    assert_eq!((metrics.active, metrics.retried, metrics.failed), (1, 0, 0));

    // What it returns in the end still counts: nobody took the task from it.
    let heir = setting.manager_on(&store).build().unwrap();
    gate.open();
    assert_eq!(heir.wait(receipt.id()).await, Ok(End::Succeeded));
    assert_eq!(heir.metrics().live(), 0);
}

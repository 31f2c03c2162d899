//! Shutdown: what finishes, what is handed back and at what cost, and that nothing is left behind.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Cancelled, EnqueueError, ManagerBuilder, StartError, WaitError};
use conveyor_tests::{Gate, Log, Setting};
use futures::future::{Either, join, select};

use crate::{NEVER, Started, millis, waits};

conveyor_tests::on_every_runtime!(
    what_is_done_within_the_grace_finishes,
    what_is_not_done_is_handed_back_at_no_cost_and_not_early,
    a_handler_is_told_at_the_deadline_and_may_still_succeed,
    a_grace_of_zero_stops_at_once,
    a_second_call_is_harmless_and_gets_the_same_report,
    it_goes_on_if_the_caller_loses_patience,
    after_it_nothing_is_accepted_or_started,
    who_waits_is_told_that_there_is_no_end,
    run_ends_by_another_shutdown,
    a_start_that_meets_a_shutdown_leaves_nothing_running,
    dropping_every_handle_drops_what_runs_and_all_that_it_held,
    handlers_that_panic_when_the_manager_is_dropped_lose_no_task,
    shutdowns_at_any_moment_neither_lose_nor_charge_nor_repeat_a_task,
);

fn builder(setting: &Setting, started: &Started, gate: &Gate) -> ManagerBuilder {
    with(setting.manager(), started, gate)
}

fn with(builder: ManagerBuilder, started: &Started, gate: &Gate) -> ManagerBuilder {
    builder
        .consumers(4)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(obeys)
        .register(explodes)
}

/// Waits, and stops in good order when it is asked to; notes its number and its attempt.
#[conveyor::worker]
async fn obeys(
    number: u64,
    ctx: Context,
    started: State<Started>,
    gate: State<Gate>,
) -> Result<(), String> {
    started.push(number * 10 + u64::from(ctx.attempt()));
    match select(pin!(gate.passed()), pin!(ctx.cancelled())).await {
        Either::Left(_) => Ok(()),
        Either::Right((why, _)) => Err(format!("stopped: {why}")),
    }
}

async fn what_is_done_within_the_grace_finishes(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    let receipts = manager.enqueue_all((0..6).map(|number| waits.task(number))).await;
    started.reaches(4).await;
    let (report, ()) = join(manager.shutdown(NEVER), async { gate.open() }).await;
    let report = report.unwrap();
    assert_eq!((report.finished, report.returned, report.abandoned), (4, 0, 0));
    let ends = receipts.into_iter().take(4).map(|receipt| receipt.unwrap());
    for receipt in ends {
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    assert_eq!(started.len(), 4, "what waits is not started any more");
    assert_eq!((manager.metrics().queued, manager.metrics().active), (2, 0));
}

async fn what_is_not_done_is_handed_back_at_no_cost_and_not_early(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let store = setting.store();
    let first = with(setting.manager_on(&store), &started, &gate).build().unwrap();
    first.start().await.unwrap();
    // One is deaf, two obey, and one has not come to its time.
    let mut ids = vec![first.enqueue(waits.task(0)).await.unwrap().id()];
    for task in [obeys.task(1), obeys.task(2), obeys.task(3).delay(millis(1)).priority(-1)] {
        ids.push(first.enqueue(task).await.unwrap().id());
    }
    started.reaches(4).await;
    let (grace, before) = (millis(20), setting.now());
    let report = first.shutdown(grace).await.unwrap();
    assert!(setting.now() >= before + grace, "handlers have all of the grace");
    assert_eq!((report.finished, report.returned, report.abandoned), (0, 4, 0));
    let metrics = first.metrics();
    assert_eq!((metrics.queued, metrics.active, metrics.retried, metrics.failed), (4, 0, 0, 0));

    let second = with(setting.manager_on(&store), &started, &gate).build().unwrap();
    second.start().await.unwrap();
    gate.open();
    for id in ids {
        assert_eq!(second.wait(id).await, Ok(End::Succeeded));
    }
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, [0, 0, 11, 11, 21, 21, 31, 31], "each is at its first attempt, twice");
}

#[conveyor::worker]
async fn saves(ctx: Context, started: State<Started>) {
    started.push(0);
    assert_eq!(ctx.cancelled().await, Cancelled::Shutdown);
    ctx.sleep(millis(5)).await;
}

async fn a_handler_is_told_at_the_deadline_and_may_still_succeed(setting: Setting) {
    let started = Started::new();
    let manager = setting.manager().state(started.clone()).register(saves).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(saves.task()).await.unwrap();
    started.reaches(1).await;
    let report = manager.shutdown(millis(10)).await.unwrap();
    assert_eq!((report.finished, report.returned), (1, 0));
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
}

async fn a_grace_of_zero_stops_at_once(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    for number in 0..4 {
        manager.enqueue(waits.task(number)).await.unwrap();
    }
    started.reaches(4).await;
    let report = manager.shutdown(Duration::ZERO).await.unwrap();
    assert_eq!((report.finished, report.returned, report.abandoned), (0, 4, 0));
    assert_eq!((manager.metrics().queued, manager.metrics().active), (4, 0));
}

async fn a_second_call_is_harmless_and_gets_the_same_report(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    let first = manager.shutdown(NEVER);
    let second = async {
        let (second, ()) = join(manager.shutdown(Duration::ZERO), async { gate.open() }).await;
        second
    };
    let (first, second) = join(first, second).await;
    assert_eq!(first.unwrap().finished, 1);
    assert_eq!((first, second), (manager.shutdown(millis(1)).await, first));
}

async fn it_goes_on_if_the_caller_loses_patience(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    let shutdown = pin!(manager.shutdown(NEVER));
    let patience = pin!(setting.sleep(millis(2)));
    assert!(matches!(select(shutdown, patience).await, Either::Right(_)));
    gate.open();
    assert_eq!(manager.shutdown(Duration::ZERO).await.unwrap().finished, 1);
}

async fn after_it_nothing_is_accepted_or_started(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    manager.shutdown(millis(1)).await.unwrap();
    let task = || waits.task(0);
    assert_eq!(manager.enqueue(task()).await.unwrap_err(), EnqueueError::Stopped);
    assert_eq!(manager.try_enqueue(task()).await.unwrap_err(), EnqueueError::Stopped);
    let all = manager.enqueue_all([task(), task()]).await;
    assert!(all.iter().all(|answer| matches!(answer, Err(EnqueueError::Stopped))));
    assert_eq!(manager.start().await, Err(StartError::Stopped));
    assert!(started.is_empty());
}

async fn who_waits_is_told_that_there_is_no_end(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    let told = Log::new();
    let (waiting, tells) = (receipt.clone(), told.clone());
    drop(setting.spawn(async move { tells.push(waiting.wait().await) }));
    manager.shutdown(millis(1)).await.unwrap();
    assert_eq!(told.reaches(1).await, [Err(WaitError::Stopped { id: receipt.id() })]);
}

async fn run_ends_by_another_shutdown(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = builder(&setting, &started, &gate).build().unwrap();
    let stop = async {
        manager.enqueue(waits.task(0)).await.unwrap();
        started.reaches(1).await;
        let (report, ()) = join(manager.shutdown(NEVER), async { gate.open() }).await;
        report.unwrap()
    };
    let (of_run, report) = join(manager.run(), stop).await;
    assert_eq!((of_run.unwrap(), report.finished), (report, 1));
}

/// A start and a shutdown at once: whichever is first, nothing is left running.
async fn a_start_that_meets_a_shutdown_leaves_nothing_running(setting: Setting) {
    for _ in 0..20 {
        let (started, gate) = (Started::new(), Gate::new());
        gate.open();
        let manager = builder(&setting, &started, &gate).build().unwrap();
        manager.enqueue(waits.task(0)).await.unwrap();
        let (starts, stops) = (manager.clone(), manager.clone());
        let starts = setting.spawn(async move { drop(starts.start().await) });
        let stops = setting.spawn(async move {
            stops.shutdown(NEVER).await.unwrap();
        });
        starts.await.unwrap();
        stops.await.unwrap();
        let metrics = manager.metrics();
        assert_eq!((metrics.active, metrics.queued + metrics.processed), (0, 1));
        assert_eq!(metrics.processed, started.len() as u64);
    }
}

/// Tells when it is dropped.
#[derive(Clone)]
struct Tells(Log<&'static str>, &'static str);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.push(self.1);
    }
}

#[conveyor::worker]
async fn holds(started: State<Started>, dropped: State<Log<&'static str>>) {
    let _tells = Tells((*dropped.0).clone(), "the handler");
    started.push(0);
    std::future::pending::<()>().await;
}

async fn dropping_every_handle_drops_what_runs_and_all_that_it_held(setting: Setting) {
    let (started, dropped) = (Started::new(), Log::new());
    let store = setting.store();
    let manager = setting
        .manager_on(&store)
        // With another one's claim under way, a store that takes its time might give it the task.
        .consumers(1)
        .state(started.clone())
        .state(dropped.clone())
        .shared_state(Arc::new(Tells(dropped.clone(), "the states")))
        .register(holds)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(holds.task()).await.unwrap();
    started.reaches(1).await;
    let other = manager.clone();
    drop(manager);
    assert!(dropped.is_empty(), "a handle is left");
    drop((other, receipt));
    assert_eq!(dropped.reaches(2).await, ["the handler", "the states"]);
    let heir = setting.manager_on(&store).build().unwrap();
    assert_eq!((heir.metrics().live(), heir.metrics().active), (1, 0), "it was handed back");
}

/// Panics when it is dropped, unless the gate is open.
#[conveyor::worker(retries = 0)]
async fn explodes(number: u64, ctx: Context, started: State<Started>, gate: State<Gate>) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the drop of a handler");
        }
    }
    started.push(number * 10 + u64::from(ctx.attempt()));
    let bomb = Bomb;
    gate.passed().await;
    std::mem::forget(bomb);
}

async fn handlers_that_panic_when_the_manager_is_dropped_lose_no_task(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let store = setting.shared_store();
    let build = || with(setting.manager_on(&store), &started, &gate).build().unwrap();
    let (first, second) = (build(), build());
    first.start().await.unwrap();
    let mut ids = Vec::new();
    for task in [explodes.task(1), explodes.task(2), explodes.task(3), obeys.task(4)] {
        ids.push(first.enqueue(task).await.unwrap().id());
    }
    started.reaches(4).await;
    drop(first);
    second.start().await.unwrap();
    started.reaches(8).await;
    gate.open();
    for id in ids {
        assert_eq!(second.wait(id).await, Ok(End::Succeeded));
    }
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, [11, 11, 21, 21, 31, 31, 41, 41], "at no cost");
    assert_eq!(second.metrics().crashed, 0);
}

/// Takes a moment; obeys, or ignores what it is told, or succeeds a little later.
#[conveyor::worker(retries = 0)]
async fn stints(number: u64, ctx: Context, done: State<Started>) -> Result<(), &'static str> {
    let work = pin!(ctx.sleep(millis(number % 5)));
    if let Either::Right((_, work)) = select(work, pin!(ctx.cancelled())).await {
        match number % 3 {
            0 => return Err("stopped"),
            1 => work.await,
            _ => {}
        }
    }
    done.push(number);
    Ok(())
}

async fn shutdowns_at_any_moment_neither_lose_nor_charge_nor_repeat_a_task(setting: Setting) {
    const EACH: u64 = 20;
    let (store, done) = (setting.store(), Started::new());
    let build = || {
        let builder = setting.manager_on(&store).consumers(3).state(done.clone());
        builder.register(stints).build().unwrap()
    };
    for round in 0..8 {
        let heir = build();
        for number in round * EACH..(round + 1) * EACH {
            heir.enqueue(stints.task(number)).await.unwrap();
        }
        let enough = done.len() + (setting.random() % EACH) as usize;
        heir.start().await.unwrap();
        done.reaches(enough).await;
        let report = heir.shutdown(millis(setting.random() % 4)).await.unwrap();
        assert_eq!((report.abandoned, heir.metrics().active), (0, 0));
    }
    let last = build();
    last.start().await.unwrap();
    last.idle().await.unwrap();
    let metrics = last.metrics();
    assert_eq!((metrics.processed, metrics.failed, metrics.live()), (8 * EACH, 0, 0));
    let mut done = done.all();
    done.sort_unstable();
    assert_eq!(done, (0..8 * EACH).collect::<Vec<_>>(), "each once");
}

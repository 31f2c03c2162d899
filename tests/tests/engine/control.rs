//! Control: what a manager can be told while it runs.

use conveyor::prelude::*;
use conveyor::{BuildError, CancelReply, Cancelled, Error};
use conveyor_tests::{Gate, Log, Setting};
use futures::future::join_all;

use crate::{NEVER, Started, millis, notes, waits};

conveyor_tests::on_every_runtime!(
    a_paused_queue_starts_nothing_until_it_is_resumed,
    a_running_task_is_told_of_its_cancel_and_ends_as_it_says,
    a_task_that_has_not_started_never_does_after_its_cancel,
    a_cancel_at_any_moment_leaves_one_end,
    workers_come_and_go_while_the_manager_runs,
    workers_come_and_go_under_load,
    all_who_wait_are_told_of_the_end,
    a_handler_enqueues_and_sees_its_runtime,
    inspect_lists_every_task,
);

fn on_request() -> End {
    End::Cancelled("cancelled on request".to_owned())
}

async fn a_paused_queue_starts_nothing_until_it_is_resumed(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(3)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
        .build()
        .unwrap();
    manager.pause("later").await.unwrap();
    manager.start().await.unwrap();
    let running = manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    manager.pause("default").await.unwrap();
    let mut paused = Vec::new();
    for number in [1, 2] {
        paused.push(manager.enqueue(notes.task(number)).await.unwrap());
        paused.push(manager.enqueue(notes.task(number).queue("later")).await.unwrap());
    }
    // The same consumers look for tasks of another queue, again and again, and take those alone.
    for number in 10..30 {
        let other = manager.enqueue(notes.task(number).queue("other")).await.unwrap();
        assert_eq!(other.wait().await, Ok(End::Succeeded));
    }
    gate.open();
    assert_eq!(running.wait().await, Ok(End::Succeeded), "what runs goes on");
    assert_eq!(started.len(), 21);
    assert_eq!(manager.metrics().queued, 4);
    manager.resume("default").await.unwrap();
    manager.resume("later").await.unwrap();
    for receipt in paused {
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
}

/// Reacts to a cancel as its payload says.
#[conveyor::worker(cancel_grace = "10ms")]
async fn stubborn(
    how: u64,
    ctx: Context,
    started: State<Started>,
    told: State<Log<Cancelled>>,
) -> Result<Outcome, Error> {
    started.push(how);
    told.push(ctx.cancelled().await);
    match how {
        0 => Ok(Outcome::success()),
        1 => Err("stopped".into()),
        2 => Ok(Outcome::snooze(NEVER)),
        3 => Ok(Outcome::cancel("as asked")),
        _ => std::future::pending().await,
    }
}

async fn a_running_task_is_told_of_its_cancel_and_ends_as_it_says(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let told: Log<Cancelled> = Log::new();
    let manager = setting
        .manager()
        .state(told.clone())
        .state(started.clone())
        .state(gate.clone())
        .register(stubborn)
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let bystander = manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    for how in 0..5 {
        let receipt = manager.enqueue(stubborn.task(how)).await.unwrap();
        started.reaches(2 + how as usize).await;
        assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Requested));
        let expected = match how {
            0 => End::Succeeded,
            3 => End::Cancelled("as asked".to_owned()),
            _ => on_request(),
        };
        assert_eq!(receipt.wait().await, Ok(expected), "{how}");
        assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::AlreadyEnded));
    }
    assert_eq!(manager.metrics().active, 1, "the bystander goes on");
    gate.open();
    assert_eq!(bystander.wait().await, Ok(End::Succeeded));
    assert_eq!(told.all(), [Cancelled::Requested; 5]);
}

async fn a_task_that_has_not_started_never_does_after_its_cancel(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(1)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    manager.enqueue(waits.task(0)).await.unwrap();
    started.reaches(1).await;
    let queued = manager.enqueue(notes.task(1)).await.unwrap();
    let delayed = manager.enqueue(notes.task(2).delay(NEVER)).await.unwrap();
    let unknown = manager.enqueue(Task::new("unknown", 3_u64)).await.unwrap();
    let last = manager.enqueue(notes.task(4)).await.unwrap();
    for receipt in [queued, delayed, unknown] {
        let ends = Log::new();
        let (waiting, told) = (receipt.clone(), ends.clone());
        drop(setting.spawn(async move { told.push(waiting.wait().await) }));
        assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Cancelled));
        assert_eq!(ends.reaches(1).await, [Ok(on_request())], "who waits is told at once");
    }
    gate.open();
    assert_eq!(last.wait().await, Ok(End::Succeeded));
    manager.idle().await.unwrap();
    assert_eq!(started.all(), [0, 4]);
    assert_eq!(manager.metrics().cancelled, 3);
}

async fn a_cancel_at_any_moment_leaves_one_end(setting: Setting) {
    let manager = setting.manager().state(Started::new()).register(notes).build().unwrap();
    manager.start().await.unwrap();
    let cancelling = (0..200).map(|number| {
        let (manager, random) = (manager.clone(), setting.random());
        async move {
            let delay = millis(random % 2 * (random % 7));
            let receipt = manager.enqueue(notes.task(number).delay(delay)).await.unwrap();
            for _ in 0..random % 5 {
                smol::future::yield_now().await;
            }
            let reply = manager.cancel(receipt.id()).await.unwrap();
            let end = receipt.wait().await.unwrap();
            match reply {
                CancelReply::Cancelled => assert_eq!(end, on_request()),
                CancelReply::Requested => {}
                CancelReply::AlreadyEnded => assert_eq!(end, End::Succeeded),
                CancelReply::Unknown => panic!("{receipt:?} is unknown"),
            }
        }
    });
    for cancelled in join_all(cancelling.map(|one| setting.spawn(one))).await {
        cancelled.unwrap();
    }
    let metrics = manager.metrics();
    assert_eq!((metrics.live(), metrics.processed + metrics.cancelled), (0, 200));
}

async fn workers_come_and_go_while_the_manager_runs(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    // Its one consumer is held up while the worker goes: a claim under way might still bring a task.
    let manager =
        setting.manager().consumers(1).state(started.clone()).state(gate.clone()).build().unwrap();
    manager.start().await.unwrap();
    assert!(!manager.unregister("waits"));
    let first = manager.enqueue(waits.task(0)).await.unwrap();
    assert_eq!(manager.metrics().parked, 1, "nobody knows its kind");
    manager.register(waits).unwrap();
    let twice = manager.register(waits);
    assert!(matches!(twice, Err(BuildError::RepeatedKind { .. })), "{twice:?}");
    started.reaches(1).await;
    assert!(manager.unregister("waits"));
    assert!(!manager.unregister("waits"));
    let second = manager.enqueue(waits.task(1)).await.unwrap();
    gate.open();
    assert_eq!(first.wait().await, Ok(End::Succeeded), "what runs goes on");
    manager.register(notes).unwrap();
    let other = manager.enqueue(notes.task(2)).await.unwrap();
    assert_eq!(other.wait().await, Ok(End::Succeeded));
    assert_eq!((started.all(), manager.metrics().parked), (vec![0, 2], 1));
    manager.register(waits).unwrap();
    assert_eq!(second.wait().await, Ok(End::Succeeded));
    assert_eq!(manager.metrics().live(), 0);
}

async fn workers_come_and_go_under_load(setting: Setting) {
    let started = Started::new();
    let manager =
        setting.manager().consumers(4).state(started.clone()).register(notes).build().unwrap();
    manager.start().await.unwrap();
    let enqueues = manager.clone();
    let producer = setting.spawn(async move {
        for number in 0..600 {
            enqueues.enqueue(notes.task(number)).await.unwrap();
            if number % 8 == 0 {
                smol::future::yield_now().await;
            }
        }
    });
    for turn in 1..=20 {
        started.reaches(turn * 20).await;
        assert!(manager.unregister("notes"));
        smol::future::yield_now().await;
        manager.register(notes).unwrap();
    }
    producer.await.unwrap();
    manager.idle().await.unwrap();
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, (0..600).collect::<Vec<u64>>(), "each once");
    assert_eq!((manager.metrics().processed, manager.metrics().retried), (600, 0));
}

async fn all_who_wait_are_told_of_the_end(setting: Setting) {
    let (started, gate, ends) = (Started::new(), Gate::new(), Log::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(waits.task(0)).await.unwrap();
    for number in 0..50 {
        let (manager, receipt, ends) = (manager.clone(), receipt.clone(), ends.clone());
        drop(setting.spawn(async move {
            ends.push(match number % 2 {
                0 => receipt.wait().await,
                _ => manager.wait(receipt.id()).await,
            });
        }));
    }
    started.reaches(1).await;
    gate.open();
    assert_eq!(ends.reaches(50).await, vec![Ok(End::Succeeded); 50]);
    assert_eq!(receipt.wait().await, Ok(End::Succeeded), "also when it is long over");
}

#[conveyor::worker]
async fn splits(number: u64, ctx: Context, names: State<Log<&'static str>>) {
    names.push(ctx.runtime().name());
    if number > 1 {
        for half in [number / 2, number - number / 2] {
            ctx.enqueue(splits.task(half)).await.unwrap();
        }
    }
}

async fn a_handler_enqueues_and_sees_its_runtime(setting: Setting) {
    let names: Log<&str> = Log::new();
    let manager = setting.manager().state(names.clone()).register(splits).build().unwrap();
    manager.start().await.unwrap();
    manager.enqueue(splits.task(64)).await.unwrap();
    manager.idle().await.unwrap();
    assert_eq!(names.all(), vec![setting.runtime().name(); 127]);
}

async fn inspect_lists_every_task(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(manager.enqueue(waits.task(number).delay(NEVER)).await.unwrap().id());
    }
    ids.push(manager.enqueue(waits.task(10)).await.unwrap().id());
    started.reaches(1).await;
    let page = manager.inspect().page().await.unwrap();
    let mut listed: Vec<_> = page.tasks.iter().map(|task| task.id).collect();
    listed.sort_unstable();
    ids.sort_unstable();
    assert_eq!(listed, ids);
    gate.open();
}

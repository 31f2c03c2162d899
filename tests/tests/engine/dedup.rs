//! Keys: a live task's key refuses a second one, and is free the moment the task ends.

use std::collections::BTreeSet;
use std::sync::Mutex;

use conveyor::prelude::*;
use conveyor::{EnqueueError, Error, TaskId};
use conveyor_tests::{Gate, Log, Setting};
use futures::future::join_all;

use crate::{Started, millis, notes, waits};

conveyor_tests::on_every_runtime!(
    a_live_key_is_refused_with_the_id_of_the_live_task,
    whoever_hears_of_the_end_finds_the_key_free,
    one_of_all_who_race_for_a_key_gets_it,
    a_key_is_held_through_delays_retries_and_snoozes,
    a_key_never_has_two_live_tasks_whoever_races_for_it,
);

async fn a_live_key_is_refused_with_the_id_of_the_live_task(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let first = manager.enqueue(waits.task(0).key("k")).await.unwrap();
    // While it waits or runs, whichever it does by now.
    assert_refused(&manager.enqueue(waits.task(1).key("k")).await, first.id());
    started.reaches(1).await;
    assert_refused(&manager.try_enqueue(waits.task(1).key("k")).await, first.id());
    let many = manager.enqueue_all([waits.task(2).key("k"), waits.task(3).key("other")]).await;
    let [refused, accepted] = <[_; 2]>::try_from(many).unwrap();
    assert_refused(&refused, first.id());
    accepted.unwrap();
    // The key of another kind is another key.
    let other = manager.enqueue(notes.task(4).key("k")).await.unwrap();
    assert_eq!(other.wait().await, Ok(End::Succeeded));
    gate.open();
    assert_eq!(first.wait().await, Ok(End::Succeeded));
    manager.enqueue(waits.task(5).key("k")).await.unwrap();
    manager.idle().await.unwrap();
    assert_eq!((manager.metrics().duplicates, manager.metrics().processed), (3, 4));
}

fn assert_refused(answer: &Result<conveyor::Receipt, EnqueueError>, by: TaskId) {
    let Err(EnqueueError::Duplicate { id, .. }) = answer else {
        panic!("{by} lives, but its key is free: {answer:?}");
    };
    assert_eq!(*id, Some(by));
}

async fn whoever_hears_of_the_end_finds_the_key_free(setting: Setting) {
    let manager = setting.manager().state(Started::new()).register(notes).build().unwrap();
    manager.start().await.unwrap();
    for number in 0..200 {
        let receipt = manager.enqueue(notes.task(number).key("k")).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    assert_eq!(manager.metrics().duplicates, 0);
}

async fn one_of_all_who_race_for_a_key_gets_it(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let answers: Log<Result<TaskId, Option<TaskId>>> = Log::new();
    for number in 0..16 {
        let (manager, answers) = (manager.clone(), answers.clone());
        drop(setting.spawn(async move {
            answers.push(match manager.enqueue(waits.task(number).key("k")).await {
                Ok(receipt) => Ok(receipt.id()),
                Err(EnqueueError::Duplicate { id, .. }) => Err(id),
                Err(error) => panic!("{error}"),
            });
        }));
    }
    let answers = answers.reaches(16).await;
    let accepted: Vec<_> = answers.iter().filter_map(|answer| answer.ok()).collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    let refused = answers.iter().filter(|answer| **answer == Err(Some(accepted[0]))).count();
    assert_eq!(refused, 15, "{answers:?}");
    gate.open();
    manager.idle().await.unwrap();
    assert_eq!(manager.metrics().processed, 1);
}

/// Fails, snoozes, fails, and waits for its end; each time, its key is refused.
#[conveyor::worker(retries = 2, backoff = "5ms")]
async fn comes_again(
    ctx: Context,
    started: State<Started>,
    gate: State<Gate>,
) -> Result<Outcome, Error> {
    started.push(ctx.attempt().into());
    assert_refused(&ctx.enqueue(comes_again.task().key("k")).await, ctx.id());
    match started.len() {
        1 | 3 => return Err("again".into()),
        2 => return Ok(Outcome::snooze(millis(5))),
        _ => gate.passed().await,
    }
    Ok(Outcome::success())
}

async fn a_key_is_held_through_delays_retries_and_snoozes(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .state(started.clone())
        .state(gate.clone())
        .register(comes_again)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let task = || comes_again.task().key("k");
    let receipt = manager.enqueue(task().delay(millis(5))).await.unwrap();
    // Wherever it is between the turns.
    for turn in 0..=4 {
        started.reaches(turn).await;
        assert_refused(&manager.enqueue(task()).await, receipt.id());
    }
    gate.open();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    assert_eq!(started.all(), [1, 2, 2, 3], "a snooze costs no attempt");
    manager.enqueue(task()).await.unwrap();
}

/// The keys of the tasks that have begun and not ended.
#[derive(Default)]
struct Live(Mutex<BTreeSet<String>>);

#[conveyor::worker(retries = 1, backoff = "1ms")]
async fn alone(ctx: Context, live: State<Live>) -> Result<(), Error> {
    let key = ctx.key().unwrap().to_string();
    if ctx.attempt() == 1 {
        let first = live.0.0.lock().unwrap().insert(key.clone());
        if !first {
            return Err(Error::fatal(format!("two live tasks have the key {key}")));
        }
    }
    smol::future::yield_now().await;
    if ctx.attempt() == 1 && ctx.runtime().random().is_multiple_of(4) {
        return Err("again".into());
    }
    live.0.0.lock().unwrap().remove(&key);
    Ok(())
}

async fn a_key_never_has_two_live_tasks_whoever_races_for_it(setting: Setting) {
    let manager =
        setting.manager().consumers(4).state(Live::default()).register(alone).build().unwrap();
    manager.start().await.unwrap();
    let accepted = Log::new();
    let producers = (0..6u64).map(|producer| {
        let (manager, accepted) = (manager.clone(), accepted.clone());
        setting.spawn(async move {
            for number in 0..50 {
                let key = format!("{}", (producer + number) % 3);
                match manager.enqueue(alone.task().key(key)).await {
                    Ok(receipt) => accepted.push(receipt),
                    Err(EnqueueError::Duplicate { .. }) => smol::future::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for producer in join_all(producers).await {
        producer.unwrap();
    }
    for receipt in accepted.all() {
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    let (metrics, accepted) = (manager.metrics(), accepted.len() as u64);
    assert_eq!((metrics.processed, metrics.duplicates), (accepted, 300 - accepted));
}

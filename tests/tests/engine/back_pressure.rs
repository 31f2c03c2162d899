//! Back-pressure: a bounded store holds so many live tasks, and whoever has more waits.

use std::pin::pin;

use conveyor::prelude::*;
use conveyor::{EnqueueError, ManagerBuilder};
use conveyor_tests::{Gate, Log, Setting};
use futures::future::{Either, join_all, select};
use futures::poll;

use crate::{NEVER, Started, notes, waits};

conveyor_tests::on_every_runtime!(
    an_enqueue_waits_until_a_task_ends,
    a_batch_waits_for_room_for_what_does_not_fit,
    many_who_wait_all_get_room_in_the_end,
    dropping_enqueues_that_wait_loses_no_room_and_no_task,
    enqueues_that_wait_are_refused_at_the_shutdown,
);

fn bounded(setting: &Setting, live_tasks: usize, started: &Started, gate: &Gate) -> ManagerBuilder {
    let store = setting.store_like(|memory| memory.with_capacity_limit(live_tasks));
    setting
        .manager_on(&store)
        .consumers(2)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
}

async fn an_enqueue_waits_until_a_task_ends(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = bounded(&setting, 3, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    for number in 0..3 {
        manager.enqueue(waits.task(number)).await.unwrap();
    }
    let full = manager.try_enqueue(waits.task(3)).await;
    assert_eq!(full.unwrap_err(), EnqueueError::Full { capacity: 3 });
    let mut waiting = pin!(manager.enqueue(waits.task(3)));
    for _ in 0..10 {
        assert!(poll!(&mut waiting).is_pending(), "there is no room");
        smol::future::yield_now().await;
    }
    gate.open();
    let receipt = waiting.await.unwrap();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    manager.idle().await.unwrap();
    manager.try_enqueue(waits.task(4)).await.unwrap();
}

async fn a_batch_waits_for_room_for_what_does_not_fit(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = bounded(&setting, 4, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    for receipt in manager.enqueue_all((0..50).map(|number| notes.task(number))).await {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
    }
    assert_eq!((manager.metrics().enqueued, manager.metrics().processed), (50, 50));
}

async fn many_who_wait_all_get_room_in_the_end(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = bounded(&setting, 3, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    let producers = (0..10u64).map(|producer| {
        let manager = manager.clone();
        setting.spawn(async move {
            for number in producer * 20..producer * 20 + 20 {
                manager.enqueue(notes.task(number)).await.unwrap();
                assert!(manager.metrics().live() <= 3);
            }
        })
    });
    for producer in join_all(producers).await {
        producer.unwrap();
    }
    manager.idle().await.unwrap();
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, (0..200).collect::<Vec<u64>>(), "each once");
}

/// Dropped at any moment, a waiting enqueue leaves no task behind that nobody knows of, and takes
/// no room and no wake-up with it.
async fn dropping_enqueues_that_wait_loses_no_room_and_no_task(setting: Setting) {
    const ROOM: usize = 3;
    let (started, gate) = (Started::new(), Gate::new());
    let manager = bounded(&setting, ROOM, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    let accepted = Started::new();
    let producers = (0..8u64).map(|producer| {
        let (manager, accepted, beside) = (manager.clone(), accepted.clone(), setting.clone());
        setting.spawn(async move {
            for number in producer * 20..producer * 20 + 20 {
                let patience = beside.random() % 20;
                let enqueue = pin!(manager.enqueue(notes.task(number)));
                let impatient = pin!(async {
                    for _ in 0..patience {
                        smol::future::yield_now().await;
                    }
                });
                if let Either::Left((receipt, _)) = select(enqueue, impatient).await {
                    receipt.unwrap();
                    accepted.push(number);
                }
            }
        })
    });
    for producer in join_all(producers).await {
        producer.unwrap();
    }
    manager.idle().await.unwrap();
    // A store that takes its time may have accepted what its caller did not wait for; in memory
    // the two are one step.
    let (mut started, mut accepted) = (started.all(), accepted.all());
    started.sort_unstable();
    accepted.sort_unstable();
    let unheard = started.iter().filter(|number| accepted.binary_search(number).is_err()).count();
    started.dedup();
    assert_eq!(started.len(), accepted.len() + unheard, "each once");
    if manager.store().capabilities().immediate {
        assert_eq!(unheard, 0);
    }
    // All the room is there.
    for number in 0..ROOM as u64 {
        manager.try_enqueue(waits.task(number)).await.unwrap();
    }
    let full = manager.try_enqueue(waits.task(9)).await;
    assert_eq!(full.unwrap_err(), EnqueueError::Full { capacity: ROOM });
    gate.open();
}

async fn enqueues_that_wait_are_refused_at_the_shutdown(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = bounded(&setting, 2, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    for number in 0..2 {
        manager.enqueue(waits.task(number)).await.unwrap();
    }
    started.reaches(2).await;
    let answers = Log::new();
    for number in 10..13 {
        let (manager, answers) = (manager.clone(), answers.clone());
        drop(setting.spawn(async move {
            answers.push(manager.enqueue(waits.task(number)).await.map(|_| ()));
        }));
    }
    // At once, not at its end: what runs goes on until the gate opens.
    let stops = manager.clone();
    let shutdown = setting.spawn(async move {
        assert_eq!(stops.shutdown(NEVER).await.unwrap().finished, 2);
    });
    assert_eq!(answers.reaches(3).await, vec![Err(EnqueueError::Stopped); 3]);
    gate.open();
    shutdown.await.unwrap();
    assert_eq!(manager.metrics().enqueued, 2);
}

//! A bounded store: who waits for room, who is refused, and that no room is lost.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::time::Duration;

use conveyor::EnqueueError;
use conveyor::prelude::*;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};
use futures::future::{Either, select};

const SECOND: Duration = Duration::from_secs(1);

fn manager(sim: &Sim, capacity: usize) -> Manager {
    let work =
        consumer("work", |_: u32, ctx: Context| async move { ctx.sleep(SECOND).await }, |_| {});
    Manager::builder()
        .runtime(sim.runtime())
        .register(work)
        .consumers(2)
        .capacity(capacity)
        .build()
        .unwrap()
}

fn task(number: u32) -> Task<u32> {
    Task::new("work", number)
}

#[test]
fn try_enqueue_refuses_what_does_not_fit() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, 3);
        for number in 0..3 {
            manager.try_enqueue(task(number)).await.unwrap();
        }
        let full = manager.try_enqueue(task(3)).await.unwrap_err();
        assert_eq!(full, EnqueueError::Full { capacity: 3 });
        manager.start().await.unwrap();
        sim.run_until_idle().await;
        assert_eq!(manager.try_enqueue(task(3)).await.unwrap_err(), full, "active tasks are live");
        sim.advance(SECOND).await;
        sim.run_until_idle().await;
        manager.try_enqueue(task(3)).await.unwrap();
    });
}

#[test]
fn a_duplicate_is_refused_at_once_and_does_not_wait_for_room() {
    simulate(1, |sim| async move {
        let manager = manager(&sim, 1);
        manager.enqueue(task(1).key("k")).await.unwrap();
        let refused = manager.enqueue(task(2).key("k")).await.unwrap_err();
        assert!(matches!(refused, EnqueueError::Duplicate { .. }));
    });
}

#[test]
fn enqueue_waits_until_there_is_room() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 4);
            manager.start().await.unwrap();
            let accepted = Log::new();
            let producers: Vec<_> = (0..3u32)
                .map(|producer| {
                    let (manager, accepted) = (manager.clone(), accepted.clone());
                    sim.spawn("producer", async move {
                        for number in 0..8 {
                            manager.enqueue(task(producer * 8 + number)).await.unwrap();
                            accepted.push(());
                            assert!(manager.metrics().live() <= 4, "the bound holds");
                        }
                    })
                })
                .collect();
            sim.run_until_idle().await;
            assert_eq!(accepted.len(), 4);
            for producer in producers {
                producer.await.unwrap();
            }
            // Two consumers, a second each: room comes as fast as tasks end.
            assert_eq!(sim.elapsed(), SECOND * 10);
            sim.advance(SECOND * 5).await;
            assert_eq!(manager.metrics().processed, 24);
        });
    });
}

#[test]
fn a_waiting_enqueue_that_is_dropped_loses_no_room_and_no_task() {
    for_seeds(0..200, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 2);
            manager.start().await.unwrap();
            let outcomes = Log::new();
            let producers: Vec<_> = (0..6u32)
                .map(|producer| {
                    let (sim, manager, outcomes) = (sim.clone(), manager.clone(), outcomes.clone());
                    sim.clone().spawn("producer", async move {
                        for number in 0..6 {
                            let patience = Duration::from_millis(sim.random() % 2_000);
                            let enqueue = Box::pin(manager.enqueue(task(producer * 6 + number)));
                            let timer = Box::pin(sim.advance(patience));
                            match select(enqueue, timer).await {
                                Either::Left((receipt, _)) => {
                                    outcomes.push(receipt.map(|r| r.id()));
                                }
                                // The enqueue is dropped here, waiting or about to be woken.
                                Either::Right(_) => {}
                            }
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(SECOND * 5).await;
            let metrics = manager.metrics();
            assert_eq!(metrics.enqueued, outcomes.len() as u64, "accepted means told so");
            assert_eq!((metrics.processed, metrics.live()), (metrics.enqueued, 0));
            // All room is there again.
            for number in 0..2 {
                manager.try_enqueue(task(number)).await.unwrap();
            }
        });
    });
}

#[test]
fn enqueue_all_waits_for_room_for_what_does_not_fit() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 3);
            manager.start().await.unwrap();
            let answers = manager.enqueue_all((0..9).map(task)).await;
            assert_eq!(answers.len(), 9);
            for answer in answers {
                assert_eq!(answer.unwrap().wait().await, Ok(End::Succeeded));
            }
        });
    });
}

#[test]
fn who_waits_for_room_is_told_of_the_shutdown() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 1);
            manager.enqueue(task(1)).await.unwrap();
            let told = Log::new();
            let (waiting, log) = (manager.clone(), told.clone());
            sim.spawn("one", async move { log.push(waiting.enqueue(task(2)).await.map(drop)) });
            let (waiting, log) = (manager.clone(), told.clone());
            sim.spawn("all", async move {
                for answer in waiting.enqueue_all([task(3), task(4)]).await {
                    log.push(answer.map(drop));
                }
            });
            sim.run_until_idle().await;
            assert!(told.is_empty());
            manager.shutdown(SECOND).await.unwrap();
            sim.run_until_idle().await;
            assert_eq!(told.all(), vec![Err(EnqueueError::Stopped); 3]);
        });
    });
}

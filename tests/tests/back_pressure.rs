//! Back-pressure: a bounded store holds so many live tasks, and whoever has more waits.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use conveyor::{CancelReply, Context, End, EnqueueError, Manager, ManagerBuilder, Receipt, Task};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};
use futures::future::{Either, select};
use futures::poll;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn task(payload: u64) -> Task<u64> {
    Task::new("work", payload)
}

/// Takes as many milliseconds as its payload says.
async fn sleeps(length: u64, ctx: Context) {
    ctx.sleep(millis(length)).await;
}

fn manager(sim: &Sim, capacity: usize) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(2).capacity(capacity).register(consumer(
        "work",
        sleeps,
        |_| {},
    ))
}

#[test]
fn an_enqueue_waits_until_a_task_ends() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 3).build().unwrap();
            for length in [10, 20, 30] {
                manager.enqueue(task(length)).await.unwrap();
            }
            let full = manager.try_enqueue(task(1)).await;
            assert_eq!(full.unwrap_err(), EnqueueError::Full { capacity: 3 });
            let mut waits = pin!(manager.enqueue(task(1)));
            sim.advance(millis(100)).await;
            assert!(poll!(&mut waits).is_pending(), "there is no room");
            manager.start().await.unwrap();
            let receipt = waits.await.unwrap();
            assert_eq!(sim.elapsed(), millis(110));
            // The end and the room are one.
            let full = manager.try_enqueue(task(1)).await;
            assert_eq!(full.unwrap_err(), EnqueueError::Full { capacity: 3 });
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            manager.try_enqueue(task(1)).await.unwrap();
            assert!(manager.metrics().live() <= 3);
        });
    });
}

#[test]
fn a_cancelled_task_makes_room_and_a_duplicate_takes_none() {
    simulate(7, |sim| async move {
        let manager = manager(&sim, 2).build().unwrap();
        let first = manager.enqueue(task(1).key("k")).await.unwrap();
        let refused = manager.enqueue(task(1).key("k")).await;
        assert!(matches!(refused, Err(EnqueueError::Duplicate { .. })), "{refused:?}");
        manager.enqueue(task(1).delay(millis(1_000))).await.unwrap();
        let mut waits = pin!(manager.enqueue(task(1)));
        assert!(poll!(&mut waits).is_pending());
        assert_eq!(manager.cancel(first.id()).await, Ok(CancelReply::Cancelled));
        waits.await.unwrap();
        assert_eq!(sim.elapsed(), millis(0));
    });
}

#[test]
fn a_batch_waits_for_room_for_what_does_not_fit() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 4).build().unwrap();
            manager.start().await.unwrap();
            let receipts = manager.enqueue_all((0..20).map(|_| task(10))).await;
            // Two at a time: the last is let in when sixteen have ended.
            assert_eq!(sim.elapsed(), millis(80));
            assert_eq!((manager.metrics().live(), manager.metrics().processed), (4, 16));
            for receipt in receipts {
                let end = receipt.unwrap().wait().await;
                assert_eq!(end, Ok(End::Succeeded));
            }
            assert_eq!(manager.metrics().enqueued, 20);
        });
    });
}

type Enqueue<'a> = Pin<Box<dyn Future<Output = Result<Receipt, EnqueueError>> + Send + 'a>>;

/// Dropped at any moment, a waiting enqueue leaves no task behind that nobody knows of, and takes
/// no room and no wake-up with it.
#[test]
fn dropping_enqueues_that_wait_loses_no_slot_and_no_task() {
    for_seeds(0..60, |seed| {
        simulate(seed, |sim| async move {
            const CAPACITY: usize = 4;
            let ran = Log::new();
            let handler = {
                let ran = ran.clone();
                move |length: u64, ctx: Context| {
                    ran.push(ctx.id());
                    sleeps(length, ctx)
                }
            };
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .consumers(3)
                .capacity(CAPACITY)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let accepted = Log::new();
            let producers: Vec<_> = (0..8)
                .map(|_| {
                    let (manager, sim, accepted) = (manager.clone(), sim.clone(), accepted.clone());
                    let spawner = sim.clone();
                    spawner.spawn("producer", async move {
                        for _ in 0..15 {
                            let length = sim.random() % 4;
                            let patience = sim.advance(millis(sim.random() % 6));
                            let enqueue: Enqueue<'_> = Box::pin(manager.enqueue(task(length)));
                            match select(enqueue, pin!(patience)).await {
                                Either::Left((receipt, _)) => accepted.push(receipt.unwrap().id()),
                                Either::Right((_, enqueue)) => drop(enqueue),
                            }
                            assert!(manager.metrics().live() <= CAPACITY as u64);
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(millis(1_000)).await;
            let (mut ran, mut accepted) = (ran.all(), accepted.all());
            ran.sort();
            accepted.sort();
            assert_eq!(ran, accepted, "what ran is what was accepted, each once");
            assert!(accepted.len() > 20 && accepted.len() < 120, "{}", accepted.len());
            // All the room is there.
            for _ in 0..CAPACITY {
                manager.try_enqueue(task(1)).await.unwrap();
            }
            let full = manager.try_enqueue(task(1)).await;
            assert_eq!(full.unwrap_err(), EnqueueError::Full { capacity: CAPACITY });
        });
    });
}

/// The room that one who waits does not take is there for the next.
#[test]
fn who_waits_gets_the_room_that_another_did_not_take() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 1).build().unwrap();
            let held = manager.enqueue(task(1)).await.unwrap();
            let mut first = Box::pin(manager.enqueue(task(1)));
            let mut second = pin!(manager.enqueue(task(2)));
            assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
            manager.cancel(held.id()).await.unwrap();
            // The room was told of; the first to hear of it is dropped before it acts.
            drop(first);
            second.await.unwrap();
        });
    });
}

#[test]
fn enqueues_that_wait_are_refused_at_the_shutdown() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 2).build().unwrap();
            manager.start().await.unwrap();
            for _ in 0..2 {
                manager.enqueue(task(1_000_000)).await.unwrap();
            }
            let answers = Log::new();
            for one in [true, false, true] {
                let (manager, answers) = (manager.clone(), answers.clone());
                sim.spawn("producer", async move {
                    if one {
                        answers.push(manager.enqueue(task(1)).await.map(|_| ()));
                    } else {
                        for answer in manager.enqueue_all([task(1), task(2)]).await {
                            answers.push(answer.map(|_| ()));
                        }
                    }
                });
            }
            sim.advance(millis(100)).await;
            assert!(answers.is_empty());
            let shutdown = manager.shutdown(millis(5_000));
            let mut shutdown = pin!(shutdown);
            assert!(poll!(&mut shutdown).is_pending());
            sim.run_until_idle().await;
            let stopped = Err(EnqueueError::Stopped);
            assert_eq!(answers.all(), [(); 4].map(|()| stopped.clone()), "at once, not at its end");
            assert_eq!(manager.try_enqueue(task(1)).await.unwrap_err(), EnqueueError::Stopped);
            shutdown.await.unwrap();
            assert_eq!(manager.metrics().enqueued, 2);
        });
    });
}

/// Whoever has waited longest gets the next room, also if others keep coming or give up.
#[test]
fn room_goes_to_those_who_wait_in_their_order() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 3).build().unwrap();
            for _ in 0..3 {
                manager.enqueue(task(5)).await.unwrap();
            }
            let accepted = Log::new();
            let mut expected = Vec::new();
            let mut producers = Vec::new();
            for number in 0..30 {
                let (enqueues, accepted) = (manager.clone(), accepted.clone());
                let producer = sim.spawn("producer", async move {
                    if number % 5 == 4 {
                        let batch = [task(number % 7), task(1), task(0)];
                        for receipt in enqueues.enqueue_all(batch).await {
                            receipt.unwrap();
                        }
                    } else {
                        enqueues.enqueue(task(number % 7)).await.unwrap();
                    }
                    accepted.push(number);
                });
                // Some come while there is room now and then.
                sim.advance(millis(u64::from(number > 15))).await;
                sim.run_until_idle().await;
                if number == 15 {
                    manager.start().await.unwrap();
                }
                if number < 15 && sim.random().is_multiple_of(4) {
                    producer.abort();
                    sim.run_until_idle().await;
                } else {
                    expected.push(number);
                    producers.push(producer);
                }
            }
            for producer in producers {
                producer.await.unwrap();
            }
            assert_eq!(accepted.all(), expected);
        });
    });
}

/// Who comes when there is room, but for another who was told of it just now, waits behind that one;
/// what may be a duplicate is answered at once all the same.
#[test]
fn nobody_overtakes_who_is_about_to_take_the_room() {
    for_seeds(0..40, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim, 1).build().unwrap();
            manager.start().await.unwrap();
            manager.enqueue(task(5).key("held")).await.unwrap();
            let accepted = Log::new();
            let producer = |number: u64, batch: bool| {
                let (manager, accepted) = (manager.clone(), accepted.clone());
                sim.spawn("producer", async move {
                    if batch {
                        let answers = manager.enqueue_all([task(5)]).await;
                        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
                    } else {
                        manager.enqueue(task(5)).await.unwrap();
                    }
                    accepted.push(number);
                })
            };
            let first = producer(1, seed % 3 == 0);
            sim.advance(millis(4)).await;
            let duplicate = pin!(manager.enqueue(task(5).key("held")));
            let answer = poll!(duplicate);
            assert!(
                matches!(answer, Poll::Ready(Err(EnqueueError::Duplicate { .. }))),
                "{answer:?}"
            );
            let nothing = pin!(manager.enqueue_all::<Task<u64>>([]));
            assert!(matches!(&poll!(nothing), Poll::Ready(none) if none.is_empty()));
            // The task ends at this very moment.
            sim.advance(millis(1)).await;
            let second = producer(2, seed % 2 == 0);
            first.await.unwrap();
            second.await.unwrap();
            assert_eq!(accepted.all(), [1, 2]);
            assert_eq!(sim.elapsed(), millis(10));
        });
    });
}

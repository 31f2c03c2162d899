//! Keys: a live task's key refuses a second one, and is free the moment the task ends.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use conveyor::{
    Backoff, CancelReply, Context, End, EnqueueError, Error, Manager, ManagerBuilder, Outcome,
    Retention, Task, TaskId,
};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(3).backoff(Backoff::fixed(secs(10)))
}

async fn assert_held(manager: &Manager, kind: &str, key: &str, by: TaskId) {
    let refused = manager.enqueue(task(kind, 0).key(key.to_owned())).await;
    let Err(EnqueueError::Duplicate { id, kind: of, key: held }) = refused else {
        panic!("{by} lives, but its key is free: {refused:?}");
    };
    assert_eq!((id, of.as_str(), held.as_str()), (Some(by), kind, key));
}

fn task(kind: &str, payload: u32) -> Task<u32> {
    Task::new(kind.to_owned(), payload)
}

/// Takes as many seconds as its payload says.
async fn sleeps(seconds: u32, ctx: Context) {
    ctx.sleep(secs(seconds.into())).await;
}

#[test]
fn a_live_key_is_refused_with_the_id_of_the_live_task() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .register(consumer("a", sleeps, |_| {}))
                .register(consumer("b", sleeps, |_| {}))
                .build()
                .unwrap();
            let first = manager.enqueue(task("a", 5).key("k")).await.unwrap();
            assert_held(&manager, "a", "k", first.id()).await;
            let other_kind = manager.enqueue(task("b", 5).key("k")).await.unwrap();
            manager.enqueue(task("a", 1).key("k2")).await.unwrap();
            manager.enqueue(task("a", 1)).await.unwrap();
            manager.enqueue(task("a", 1)).await.unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(4)).await;
            assert_held(&manager, "a", "k", first.id()).await;
            assert_held(&manager, "b", "k", other_kind.id()).await;
            let many = manager.enqueue_all((0..3).map(|_| task("a", 1).key("many"))).await;
            let id = Some(many[0].as_ref().unwrap().id());
            for refused in &many[1..] {
                assert!(
                    matches!(refused, Err(EnqueueError::Duplicate { id: by, .. }) if *by == id),
                    "{refused:?}"
                );
            }
            assert_eq!(first.wait().await, Ok(End::Succeeded));
            assert_eq!(manager.metrics().duplicates, 5);
            assert_eq!(manager.metrics().queue("default").duplicates, 5);
            assert_eq!(manager.metrics().kind("b").duplicates, 1);
        });
    });
}

/// Ends as its payload says.
async fn ends(how: u32, ctx: Context) -> Result<Outcome, Error> {
    match how {
        0 => Ok(Outcome::success()),
        1 => Err(Error::fatal("no")),
        2 => Ok(Outcome::cancel("no")),
        3 => {
            ctx.cancelled().await;
            Err("stopped".into())
        }
        4 => panic!("no"),
        _ => {
            ctx.sleep(secs(1_000)).await;
            Ok(Outcome::success())
        }
    }
}

#[test]
fn whoever_hears_of_the_end_finds_the_key_free() {
    for_seeds(0..30, |seed| {
        simulate(seed, |sim| async move {
            let manager = manager(&sim)
                .register(consumer("work", ends, |kind| {
                    kind.retry_on_panic(false).cancel_grace(secs(2));
                }))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            for how in [0, 1, 2, 3, 4, 5, 6].into_iter().cycle().take(21) {
                let mut new = task("work", how).key("k");
                if how == 6 {
                    new = new.timeout(secs(3));
                }
                if how >= 5 {
                    new = new.retries(0);
                }
                let receipt = manager.enqueue(new).await.unwrap();
                if matches!(how, 3 | 5) {
                    sim.advance(secs(1)).await;
                    assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Requested));
                    assert_held(&manager, "work", "k", receipt.id()).await;
                }
                let end = receipt.wait().await.unwrap();
                let succeeded = end == End::Succeeded;
                assert_eq!(succeeded, how == 0, "{how}: {end}");
                // At this very instant; the loop's next enqueue is the proof too.
                let again = manager.enqueue(task("work", 0).key("k")).await;
                assert!(again.is_ok(), "{how} ended, but holds its key: {again:?}");
                again.unwrap().wait().await.unwrap();
            }
            assert_eq!(manager.metrics().live(), 0);
        });
    });
}

#[test]
fn a_task_that_is_cancelled_before_it_starts_frees_its_key_at_once() {
    simulate(7, |sim| async move {
        let manager = manager(&sim).register(consumer("work", sleeps, |_| {})).build().unwrap();
        for delay in [0, 60] {
            let new = task("work", 0).key("k").delay(secs(delay));
            let receipt = manager.enqueue(new).await.unwrap();
            assert_held(&manager, "work", "k", receipt.id()).await;
            assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Cancelled));
        }
        manager.enqueue(task("work", 0).key("k")).await.unwrap();
    });
}

#[test]
fn a_key_is_held_through_delays_retries_and_snoozes() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handler = {
                let log = log.clone();
                move |_: u32, _: Context| {
                    log.push(());
                    let snoozes = log.len() % 2 == 0;
                    async move { if snoozes { Ok(Outcome::snooze(secs(10))) } else { Err("no") } }
                }
            };
            let manager = manager(&sim)
                .register(consumer("work", handler, |kind| _ = kind.retries(2)))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let new = task("work", 0).key("k").delay(secs(10));
            let receipt = manager.enqueue(new).await.unwrap();
            // Starts at 10, 20, 30, 40 and 50, where it fails for the last time.
            for second in 0..50 {
                assert_held(&manager, "work", "k", receipt.id()).await;
                assert_eq!(log.len(), second / 10, "after {second} s");
                sim.advance(Duration::from_millis(999)).await;
                assert_held(&manager, "work", "k", receipt.id()).await;
                sim.advance(Duration::from_millis(1)).await;
                sim.run_until_idle().await;
            }
            assert_eq!(log.len(), 5);
            assert_eq!(receipt.wait().await, Ok(End::Failed("no".to_owned())));
            manager.enqueue(task("work", 0).key("k")).await.unwrap();
            assert_eq!((manager.metrics().retried, manager.metrics().snoozed), (2, 2));
        });
    });
}

#[test]
fn a_worker_derives_the_key_unless_the_task_has_one() {
    simulate(7, |sim| async move {
        let manager = manager(&sim)
            .register(consumer("work", sleeps, |kind| _ = kind.key(|n: &u32| format!("n{n}"))))
            .register(consumer("bad", sleeps, |kind| _ = kind.key(|_: &u32| "x".repeat(9_000))))
            .build()
            .unwrap();
        let derived = manager.enqueue(task("work", 1)).await.unwrap();
        manager.enqueue(task("work", 2)).await.unwrap();
        assert_held(&manager, "work", "n1", derived.id()).await;
        // What the task says goes before what the worker derives.
        let own = manager.enqueue(task("work", 1).key("own")).await.unwrap();
        assert_held(&manager, "work", "own", own.id()).await;
        let refused = manager.enqueue(task("work", 1)).await;
        assert!(matches!(refused, Err(EnqueueError::Duplicate { .. })), "{refused:?}");
        let refused = manager.enqueue(task("bad", 1)).await;
        assert!(matches!(refused, Err(EnqueueError::Name(_))), "{refused:?}");
        manager.start().await.unwrap();
        assert_eq!(derived.wait().await, Ok(End::Succeeded));
        manager.enqueue(task("work", 1)).await.unwrap();
    });
}

/// What a task says of itself is no reason to leave out what its worker says.
#[test]
fn a_worker_derives_the_key_of_a_task_with_a_queue_and_a_priority_of_its_own() {
    simulate(7, |sim| async move {
        let manager = manager(&sim)
            .register(consumer("work", sleeps, |kind| _ = kind.key(|n: &u32| format!("n{n}"))))
            .build()
            .unwrap();
        let derived = manager.enqueue(task("work", 1).queue("own").priority(9)).await.unwrap();
        assert_held(&manager, "work", "n1", derived.id()).await;
    });
}

/// Of many that race for few keys, each key has one live task at any time, and none is stuck.
#[test]
fn a_key_never_has_two_live_tasks_whoever_races_for_it() {
    for_seeds(0..40, |seed| {
        simulate(seed, |sim| async move {
            let running = Log::new();
            let handler = {
                let running = running.clone();
                move |key: u32, ctx: Context| {
                    let running = running.clone();
                    async move {
                        running.push((key, 1));
                        ctx.sleep(Duration::from_millis(u64::from(key) * 7 % 5)).await;
                        running.push((key, -1));
                    }
                }
            };
            let manager =
                manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
            manager.start().await.unwrap();
            let accepted = Log::new();
            let producers: Vec<_> = (0..6)
                .map(|_| {
                    let (manager, sim) = (manager.clone(), sim.clone());
                    let accepted = accepted.clone();
                    let spawner = sim.clone();
                    spawner.spawn("producer", async move {
                        for _ in 0..20 {
                            let key = u32::try_from(sim.random() % 4).unwrap();
                            let new = task("work", key).key(key.to_string());
                            if let Ok(receipt) = manager.enqueue(new).await {
                                accepted.push(receipt.id());
                            }
                            sim.advance(Duration::from_millis(sim.random() % 4)).await;
                        }
                    })
                })
                .collect();
            for producer in producers {
                producer.await.unwrap();
            }
            sim.advance(secs(1)).await;
            for key in 0..4 {
                let mut now = 0;
                for (_, step) in running.all().into_iter().filter(|&(of, _)| of == key) {
                    now += step;
                    assert!((0..=1).contains(&now), "{now} tasks with the key {key}");
                }
                manager.enqueue(task("work", key).key(key.to_string())).await.unwrap();
            }
            let metrics = manager.metrics();
            assert_eq!(metrics.processed, accepted.len() as u64);
            assert_eq!(metrics.duplicates, 120 - accepted.len() as u64);
        });
    });
}

/// Counts the bytes that each thread holds; a simulation stays on its own.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // After the thread's end there is nothing to count for.
    _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: the system's allocator does everything; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn many_different_keys_leave_no_memory_behind() {
    const KEYS: u32 = 5_000;
    simulate(7, |sim| async move {
        let manager = manager(&sim)
            .retention(Retention { count: 100, age: secs(3_600) })
            .register(consumer("work", |_: u32, _: Context| async {}, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let mut held = Vec::new();
        for round in 0..4 {
            let keyed = |n: u32| task("work", n).key(format!("a key of some length: {round} {n}"));
            // In a stream, and all at once.
            for n in 0..KEYS {
                manager.enqueue(keyed(n)).await.unwrap().wait().await.unwrap();
            }
            let before = HELD.get();
            let receipts = manager.enqueue_all((0..KEYS).map(keyed)).await;
            assert!(HELD.get() - before > 100 * 5_000, "the allocator counts");
            for receipt in receipts {
                _ = receipt.unwrap().wait().await;
            }
            sim.run_until_idle().await;
            assert_eq!(manager.metrics().live(), 0);
            held.push(HELD.get());
        }
        // The first round warms up; what is kept is bounded by the retention.
        let grown = held[3] - held[0];
        assert!(grown < 64 * 1024, "{grown} bytes more after three rounds: {held:?}");
        assert!(held[3] < 4 * 1024 * 1024, "{held:?}");
    });
}

//! What the simulator promises, each promise with a test that fails if it is broken.
#![expect(clippy::unwrap_used, reason = "the functions that the tests share may fail a test too")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{self, Future};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use conveyor_core::runtime::{JoinError, StopSignal};
use conveyor_core::time::{Instant, Timestamp};
use conveyor_core::worker::panic_text;
use conveyor_testkit::{Sim, Simulation, for_seeds, simulate};

const SECOND: Duration = Duration::from_secs(1);

type Log<T> = Arc<Mutex<Vec<T>>>;

fn log<T>() -> Log<T> {
    Arc::default()
}

fn push<T>(log: &Log<T>, entry: T) {
    log.lock().unwrap().push(entry);
}

fn taken<T>(log: &Log<T>) -> Vec<T> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// Pending once: a step of its own.
async fn yield_now() {
    let mut yielded = false;
    future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the simulation that `run` starts panics with.
fn failure<T>(run: impl FnOnce() -> T) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(run)) else {
        panic!("the simulation did not fail")
    };
    panic_text(&*payload)
}

/// Says so when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

/// Tasks that yield, sleep by chance, spawn others and draw numbers: the log of all that.
fn bustle(seed: u64) -> (Vec<(u32, u64, u64)>, u64) {
    simulate(seed, |sim| async move {
        let entries = log();
        for id in 0..8 {
            let (sim, entries) = (sim.clone(), Arc::clone(&entries));
            sim.clone().spawn("busy", async move {
                for _ in 0..20 {
                    let drawn = sim.runtime().random();
                    push(&entries, (id, sim.now().as_nanos(), drawn));
                    match drawn % 3 {
                        0 => yield_now().await,
                        1 => sim.advance(Duration::from_millis(drawn % 5)).await,
                        _ => {
                            let entries = Arc::clone(&entries);
                            let child = sim.spawn("child", async move {
                                push(&entries, (100 + id, 0, 0));
                            });
                            child.await.unwrap();
                        }
                    }
                }
            });
        }
        sim.advance(SECOND).await;
        (taken(&entries), sim.fingerprint())
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (first, second) = (bustle(seed), bustle(seed));
        assert!(first.0.len() > 160, "{}", first.0.len());
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let runs: Vec<_> = (0..20).map(bustle).collect();
    let logs: BTreeSet<_> = runs.iter().map(|(log, _)| log).collect();
    let prints: BTreeSet<_> = runs.iter().map(|(_, print)| print).collect();
    assert_eq!((logs.len(), prints.len()), (20, 20));
}

#[test]
fn every_order_of_three_ready_tasks_comes_up() {
    let order = |seed| {
        simulate(seed, |sim| async move {
            let entries = log();
            for id in 0..3 {
                let entries = Arc::clone(&entries);
                sim.spawn("one", async move { push(&entries, id) });
            }
            sim.run_until_idle().await;
            (taken(&entries), sim.fingerprint())
        })
    };
    let runs: Vec<(Vec<i32>, u64)> = (0..100).map(order).collect();
    let orders: BTreeSet<_> = runs.iter().map(|(order, _)| order).collect();
    assert_eq!(orders.len(), 6, "{orders:?}");
    let prints: BTreeSet<_> = runs.iter().map(|(_, print)| print).collect();
    assert_eq!(prints.len(), 6, "the fingerprint tells orders apart, and nothing else");
}

#[test]
fn the_fingerprint_tells_two_ways_of_one_seed_apart() {
    let print = |steps| {
        simulate(1, |sim| async move {
            for _ in 0..steps {
                yield_now().await;
            }
            sim.fingerprint()
        })
    };
    assert_eq!(print(3), print(3));
    assert_ne!(print(3), print(4));
}

#[test]
fn timers_are_never_early_and_come_in_order() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let woken: Log<Instant> = log();
            for _ in 0..100 {
                let deadline = Instant::from_nanos(sim.random() % 1_000);
                let (sim, woken) = (sim.clone(), Arc::clone(&woken));
                sim.clone().spawn("sleeper", async move {
                    sim.runtime().sleep_until(deadline).await;
                    assert_eq!(sim.now(), deadline, "neither early nor late");
                    push(&woken, deadline);
                });
            }
            sim.advance(SECOND).await;
            let woken = taken(&woken);
            assert_eq!(woken.len(), 100);
            assert!(woken.is_sorted(), "{woken:?}");
            assert_eq!(sim.panics(), []);
        });
    });
}

#[test]
fn a_dropped_sleep_takes_its_timer_back() {
    simulate(0, |sim| async move {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = sim.runtime().sleep_until(sim.now() + SECOND);
        assert_eq!(sim.live_timers(), 0, "set at the first poll");
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(sim.live_timers(), 1);
        drop(sleep);
        assert_eq!(sim.live_timers(), 0);
        sim.advance(2 * SECOND).await;
        assert_eq!(sim.live_timers(), 0);
    });
}

#[test]
fn a_sleep_that_moves_to_another_task_wakes_that_one() {
    simulate(0, |sim| async move {
        let mut sleep = sim.runtime().sleep_until(sim.now() + SECOND);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        sim.spawn("heir", sleep).await.unwrap();
        assert_eq!(sim.elapsed(), SECOND);
    });
}

#[test]
fn a_panic_is_told_by_the_handle_and_reaches_nobody_else() {
    simulate(0, |sim| async move {
        let other = sim.spawn("other", yield_now());
        let loud = sim.spawn("loud", async { panic!("no {}", 7) });
        assert_eq!(loud.await, Err(JoinError::Panicked("no 7".into())));
        assert_eq!(other.await, Ok(()));
        let panics = sim.panics();
        assert_eq!(panics.len(), 1);
        assert_eq!((panics[0].task, &*panics[0].text), ("loud", "no 7"));
        assert_eq!(sim.live_tasks(), 0);
    });
}

#[test]
fn an_abort_drops_the_task_where_it_waits() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let dropped = Arc::new(AtomicBool::new(false));
            let held = Dropped(Arc::clone(&dropped));
            let mut handle = sim.spawn("waits", async move {
                let _held = held;
                future::pending::<()>().await;
            });
            sim.run_until_idle().await;
            handle.abort();
            assert!(!dropped.load(Ordering::Relaxed), "not within the caller's step");
            assert_eq!((&mut handle).await, Err(JoinError::Aborted));
            assert!(dropped.load(Ordering::Relaxed));
            assert_eq!(handle.await, Err(JoinError::Aborted), "as often as asked");
        });
    });
}

#[test]
fn an_abort_before_the_first_step_keeps_work_from_starting() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let ran = Arc::new(AtomicBool::new(false));
            let flag = Dropped(Arc::clone(&ran));
            let work = sim.runtime().spawn_blocking(Box::new(move || {
                std::mem::forget(flag);
                panic!("it ran");
            }));
            work.abort();
            assert_eq!(work.await, Err(JoinError::Aborted));
            assert!(ran.load(Ordering::Relaxed), "the work was dropped");
        });
    });
}

#[test]
fn an_abort_of_a_task_that_is_done_does_nothing() {
    simulate(0, |sim| async move {
        let handle = sim.spawn("done", async {});
        sim.run_until_idle().await;
        handle.abort();
        sim.run_until_idle().await;
        assert_eq!(handle.await, Ok(()));
    });
}

#[test]
fn a_panic_in_the_drop_of_an_aborted_task_is_told() {
    simulate(0, |sim| async move {
        let handle = sim.spawn("bomb", async {
            let _bomb = Bomb;
            future::pending::<()>().await;
        });
        sim.run_until_idle().await;
        handle.abort();
        assert_eq!(handle.await, Err(JoinError::Panicked("bomb".into())));
        assert_eq!(sim.live_tasks(), 0);
    });
}

#[test]
fn a_dropped_handle_lets_its_task_run_on() {
    simulate(0, |sim| async move {
        let ran = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ran);
        drop(sim.spawn("detached", async move {
            yield_now().await;
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        sim.run_until_idle().await;
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        assert_eq!((sim.spawned(), sim.live_tasks()), (1, 0));
    });
}

#[test]
fn blocking_work_runs_and_its_panic_is_told() {
    simulate(0, |sim| async move {
        let ran = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ran);
        let runtime = sim.runtime();
        let work = runtime.spawn_blocking(Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(work.await, Ok(()));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        let work = runtime.spawn_blocking(Box::new(|| panic!("disk")));
        assert_eq!(work.await, Err(JoinError::Panicked("disk".into())));
    });
}

#[test]
fn idle_means_that_nothing_is_ready_at_this_instant() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let steps = Arc::new(AtomicU32::new(0));
            for _ in 0..3 {
                let (sim, steps) = (sim.clone(), Arc::clone(&steps));
                sim.clone().spawn("works", async move {
                    for _ in 0..5 {
                        yield_now().await;
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                    sim.advance(SECOND).await;
                    steps.fetch_add(100, Ordering::Relaxed);
                });
            }
            sim.run_until_idle().await;
            assert_eq!(steps.load(Ordering::Relaxed), 15, "all of this instant");
            assert_eq!(sim.elapsed(), Duration::ZERO, "and nothing of the next");
            sim.advance(SECOND).await;
            sim.run_until_idle().await;
            assert_eq!(steps.load(Ordering::Relaxed), 315);
        });
    });
}

#[test]
fn a_wake_up_for_something_else_does_not_end_the_wait_for_idle() {
    simulate(0, |sim| async move {
        let worker = sim.spawn("works", async {
            for _ in 0..10 {
                yield_now().await;
            }
        });
        let mut idle = pin!(sim.run_until_idle());
        // The root is woken all along, by itself.
        let mut polls = 0;
        future::poll_fn(|cx| {
            polls += 1;
            if polls < 5 {
                cx.waker().wake_by_ref();
            }
            idle.as_mut().poll(cx)
        })
        .await;
        assert!(polls > 5, "{polls} polls");
        assert_eq!(sim.live_tasks(), 0);
        worker.await.unwrap();
    });
}

#[test]
fn a_deadlock_names_the_seed_and_the_tasks_that_wait() {
    let text = failure(|| {
        simulate(42, |sim| async move {
            sim.spawn("consumer", {
                let sim = sim.clone();
                async move {
                    sim.advance(5 * SECOND).await;
                    future::pending::<()>().await;
                }
            });
            // A timer that never comes is no way out either.
            sim.runtime().sleep_until(Instant::FAR_FUTURE).await;
        });
    });
    assert!(text.starts_with("seed 42: deadlock after 5s"), "{text}");
    assert!(text.contains("\n  root (task 0) waits, polled 5s ago"), "{text}");
    assert!(text.contains("\n  consumer (task 1) waits, polled 0ns ago"), "{text}");
}

#[test]
fn a_livelock_names_the_seed_and_the_task_that_spins() {
    let spins = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&spins);
    let text = failure(|| {
        Simulation::new(43).max_steps(1_000).run(|sim| async move {
            sim.spawn("spins", async move {
                loop {
                    counted.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            });
            future::pending::<()>().await;
        });
    });
    assert!(text.starts_with("seed 43: the limit of 1000 steps was passed"), "{text}");
    assert!(text.contains("by spins (task 1)"), "{text}");
    assert_eq!(spins.load(Ordering::Relaxed), 999, "one step was the root's");
}

#[test]
fn endless_timers_end_at_the_limit_of_virtual_time() {
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ticks);
    let text = failure(|| {
        Simulation::new(44).max_time(60 * SECOND).run(|sim| async move {
            sim.spawn("ticks", {
                let sim = sim.clone();
                async move {
                    loop {
                        sim.advance(SECOND).await;
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            future::pending::<()>().await;
        });
    });
    assert!(text.starts_with("seed 44: the next timer lies beyond the limit of 60s"), "{text}");
    assert!(text.contains("ticks (task 1)"), "{text}");
    assert_eq!(ticks.load(Ordering::Relaxed), 60);
}

#[test]
fn the_roots_own_panic_goes_on_after_the_rest_was_dropped() {
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Dropped(Arc::clone(&dropped));
    let text = failure(|| {
        simulate(0, |sim| async move {
            sim.spawn("left", async move {
                let _held = held;
                future::pending::<()>().await;
            });
            sim.run_until_idle().await;
            panic!("wrong");
        });
    });
    assert_eq!(text, "wrong");
    assert!(dropped.load(Ordering::Relaxed));
}

#[test]
fn tasks_that_are_left_are_dropped_and_their_panics_reported() {
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Dropped(Arc::clone(&dropped));
    simulate(0, |sim| async move {
        sim.spawn("left", async move {
            let _held = held;
            future::pending::<()>().await;
        });
    });
    assert!(dropped.load(Ordering::Relaxed));

    let text = failure(|| {
        simulate(45, |sim| async move {
            let bomb = Bomb;
            sim.spawn("left", async move {
                let _bomb = bomb;
                future::pending::<()>().await;
            });
        });
    });
    assert!(text.starts_with("seed 45: ") && text.ends_with("\n  left: bomb"), "{text}");
}

#[test]
fn what_is_spawned_after_the_end_is_dropped_as_aborted() {
    let (sim, handle) =
        simulate(0, |sim| async move { (sim.clone(), sim.spawn("left", yield_now())) });
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Dropped(Arc::clone(&dropped));
    let late = sim.spawn("late", async move { drop(held) });
    assert!(dropped.load(Ordering::Relaxed));
    let mut cx = Context::from_waker(Waker::noop());
    for handle in [handle, late] {
        let joined = pin!(handle).poll(&mut cx);
        assert_eq!(joined, Poll::Ready(Err(JoinError::Aborted)));
    }
}

#[test]
fn a_stop_signal_reaches_those_who_listened_before_it() {
    simulate(0, |sim| async move {
        let heard = log();
        let listen = |sim: &Sim| {
            let (signal, heard) = (sim.runtime().stop_signal(), Arc::clone(&heard));
            sim.spawn("listens", async move { push(&heard, signal.await.unwrap()) });
        };
        listen(&sim);
        listen(&sim);
        sim.send_stop(StopSignal::Terminate);
        listen(&sim);
        sim.run_until_idle().await;
        assert_eq!(taken(&heard), [StopSignal::Terminate; 2]);
        sim.send_stop(StopSignal::Interrupt);
        sim.run_until_idle().await;
        assert_eq!(taken(&heard), [StopSignal::Interrupt]);
    });
}

#[test]
fn wall_jumps_leave_timers_alone() {
    Simulation::new(0).wall(Timestamp::from_secs(1_000)).run(|sim| async move {
        let hour = 3_600 * SECOND;
        let (before, start) = (sim.now(), sim.wall());
        assert_eq!(start, Timestamp::from_secs(1_000));
        let mut sleep = sim.runtime().sleep_until(before + SECOND);
        sim.jump_wall_ahead(hour);
        assert_eq!(sim.wall(), start + hour);
        sleep.as_mut().await;
        assert_eq!(sim.now(), before + SECOND);
        sim.jump_wall_back(2 * hour);
        assert_eq!(sim.wall(), start + SECOND - hour);
        sim.set_wall(Timestamp::UNIX_EPOCH);
        sim.advance(SECOND).await;
        assert_eq!(sim.clock().wall(), Timestamp::from_secs(1));
    });
}

#[test]
fn the_root_may_borrow_and_need_not_be_send() {
    let count = Cell::new(0);
    simulate(0, |sim| {
        let count = &count;
        async move {
            sim.run_until_idle().await;
            count.set(count.get() + 1);
        }
    });
    assert_eq!(count.get(), 1);
}

#[test]
fn the_tests_numbers_are_not_taken_from_the_codes() {
    let run = |draws| {
        simulate(9, |sim| async move {
            let drawn: Vec<_> = (0..draws).map(|_| sim.random()).collect();
            (drawn, sim.runtime().random())
        })
    };
    let ((none, of_code), (two, same)) = (run(0), run(2));
    assert_eq!((none.len(), of_code), (0, same));
    assert!(two[0] != two[1] && two[0] != same, "{two:?}");
}

#[test]
fn a_waker_may_be_called_from_another_thread() {
    struct Flag(Arc<Mutex<(bool, Option<Waker>)>>);
    impl Future for Flag {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap();
            state.1 = Some(cx.waker().clone());
            if state.0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    simulate(0, |sim| async move {
        let state = Arc::new(Mutex::new((false, None)));
        let task = sim.spawn("waits", Flag(Arc::clone(&state)));
        sim.run_until_idle().await;
        let waker = {
            let mut state = state.lock().unwrap();
            state.0 = true;
            state.1.take().unwrap()
        };
        std::thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        })
        .join()
        .unwrap();
        assert_eq!(task.await, Ok(()));
    });
}

#[test]
fn a_million_timers_take_seconds_at_the_most() {
    let began = std::time::Instant::now();
    let steps = simulate(0, |sim| async move {
        for _ in 0..1_000 {
            let sim = sim.clone();
            sim.clone().spawn("sleeps", async move {
                for _ in 0..1_000 {
                    let pause = sim.runtime().random() % 1_000_000;
                    sim.advance(Duration::from_micros(1 + pause)).await;
                }
            });
        }
        sim.advance(2_000 * SECOND).await;
        assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0));
        sim.steps()
    });
    assert!(steps >= 1_001_000, "{steps}");
    let took = began.elapsed();
    println!("{steps} steps in {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

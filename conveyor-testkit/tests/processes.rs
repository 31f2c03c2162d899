//! What the simulator promises of processes, each promise with a test that fails if it is broken.
#![expect(clippy::unwrap_used, reason = "the functions that the tests share may fail a test too")]

use std::future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor_core::runtime::{JoinError, JoinHandle, StopSignal};
use conveyor_core::time::Timestamp;
use conveyor_core::worker::panic_text;
use conveyor_testkit::{Process, Sim, for_seeds, simulate};

const SECOND: Duration = Duration::from_secs(1);

type Log<T> = Arc<Mutex<Vec<T>>>;

fn push<T>(log: &Log<T>, entry: T) {
    log.lock().unwrap().push(entry);
}

fn all<T: Clone>(log: &Log<T>) -> Vec<T> {
    log.lock().unwrap().clone()
}

/// Writes down that it was dropped.
struct Guard(Log<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        push(&self.0, "dropped");
    }
}

/// Writes down every second that passes for the process.
fn tick(process: &Process, log: &Log<u64>) -> JoinHandle {
    let (runtime, log) = (process.runtime(), Arc::clone(log));
    process.runtime().spawn(
        "ticker",
        Box::pin(async move {
            loop {
                runtime.sleep_until(runtime.now() + SECOND).await;
                push(&log, runtime.now().as_nanos() / 1_000_000_000);
            }
        }),
    )
}

#[test]
fn a_crash_takes_tasks_and_timers_and_drops_nothing() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (dead, other) = (sim.process("dead"), sim.process("other"));
            let (log, ticks) = (Log::default(), Log::default());
            let guard = Guard(Arc::clone(&log));
            let runtime = dead.runtime();
            let sleeps = dead.runtime().spawn_dedicated(
                "sleeps",
                Box::pin(async move {
                    let _guard = guard;
                    runtime.sleep_until(runtime.now() + SECOND * 10).await;
                }),
            );
            let guard = Guard(Arc::clone(&log));
            let by_test_s_clock = sim.clone();
            let waits = dead.runtime().spawn(
                "waits for the simulation",
                Box::pin(async move {
                    let _guard = guard;
                    by_test_s_clock.advance(SECOND * 10).await;
                }),
            );
            let ticker = tick(&other, &ticks);
            sim.advance(SECOND * 2).await;
            sim.run_until_idle().await;
            // This one is ready, and never had its turn.
            let guard = Guard(Arc::clone(&log));
            let ready = dead.runtime().spawn_blocking(Box::new(move || drop(guard)));
            dead.crash();
            dead.crash();
            assert!(dead.has_crashed());
            assert_eq!((sim.live_tasks(), sim.live_timers()), (1, 1), "only the other's are left");
            for handle in [sleeps, waits, ready] {
                handle.abort();
                assert_eq!(handle.await, Err(JoinError::Aborted));
            }
            let guard = Guard(Arc::clone(&log));
            let late = dead.runtime().spawn("late", Box::pin(async move { drop(guard) }));
            assert_eq!(late.await, Err(JoinError::Aborted));
            dead.pause();
            dead.resume();
            sim.advance(SECOND * 20).await;
            sim.run_until_idle().await;
            assert_eq!(all(&log), Vec::<&str>::new());
            assert_eq!(all(&ticks), (1..=22).collect::<Vec<_>>());
            drop(ticker);
        });
    });
}

#[test]
fn a_task_can_kill_its_own_process_and_goes_no_further() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let process = sim.process("suicide");
            let (log, ticks) = (Log::default(), Log::default());
            drop(tick(&process, &ticks));
            let (own, guard) = (process.clone(), Guard(Arc::clone(&log)));
            let dies = process.runtime().spawn(
                "dies",
                Box::pin(async move {
                    let _guard = guard;
                    own.die().await;
                }),
            );
            // Even one that has nothing more to wait for has not ended well.
            let second = sim.process("second");
            let (own, guard) = (second.clone(), Guard(Arc::clone(&log)));
            let returns = second.runtime().spawn(
                "returns",
                Box::pin(future::poll_fn(move |_| {
                    let _guard = &guard;
                    own.crash();
                    std::task::Poll::Ready(())
                })),
            );
            assert_eq!(dies.await, Err(JoinError::Aborted));
            assert_eq!(returns.await, Err(JoinError::Aborted));
            sim.advance(SECOND * 5).await;
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0));
            assert_eq!((all(&log), all(&ticks)), (Vec::new(), Vec::new()));
        });
    });
}

#[test]
fn a_paused_process_is_not_run_and_its_timers_fire_late() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let (paused, other) = (sim.process("paused"), sim.process("other"));
            let (theirs, others) = (Log::default(), Log::default());
            let tickers = [tick(&paused, &theirs), tick(&other, &others)];
            sim.advance(SECOND * 2).await;
            sim.run_until_idle().await;
            // Woken before the pause, and not yet run.
            let ran = Log::default();
            let log = Arc::clone(&ran);
            let ready = paused.runtime().spawn("ready", Box::pin(async move { push(&log, ()) }));
            paused.pause();
            assert!(paused.is_paused());
            sim.run_until_idle().await;
            sim.advance(SECOND * 10).await;
            sim.run_until_idle().await;
            assert_eq!((all(&theirs), all(&ran).len()), (vec![1, 2], 0));
            assert_eq!(all(&others).len(), 12);
            assert!(sim.describe_tasks().contains("process is paused"), "{}", sim.describe_tasks());
            paused.resume();
            ready.await.unwrap();
            sim.advance(SECOND * 2).await;
            sim.run_until_idle().await;
            assert_eq!(all(&theirs), [1, 2, 12, 13, 14]);
            tickers.iter().for_each(JoinHandle::abort);
        });
    });
}

#[test]
fn a_paused_process_can_be_killed() {
    simulate(1, |sim| async move {
        let process = sim.process("paused");
        let ticks = Log::default();
        let ticker = tick(&process, &ticks);
        process.pause();
        sim.advance(SECOND).await;
        process.crash();
        process.resume();
        assert_eq!(ticker.await, Err(JoinError::Aborted));
        sim.advance(SECOND * 3).await;
        assert_eq!((all(&ticks), sim.live_tasks()), (Vec::new(), 0));
    });
}

#[test]
fn a_process_has_a_wall_clock_of_its_own() {
    simulate(1, |sim| async move {
        let (ahead, back) = (sim.process("ahead"), sim.process("back"));
        ahead.skew_wall_ahead(SECOND * 60);
        back.skew_wall_back(SECOND * 60);
        sim.advance(SECOND).await;
        let wall = sim.wall();
        assert_eq!(ahead.runtime().wall(), wall + SECOND * 60);
        assert_eq!(back.clock().wall(), wall - SECOND * 60);
        assert_eq!((ahead.runtime().now(), back.runtime().now()), (sim.now(), sim.now()));
        sim.set_wall(Timestamp::UNIX_EPOCH);
        assert_eq!(ahead.runtime().wall(), Timestamp::UNIX_EPOCH + SECOND * 60);
        ahead.skew_wall_ahead(Duration::ZERO);
        assert_eq!(ahead.runtime().wall(), Timestamp::UNIX_EPOCH);
    });
}

#[test]
fn a_signal_goes_to_one_process() {
    simulate(1, |sim| async move {
        let heard = Log::default();
        let processes = [sim.process("first"), sim.process("second")];
        for process in &processes {
            let (heard, name) = (Arc::clone(&heard), process.name());
            let signal = process.runtime().stop_signal();
            let listen = async move { push(&heard, (name, signal.await.unwrap())) };
            drop(process.runtime().spawn("listens", Box::pin(listen)));
        }
        sim.send_stop(StopSignal::Terminate);
        processes[1].send_stop(StopSignal::Interrupt);
        sim.run_until_idle().await;
        assert_eq!(all(&heard), [("second", StopSignal::Interrupt)]);
    });
}

fn failure(run: impl FnOnce()) -> String {
    panic_text(&*catch_unwind(AssertUnwindSafe(run)).expect_err("the simulation failed"))
}

#[test]
fn a_deadlock_names_the_processes_that_are_paused() {
    let text = failure(|| {
        simulate(9, |sim| async move {
            let process = sim.process("sleepy");
            let work = process.runtime().spawn("work", Box::pin(async {}));
            process.pause();
            work.await.unwrap();
        });
    });
    assert!(text.contains("seed 9: deadlock"), "{text}");
    assert!(text.contains("the process sleepy is paused"), "{text}");
    assert!(text.contains("work (task 1 of sleepy) would be ready, but its process"), "{text}");
}

#[test]
fn what_is_paused_at_the_end_is_dropped() {
    let log = Log::default();
    simulate(1, |sim| {
        let log = Arc::clone(&log);
        async move {
            let process = sim.process("paused");
            process.pause();
            let guard = Guard(log);
            drop(process.runtime().spawn("held", Box::pin(async move { drop(guard) })));
        }
    });
    assert_eq!(all(&log), ["dropped"]);
    assert_eq!(Arc::strong_count(&log), 1);
}

/// Processes that tick, draw, are paused, resumed, killed and restarted by chance.
fn bustle(seed: u64) -> (Vec<(usize, u64, u64)>, u64) {
    simulate(seed, |sim| async move {
        let log = Log::default();
        let start = |sim: &Sim, number: usize| {
            let process = sim.process("worker");
            for _ in 0..3 {
                let (runtime, log) = (process.runtime(), Arc::clone(&log));
                let work = async move {
                    loop {
                        let drawn = runtime.random();
                        push(&log, (number, runtime.now().as_nanos(), drawn));
                        let time = Duration::from_millis(100 + drawn % 3 * 100);
                        runtime.sleep_until(runtime.now() + time).await;
                    }
                };
                drop(process.runtime().spawn("work", Box::pin(work)));
            }
            process
        };
        let mut processes: Vec<_> = (0..4).map(|number| start(&sim, number)).collect();
        for _ in 0..40 {
            let number = (sim.random() % 4) as usize;
            match sim.random() % 3 {
                0 => processes[number].pause(),
                1 => processes[number].resume(),
                _ => {
                    processes[number].crash();
                    processes[number] = start(&sim, number);
                }
            }
            sim.advance(Duration::from_millis(sim.random() % 400)).await;
        }
        (all(&log), sim.fingerprint())
    })
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let mut prints = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (first, second) = (bustle(seed), bustle(seed));
        assert!(first.0.len() > 100, "{}", first.0.len());
        assert_eq!(first, second, "seed {seed}");
        prints.insert(first.1);
    }
    assert_eq!(prints.len(), 20);
}

//! Timeouts: the handler is told at the deadline, and dropped at the end of its grace, not before.
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

use std::sync::mpsc;
use std::time::Duration;

use conveyor::{Backoff, Cancelled, Context, Definition, End, Manager, ManagerBuilder, Task};
use conveyor_core::time::Instant;
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Defined, Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(4).backoff(Backoff::fixed(secs(10)))
}

fn failed(why: &str) -> End {
    End::Failed(why.to_owned())
}

/// Notes when it is dropped.
struct Dropped(Sim, Log<Duration>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.push(self.0.elapsed());
    }
}

#[test]
fn a_handler_that_ignores_its_timeout_is_dropped_at_the_end_of_its_grace() {
    for (timeout, grace) in [(5, 0), (5, 3), (60, 600)] {
        for_seeds(0..5, |seed| {
            simulate(seed, |sim| async move {
                let (told, dropped) = (Log::new(), Log::new());
                let handler = {
                    let (sim, told, dropped) = (sim.clone(), told.clone(), dropped.clone());
                    move |(): (), ctx: Context| {
                        let _dropped = Dropped(sim.clone(), dropped.clone());
                        let (sim, told) = (sim.clone(), told.clone());
                        async move {
                            let _dropped = _dropped;
                            assert_eq!(ctx.cancelled().await, Cancelled::Timeout);
                            told.push(sim.elapsed());
                            std::future::pending::<()>().await;
                        }
                    }
                };
                let settings = move |kind: &mut KindDefinition| {
                    kind.retries(1).timeout(secs(timeout)).cancel_grace(secs(grace));
                };
                let manager =
                    manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
                manager.start().await.unwrap();
                let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
                let why = format!("the attempt took longer than its timeout of {timeout}s");
                assert_eq!(receipt.wait().await, Ok(failed(&why)));
                let (first, second) = (timeout + grace, timeout + grace + 10);
                assert_eq!(dropped.all(), [secs(first), secs(second + timeout + grace)]);
                if grace > 0 {
                    assert_eq!(told.all(), [secs(timeout), secs(second + timeout)]);
                }
                let metrics = manager.metrics();
                assert_eq!((metrics.timed_out, metrics.retried, metrics.failed), (2, 1, 1));
                assert_eq!(metrics.panicked, 0);
            });
        });
    }
}

#[test]
fn a_handler_that_returns_within_its_grace_ends_as_it_says() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handler = {
                let (log, sim) = (log.clone(), sim.clone());
                move |says: u8, ctx: Context| {
                    let (log, sim) = (log.clone(), sim.clone());
                    async move {
                        assert_eq!(ctx.cancelled().await, Cancelled::Timeout);
                        assert!(ctx.is_cancelled());
                        assert_eq!(ctx.time_left(), Some(Duration::ZERO));
                        // Just in time: the grace is one second.
                        ctx.sleep(Duration::from_millis(999)).await;
                        log.push(sim.elapsed());
                        match says {
                            0 => Ok(conveyor::Outcome::success()),
                            1 => Ok(conveyor::Outcome::cancel("late")),
                            _ => Err("its own error"),
                        }
                    }
                }
            };
            let settings = |kind: &mut KindDefinition| _ = kind.retries(0).timeout(secs(5));
            let manager =
                manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
            manager.start().await.unwrap();
            let tasks = (0..3u8).map(|says| Task::new("work", says));
            let mut ends = Vec::new();
            for receipt in manager.enqueue_all(tasks).await {
                ends.push(receipt.unwrap().wait().await.unwrap());
            }
            let late = End::Cancelled("late".to_owned());
            assert_eq!(ends, [End::Succeeded, late, failed("its own error")]);
            assert_eq!(log.all(), [Duration::from_millis(5_999); 3]);
            assert_eq!(manager.metrics().timed_out, 3);
        });
    });
}

#[test]
fn a_handler_that_is_done_at_its_deadline_did_not_outlast_it() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let handler = |(): (), ctx: Context| async move { ctx.sleep(secs(5)).await };
            let settings = |kind: &mut KindDefinition| _ = kind.retries(0).timeout(secs(5));
            let manager =
                manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
            assert_eq!(manager.metrics().timed_out, 0);
        });
    });
}

#[test]
fn a_tasks_timeout_beats_its_workers_and_that_the_default() {
    for default in [None, Some(30)] {
        for worker in [None, Some(20)] {
            for of_task in [None, Some(40)] {
                let expected = of_task.or(worker).or(default).map(secs);
                simulate(7, |sim| async move {
                    let log = Log::new();
                    let handler = {
                        let (log, sim) = (log.clone(), sim.clone());
                        move |(): (), ctx: Context| {
                            log.push((ctx.time_left(), ctx.deadline().map(Instant::as_nanos)));
                            let sim = sim.clone();
                            async move {
                                let left = ctx.time_left();
                                sim.advance(secs(3)).await;
                                assert_eq!(ctx.time_left(), left.map(|left| left - secs(3)));
                            }
                        }
                    };
                    let settings = move |kind: &mut KindDefinition| {
                        if let Some(timeout) = worker {
                            kind.timeout(secs(timeout));
                        }
                    };
                    let mut builder = manager(&sim).register(consumer("work", handler, settings));
                    if let Some(timeout) = default {
                        builder = builder.timeout(secs(timeout));
                    }
                    let manager = builder.build().unwrap();
                    manager.start().await.unwrap();
                    sim.advance(secs(100)).await;
                    let mut task = Task::new("work", ());
                    if let Some(timeout) = of_task {
                        task = task.timeout(secs(timeout));
                    }
                    let receipt = manager.enqueue(task).await.unwrap();
                    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
                    let deadline = expected
                        .map(|timeout| u64::try_from((secs(100) + timeout).as_nanos()).unwrap());
                    assert_eq!(log.all(), [(expected, deadline)]);
                });
            }
        }
    }
}

#[test]
fn a_timeout_of_forever_is_no_overflow() {
    simulate(7, |sim| async move {
        let handler = |(): (), ctx: Context| async move { ctx.sleep(secs(3_600)).await };
        let settings =
            |kind: &mut KindDefinition| _ = kind.timeout(Duration::MAX).cancel_grace(Duration::MAX);
        let manager = manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    });
}

/// With and without a timeout the run is the same to the step, and no timer is set for it.
#[test]
fn a_handler_that_never_waits_costs_no_timer() {
    let run = |timeout: Option<Duration>| {
        simulate(7, |sim| async move {
            let timers = Log::new();
            let handler = {
                let (timers, sim) = (timers.clone(), sim.clone());
                move |(): (), _: Context| {
                    let (timers, sim) = (timers.clone(), sim.clone());
                    async move { timers.push(sim.live_timers()) }
                }
            };
            let mut builder = manager(&sim).register(consumer("work", handler, |_| {}));
            if let Some(timeout) = timeout {
                builder = builder.timeout(timeout);
            }
            let manager = builder.build().unwrap();
            manager.start().await.unwrap();
            let tasks = (0..1_000).map(|_| Task::new("work", ()));
            for receipt in manager.enqueue_all(tasks).await {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
            sim.advance(secs(600)).await;
            assert_eq!(sim.live_timers(), 0, "{}", sim.describe_tasks());
            (timers.all(), sim.steps(), sim.fingerprint())
        })
    };
    let (timers, steps, fingerprint) = run(None);
    assert_eq!(run(Some(secs(5))), (timers, steps, fingerprint));
}

#[test]
fn a_handler_that_waits_takes_its_timer_back() {
    simulate(7, |sim| async move {
        let handler = |(): (), ctx: Context| async move { ctx.sleep(secs(1)).await };
        let manager = manager(&sim)
            .timeout(secs(1_000))
            .register(consumer("work", handler, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        sim.run_until_idle().await;
        // The handler's own, its deadline's, and the lease's.
        assert_eq!(sim.live_timers(), 3, "{}", sim.describe_tasks());
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        sim.advance(secs(100)).await;
        assert_eq!(sim.live_timers(), 0, "{}", sim.describe_tasks());
    });
}

#[test]
fn a_request_to_cancel_before_the_deadline_is_no_timeout() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (told, dropped) = (Log::new(), Log::new());
            let handler = {
                let (sim, told, dropped) = (sim.clone(), told.clone(), dropped.clone());
                move |(): (), ctx: Context| {
                    let dropped = Dropped(sim.clone(), dropped.clone());
                    let told = told.clone();
                    async move {
                        let _dropped = dropped;
                        told.push(ctx.cancelled().await);
                        std::future::pending::<()>().await;
                    }
                }
            };
            // The deadline falls into the grace of the request.
            let settings =
                |kind: &mut KindDefinition| _ = kind.timeout(secs(5)).cancel_grace(secs(3));
            let manager =
                manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            sim.advance(secs(4)).await;
            manager.cancel(receipt.id()).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Cancelled("cancelled on request".to_owned())));
            assert_eq!(told.all(), [Cancelled::Requested]);
            assert_eq!(dropped.all(), [secs(7)]);
            let metrics = manager.metrics();
            assert_eq!((metrics.timed_out, metrics.cancelled, metrics.retried), (0, 1, 0));
        });
    });
}

#[test]
fn a_request_to_cancel_after_the_deadline_keeps_the_task_from_a_retry() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let dropped = Log::new();
            let handler = {
                let (sim, dropped) = (sim.clone(), dropped.clone());
                move |(): (), ctx: Context| {
                    let dropped = Dropped(sim.clone(), dropped.clone());
                    async move {
                        let _dropped = dropped;
                        assert_eq!(ctx.cancelled().await, Cancelled::Timeout);
                        std::future::pending::<()>().await;
                    }
                }
            };
            let settings =
                |kind: &mut KindDefinition| _ = kind.timeout(secs(5)).cancel_grace(secs(3));
            let manager =
                manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            sim.advance(secs(6)).await;
            manager.cancel(receipt.id()).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Cancelled("cancelled on request".to_owned())));
            assert_eq!((dropped.all(), sim.elapsed()), (vec![secs(8)], secs(8)));
            let metrics = manager.metrics();
            assert_eq!((metrics.timed_out, metrics.cancelled, metrics.retried), (1, 1, 0));
        });
    });
}

#[test]
fn a_timeout_touches_no_other_task() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let handler = |n: u64, ctx: Context| async move { ctx.sleep(secs(n)).await };
            let manager = manager(&sim)
                .retries(0)
                .timeout(secs(10))
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipts =
                manager.enqueue_all([100, 9, 100, 9, 9, 100].map(|n| Task::new("work", n))).await;
            let mut ends = Vec::new();
            for receipt in receipts {
                ends.push(receipt.unwrap().wait().await.unwrap().is_success());
            }
            assert_eq!(ends, [false, true, false, true, true, false]);
            assert_eq!(manager.metrics().timed_out, 3);
        });
    });
}

/// Blocking the thread is a handler's fault, but others' tasks go on: by the runtime's other
/// threads, and by the lease keeper.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_stop_others() {
    let (release, released) = mpsc::channel::<()>();
    let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    let blocks = move |(): (), _: Context| {
        let (released, started) = (released.clone(), started.clone());
        async move {
            started.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
        }
    };
    let handler = |(): (), ctx: Context| async move { ctx.sleep(Duration::from_millis(1)).await };
    let manager = Manager::builder()
        .consumers(4)
        .register(consumer("blocks", blocks, |_| {}))
        .register(consumer("work", handler, |_| {}))
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let blocked = manager.enqueue(Task::new("blocks", ())).await.unwrap();
    has_started.recv().await.unwrap();
    for receipt in manager.enqueue_all((0..100).map(|_| Task::new("work", ()))).await {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
    }
    assert_eq!(manager.metrics().kind("blocks").active, 1);
    release.send(()).unwrap();
    assert_eq!(blocked.wait().await, Ok(End::Succeeded));
}

fn blocking(definition: &mut Definition) {
    definition
        .consume("blocking", |n: u32, ctx: Context| async move {
            let here = std::thread::current().id();
            let (twice, there) =
                ctx.spawn_blocking(move || (2 * n, std::thread::current().id())).await;
            if n == 13 {
                ctx.spawn_blocking(|| panic!("unlucky")).await;
            }
            if twice == 2 * n {
                Ok(())
            } else {
                Err(format!("{twice} from {there:?}, not {here:?}"))
            }
        })
        .retries(0);
}

async fn run_blocking(manager: &Manager) {
    manager.start().await.unwrap();
    let tasks = (10..16u32).map(|n| Task::new("blocking", n));
    for (n, receipt) in (10..).zip(manager.enqueue_all(tasks).await) {
        let expected = if n == 13 { failed("panicked: unlucky") } else { End::Succeeded };
        assert_eq!(receipt.unwrap().wait().await, Ok(expected), "{n}");
    }
    assert_eq!(manager.metrics().panicked, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_work_gives_its_value_and_its_panic_is_the_attempts_on_tokio() {
    run_blocking(&Manager::builder().register(Defined(blocking)).build().unwrap()).await;
}

#[test]
fn blocking_work_gives_its_value_and_its_panic_is_the_attempts_on_the_simulator() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            run_blocking(&manager(&sim).register(Defined(blocking)).build().unwrap()).await;
        });
    });
}

/// Blocking work that takes too long is left to its thread; the attempt times out all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_times_out_while_its_blocking_work_goes_on() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    let handler = move |(): (), ctx: Context| {
        let released = released.clone();
        async move {
            ctx.spawn_blocking(move || released.lock().unwrap().recv().is_ok()).await;
        }
    };
    let settings = |kind: &mut KindDefinition| {
        kind.retries(0).timeout(Duration::from_millis(1)).cancel_grace(Duration::ZERO);
    };
    let manager = Manager::builder().register(consumer("work", handler, settings)).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
    let why = "the attempt took longer than its timeout of 1ms";
    assert_eq!(receipt.wait().await, Ok(failed(why)));
    release.send(()).unwrap();
}

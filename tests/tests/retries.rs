//! Retries: how many attempts a task gets, when, and what costs none of them.
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use conveyor::{
    Backoff, CancelReply, Context, End, EnqueueError, Error, Manager, ManagerBuilder, Outcome,
    Task, TaskState,
};
use conveyor_core::retry::Jitter;
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(2).backoff(Backoff::fixed(secs(1)))
}

fn failed(why: &str) -> End {
    End::Failed(why.to_owned())
}

#[test]
fn attempts_are_one_more_than_retries_by_task_then_worker_then_default() {
    for default in [0, 2, 5] {
        for worker in [None, Some(0), Some(1), Some(4)] {
            for of_task in [None, Some(0), Some(1), Some(3)] {
                let retries = of_task.or(worker).unwrap_or(default);
                simulate(7, |sim| async move {
                    let log = Log::new();
                    let attempts = log.clone();
                    let handler = move |(): (), ctx: Context| {
                        attempts.push((ctx.attempt(), ctx.is_last_attempt()));
                        async move { Err::<(), _>(format!("no {}", ctx.attempt())) }
                    };
                    let settings = move |kind: &mut conveyor_core::worker::KindDefinition| {
                        if let Some(retries) = worker {
                            kind.retries(retries);
                        }
                    };
                    let manager = manager(&sim)
                        .retries(default)
                        .register(consumer("work", handler, settings))
                        .build()
                        .unwrap();
                    manager.start().await.unwrap();
                    let mut task = Task::new("work", ());
                    if let Some(retries) = of_task {
                        task = task.retries(retries);
                    }
                    let end = manager.enqueue(task).await.unwrap().wait().await.unwrap();
                    let said = format!("default {default}, worker {worker:?}, task {of_task:?}");
                    assert_eq!(end, failed(&format!("no {}", retries + 1)), "{said}");
                    let expected = (1..=retries + 1).map(|attempt| (attempt, attempt > retries));
                    assert_eq!(log.all(), expected.collect::<Vec<_>>(), "{said}");
                    let metrics = manager.metrics();
                    assert_eq!(metrics.retried, u64::from(retries), "{said}");
                    assert_eq!((metrics.failed, metrics.processed), (1, 0), "{said}");
                    assert_eq!(metrics.live(), 0, "{said}");
                });
            }
        }
    }
}

#[test]
fn an_attempt_that_succeeds_ends_the_retries() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let attempts = log.clone();
        let handler = move |(): (), ctx: Context| {
            attempts.push(ctx.attempt());
            async move { if ctx.attempt() < 3 { Err("not yet") } else { Ok(()) } }
        };
        let manager = manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        assert_eq!(log.all(), [1, 2, 3]);
        assert_eq!((manager.metrics().retried, manager.metrics().processed), (2, 1));
    });
}

/// The times between the starts of a task's attempts, all of which fail.
fn gaps(seed: u64, retries: u32, of_manager: Backoff, of_worker: Option<Backoff>) -> Vec<Duration> {
    simulate(seed, |sim| async move {
        let log = Log::new();
        let handler = {
            let (log, sim) = (log.clone(), sim.clone());
            move |(): (), _: Context| {
                log.push(sim.elapsed());
                async { Err::<(), _>("no") }
            }
        };
        let settings = move |kind: &mut conveyor_core::worker::KindDefinition| {
            if let Some(backoff) = &of_worker {
                kind.backoff(backoff.clone());
            }
        };
        let manager = manager(&sim)
            .retries(retries)
            .backoff(of_manager)
            .register(consumer("work", handler, settings))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(failed("no")));
        log.all().windows(2).map(|pair| pair[1] - pair[0]).collect()
    })
}

#[test]
fn a_fixed_backoff_is_kept_to_the_microsecond() {
    let fixed = Backoff::fixed(Duration::from_micros(7_000_001));
    assert_eq!(gaps(1, 4, fixed, None), [Duration::from_micros(7_000_001); 4]);
}

#[test]
fn no_backoff_retries_at_once() {
    assert_eq!(gaps(1, 3, Backoff::none(), None), [Duration::ZERO; 3]);
}

#[test]
fn a_custom_backoff_is_told_the_number_of_failures() {
    let squares = Backoff::custom(|failures| Duration::from_secs(u64::from(failures).pow(2)));
    assert_eq!(gaps(1, 4, squares, None), [1, 4, 9, 16].map(secs));
    let step = 10;
    let steps = Backoff::custom_with(move |failures| Duration::from_secs(step) * failures);
    assert_eq!(gaps(1, 3, Backoff::none(), Some(steps)), [10, 20, 30].map(secs));
}

/// The engine calls it outside the handler.
#[test]
fn a_backoff_that_panics_costs_no_consumer_and_no_retry() {
    for_seeds(0..5, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let attempts = log.clone();
            let handler = move |(): (), ctx: Context| {
                attempts.push(ctx.attempt());
                async { Err::<(), _>("no") }
            };
            let settings = |kind: &mut conveyor_core::worker::KindDefinition| {
                kind.retries(2).backoff(Backoff::custom(|_| panic!("in the backoff")));
            };
            // One consumer alone, which is not replaced.
            let manager = manager(&sim)
                .consumers(1)
                .register(consumer("work", handler, settings))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let spawned = sim.spawned();
            let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(failed("no")));
            assert_eq!(log.all(), [1, 2, 3]);
            assert_eq!((sim.panics(), sim.spawned()), (vec![], spawned));
        });
    });
}

#[test]
fn a_workers_backoff_beats_the_managers() {
    let (slow, fast) = (Backoff::fixed(secs(100)), Backoff::fixed(secs(1)));
    assert_eq!(gaps(1, 2, slow.clone(), Some(fast)), [secs(1); 2]);
    assert_eq!(gaps(1, 2, slow, None), [secs(100); 2]);
}

#[test]
fn an_exponential_backoff_stays_in_its_band_and_uses_all_of_it() {
    for jitter in [Jitter::None, Jitter::Full, Jitter::Equal] {
        let backoff = Backoff::exponential(secs(1), secs(20)).jitter(jitter);
        let (mut low, mut high) = (0, 0);
        for_seeds(0..40, |seed| {
            let gaps = gaps(seed, 7, backoff.clone(), None);
            for (failures, gap) in (1..).zip(&gaps) {
                let band = backoff.band(failures);
                let (least, most) = (*band.start(), *band.end());
                // A due time is a whole microsecond.
                let a_little_less = least.saturating_sub(Duration::from_micros(1));
                assert!((a_little_less..=most).contains(gap), "{failures}: {gap:?} in {band:?}");
                low += u32::from(*gap < least + (most - least) / 4);
                high += u32::from(*gap > most - (most - least) / 4);
            }
        });
        if jitter != Jitter::None {
            assert!(low > 40 && high > 40, "{jitter:?}: {low} low, {high} high, of 280");
        }
    }
}

#[test]
fn tasks_that_failed_together_do_not_return_together() {
    simulate(3, |sim| async move {
        let log = Log::new();
        let handler = {
            let (log, sim) = (log.clone(), sim.clone());
            move |(): (), ctx: Context| {
                if ctx.attempt() == 2 {
                    log.push(sim.elapsed());
                }
                async { Err::<(), _>("no") }
            }
        };
        let manager = manager(&sim)
            .retries(1)
            .backoff(Backoff::exponential(secs(60), secs(60)))
            .register(consumer("work", handler, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let tasks = (0..100).map(|_| Task::new("work", ()));
        for receipt in manager.enqueue_all(tasks).await {
            receipt.unwrap().wait().await.unwrap();
        }
        let mut times = log.all();
        times.dedup();
        assert!(times.len() > 95, "{} times", times.len());
    });
}

#[test]
fn a_fatal_error_is_not_retried() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let attempts = log.clone();
        let handler = move |(): (), ctx: Context| {
            attempts.push(ctx.attempt());
            async { Err::<(), _>(Error::fatal("hopeless")) }
        };
        let settings = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.retries(9);
        let manager = manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(failed("hopeless")));
        assert_eq!(log.all(), [1]);
        assert_eq!((manager.metrics().retried, manager.metrics().failed), (0, 1));
    });
}

#[test]
fn retry_after_sets_the_delay_and_buys_no_further_attempt() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handler = {
            let (log, sim) = (log.clone(), sim.clone());
            move |(): (), ctx: Context| {
                log.push((ctx.attempt(), sim.elapsed()));
                async { Err::<(), _>(Error::retry_after("busy", secs(3_600))) }
            }
        };
        let settings = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.retries(2);
        let manager = manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(failed("busy")));
        assert_eq!(log.all(), [(1, secs(0)), (2, secs(3_600)), (3, secs(7_200))]);
    });
}

#[test]
fn a_retry_in_the_far_future_is_no_overflow() {
    simulate(7, |sim| async move {
        let handler =
            |(): (), _: Context| async { Err::<(), _>(Error::retry_after("busy", Duration::MAX)) };
        let manager = manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ())).await.unwrap();
        sim.advance(secs(3_600)).await;
        assert_eq!(manager.metrics().scheduled, 1);
        assert_eq!(manager.cancel(receipt.id()).await, Ok(CancelReply::Cancelled));
        assert!(matches!(receipt.wait().await, Ok(End::Cancelled(_))));
    });
}

#[test]
fn a_snooze_costs_no_attempt() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            // Two snoozes, an error, two snoozes, another error: the end of one retry.
            let handler = {
                let (log, sim) = (log.clone(), sim.clone());
                move |(): (), ctx: Context| {
                    log.push((ctx.attempt(), ctx.epoch(), sim.elapsed().as_secs()));
                    let fails = log.len() % 3 == 0;
                    async move { if fails { Err("no") } else { Ok(Outcome::snooze(secs(10))) } }
                }
            };
            let settings = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.retries(1);
            let manager =
                manager(&sim).register(consumer("work", handler, settings)).build().unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("work", ()).key("k")).await.unwrap();
            sim.advance(secs(5)).await;
            let again = manager.enqueue(Task::new("work", ()).key("k")).await;
            let id = Some(receipt.id());
            assert!(
                matches!(again, Err(EnqueueError::Duplicate { id: holder, .. }) if holder == id),
                "a snoozed task holds its key: {again:?}"
            );
            assert_eq!(receipt.wait().await, Ok(failed("no")));
            let expected = [(1, 1, 0), (1, 2, 10), (1, 3, 20), (2, 4, 21), (2, 5, 31), (2, 6, 41)];
            assert_eq!(log.all(), expected);
            let metrics = manager.metrics();
            assert_eq!((metrics.snoozed, metrics.retried, metrics.failed), (4, 1, 1));
            assert_eq!(metrics.duplicates, 1);
        });
    });
}

#[test]
fn a_cancel_by_the_handler_is_the_end() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let attempts = log.clone();
        let handler = move |(): (), ctx: Context| {
            attempts.push(ctx.attempt());
            async { Outcome::cancel("pointless") }
        };
        let manager = manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        for _ in 0..2 {
            // The second is accepted: the key is free at the end.
            let receipt = manager.enqueue(Task::new("work", ()).key("k")).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Cancelled("pointless".to_owned())));
        }
        assert_eq!(log.all(), [1, 1]);
        let metrics = manager.metrics();
        assert_eq!((metrics.cancelled, metrics.failed, metrics.retried), (2, 0, 0));
    });
}

#[derive(Debug)]
struct Layer(&'static str, Option<Box<Layer>>);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Layer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

fn layers() -> Layer {
    Layer("cannot send", Some(Box::new(Layer("no route", Some(Box::new(Layer("down", None)))))))
}

/// As `anyhow::Error`: no error itself, but can be made into one.
struct Anyhow(Layer);

impl From<Anyhow> for Box<dyn StdError + Send + Sync> {
    fn from(error: Anyhow) -> Self {
        Box::new(error.0)
    }
}

#[test]
fn an_error_of_any_type_ends_the_task_with_its_causes() {
    type Boxed = Box<dyn StdError + Send + Sync>;
    fn asks() -> conveyor::Result<()> {
        Err(layers())?
    }
    let no_retries = |kind: &mut conveyor_core::worker::KindDefinition| _ = kind.retries(0);
    simulate(7, |sim| async move {
        let string = |(): (), _: Context| async { Err::<(), String>("text".to_owned()) };
        let slice = |(): (), _: Context| async { Err::<(), &'static str>("slice") };
        let io = |(): (), _: Context| async { Err::<(), _>(std::io::Error::other("disk")) };
        let causes = |(): (), _: Context| async { Err::<(), Layer>(layers()) };
        let anyhow = |(): (), _: Context| async { Err::<(), Anyhow>(Anyhow(layers())) };
        let boxed = |(): (), _: Context| async { Err::<(), Boxed>(Box::new(layers())) };
        let ours = |(): (), _: Context| async { asks() };
        let outcome = |(): (), _: Context| async { Err::<Outcome, _>(layers()) };
        let manager = manager(&sim)
            .register(consumer("string", string, no_retries))
            .register(consumer("slice", slice, no_retries))
            .register(consumer("io", io, no_retries))
            .register(consumer("causes", causes, no_retries))
            .register(consumer("anyhow", anyhow, no_retries))
            .register(consumer("boxed", boxed, no_retries))
            .register(consumer("ours", ours, no_retries))
            .register(consumer("outcome", outcome, no_retries))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        for (kind, why) in [
            ("string", "text"),
            ("slice", "slice"),
            ("io", "disk"),
            ("causes", "cannot send: no route: down"),
            ("anyhow", "cannot send: no route: down"),
            ("boxed", "cannot send: no route: down"),
            ("ours", "cannot send: no route: down"),
            ("outcome", "cannot send: no route: down"),
        ] {
            let receipt = manager.enqueue(Task::new(kind, ())).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(failed(why)), "{kind}");
        }
    });
}

#[test]
fn between_attempts_the_task_holds_its_key_and_shows_its_error() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let handler =
                |(): (), ctx: Context| async move { Err::<(), _>(format!("no {}", ctx.attempt())) };
            let manager = manager(&sim)
                .retries(2)
                .backoff(Backoff::fixed(secs(10)))
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let task = || Task::new("work", ()).key("k");
            let receipt = manager.enqueue(task()).await.unwrap();
            for errors in 1..=2 {
                sim.run_until_idle().await;
                let page = manager.inspect().page().await.unwrap();
                let info = &page.tasks[0];
                assert_eq!(info.state, TaskState::Scheduled);
                assert_eq!(info.note, Some(format!("no {errors}")));
                assert_eq!((info.budgets.errors, info.epoch), (errors, u64::from(errors)));
                assert_eq!(info.due, sim.wall() + secs(10));
                assert!(
                    matches!(manager.enqueue(task()).await, Err(EnqueueError::Duplicate { .. })),
                    "the key is held through a retry"
                );
                sim.advance(secs(10)).await;
            }
            assert_eq!(receipt.wait().await, Ok(failed("no 3")));
            manager.enqueue(task()).await.expect("the key is free at the end");
        });
    });
}

#[test]
fn a_task_that_fails_holds_up_no_other_while_it_backs_off() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handler = {
                let (log, sim) = (log.clone(), sim.clone());
                move |n: u32, ctx: Context| {
                    log.push((n, ctx.attempt(), sim.elapsed()));
                    async move { if n == 0 && ctx.attempt() == 1 { Err("no") } else { Ok(()) } }
                }
            };
            let manager = manager(&sim)
                .consumers(1)
                .backoff(Backoff::fixed(secs(5)))
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let tasks = (0..4).map(|n| Task::new("work", n));
            for receipt in manager.enqueue_all(tasks).await {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
            let at_once = secs(0);
            let expected = [
                (0, 1, at_once),
                (1, 1, at_once),
                (2, 1, at_once),
                (3, 1, at_once),
                (0, 2, secs(5)),
            ];
            assert_eq!(log.all(), expected);
        });
    });
}

/// A consumer takes several cheap tasks at once; when one of them waits after all, it gives back
/// the others, which keep their place and are charged nothing.
#[test]
fn what_is_claimed_and_handed_back_keeps_its_place_and_its_attempts() {
    for_seeds(0..20, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let handler = {
                let log = log.clone();
                move |n: u32, ctx: Context| {
                    log.push((n, ctx.attempt()));
                    async move {
                        if n % 50 == 49 {
                            ctx.sleep(secs(1)).await;
                        }
                    }
                }
            };
            let manager = manager(&sim)
                .consumers(1)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            let tasks = (0..300).map(|n| Task::new("work", n));
            let receipts = manager.enqueue_all(tasks).await;
            manager.start().await.unwrap();
            for receipt in receipts {
                assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
            }
            assert_eq!(log.all(), (0..300).map(|n| (n, 1)).collect::<Vec<_>>());
            // They never started, so that is no interruption.
            assert_eq!(manager.metrics().returned, 0);
        });
    });
}

/// A store's clock may jump; what is due by it then starts within a minute.
#[test]
fn a_delayed_task_notices_a_clock_that_jumped_ahead() {
    simulate(7, |sim| async move {
        let handler = |(): (), _: Context| async {};
        let manager = manager(&sim).register(consumer("work", handler, |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let receipt = manager.enqueue(Task::new("work", ()).delay(secs(86_400))).await.unwrap();
        sim.advance(secs(5)).await;
        sim.jump_wall_ahead(secs(86_400));
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        assert!(sim.elapsed() <= secs(5 + 60), "it started after {:?}", sim.elapsed());
    });
}

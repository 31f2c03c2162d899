//! Producers: what a tick makes appears once or not at all, and nothing stops the ticks.

use std::time::Duration;

use conveyor::{
    AnyTask, Backoff, Context, Definition, Error, Manager, ManagerBuilder, Schedule, Task,
};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::{Defined, Log};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn every(period: u64) -> Schedule {
    Schedule::every(secs(period)).expect("a second is long enough")
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(4).backoff(Backoff::fixed(secs(1)))
}

/// What happened: a produce attempt of the tick at that second, or a child of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Saw {
    Attempt(u64, u32),
    Child(u64, u8),
}

/// A worker that makes two tasks at each tick, if `produce` says so after an attempt of that number.
fn feeds<F>(
    sim: &Sim,
    log: &Log<Saw>,
    produce: impl Fn(Context) -> F + Send + Sync + Clone + 'static,
    settings: impl Fn(&mut conveyor_core::worker::KindDefinition) + Send + Sync + 'static,
) -> impl conveyor::Worker
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (sim, log) = (sim.clone(), log.clone());
    Defined(move |definition: &mut Definition| {
        let children = log.clone();
        definition.consume("feeds", move |(tick, n): (u64, u8), _| {
            children.push(Saw::Child(tick, n));
            async {}
        });
        let (sim, log, produce) = (sim.clone(), log.clone(), produce.clone());
        let kind = definition.produce("feeds", move |ctx: Context| {
            // The tick's second: retries come a second later each.
            let tick = sim.elapsed().as_secs() / 10 * 10;
            log.push(Saw::Attempt(tick, ctx.attempt()));
            let produced = produce(ctx);
            async move {
                produced.await?;
                Ok::<_, Error>([1, 2].map(|n| Task::new("feeds", (tick, n))).into())
            }
        });
        settings(kind.schedule(every(10)));
    })
}

fn of_tick(log: &Log<Saw>, tick: u64) -> Vec<Saw> {
    let mut all = log.all();
    all.retain(|saw| matches!(*saw, Saw::Attempt(t, _) | Saw::Child(t, _) if t == tick));
    all.sort();
    all
}

#[test]
fn a_tick_makes_its_tasks_once() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim)
                .register(feeds(&sim, &log, |_| async { Ok(()) }, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(45)).await;
            for tick in [0, 10, 20, 30, 40] {
                let expected = [Saw::Attempt(tick, 1), Saw::Child(tick, 1), Saw::Child(tick, 2)];
                assert_eq!(of_tick(&log, tick), expected);
            }
            let metrics = manager.metrics();
            assert_eq!(metrics.kind("feeds.produce").processed, 5);
            assert_eq!(metrics.kind("feeds").processed, 10);
        });
    });
}

/// The first two attempts of each tick go wrong in one way; the third makes the tasks.
#[test]
fn a_producer_that_goes_wrong_is_retried_and_makes_its_tasks_once() {
    for way in ["errs", "panics", "outlasts its timeout"] {
        for_seeds(0..10, |seed| {
            simulate(seed, |sim| async move {
                let log = Log::new();
                let produce = move |ctx: Context| async move {
                    match way {
                        _ if ctx.attempt() == 3 => Ok(()),
                        "errs" => Err("no")?,
                        "panics" => panic!("no"),
                        _ => {
                            std::future::pending::<()>().await;
                            Ok(())
                        }
                    }
                };
                let settings = |kind: &mut conveyor_core::worker::KindDefinition| {
                    kind.timeout(secs(1)).cancel_grace(Duration::ZERO);
                };
                let manager =
                    manager(&sim).register(feeds(&sim, &log, produce, settings)).build().unwrap();
                manager.start().await.unwrap();
                sim.advance(secs(48)).await;
                for tick in [0, 10, 20, 30, 40] {
                    let attempts = [1, 2, 3].map(|attempt| Saw::Attempt(tick, attempt));
                    let children = [1, 2].map(|n| Saw::Child(tick, n));
                    assert_eq!(of_tick(&log, tick), [&attempts[..], &children[..]].concat());
                }
                assert_eq!(manager.metrics().kind("feeds.produce").retried, 10, "{way}");
            });
        });
    }
}

#[test]
fn a_producer_that_never_succeeds_never_stops_its_schedule() {
    for way in ["errs", "is hopeless", "panics", "outlasts its timeout"] {
        simulate(7, |sim| async move {
            let log = Log::new();
            let produce = move |_: Context| async move {
                match way {
                    "errs" => Err("no")?,
                    "is hopeless" => Err(Error::fatal("no")),
                    "panics" => panic!("no"),
                    _ => {
                        std::future::pending::<()>().await;
                        Ok(())
                    }
                }
            };
            let settings = |kind: &mut conveyor_core::worker::KindDefinition| {
                kind.retries(1).timeout(secs(1)).cancel_grace(Duration::ZERO);
            };
            let manager =
                manager(&sim).register(feeds(&sim, &log, produce, settings)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(1_005)).await;
            let metrics = manager.metrics();
            assert_eq!(metrics.kind("feeds.produce").failed, 101, "{way}");
            assert_eq!(metrics.kind("feeds").enqueued, 0, "{way}");
        });
    }
}

#[test]
fn a_child_whose_key_is_taken_is_left_out() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let seen = log.clone();
        let worker = Defined(move |definition: &mut Definition| {
            let seen = seen.clone();
            definition.consume("page", move |(key, n): (String, u32), ctx: Context| {
                seen.push((key.clone(), n));
                async move {
                    if key == "slow" {
                        ctx.sleep(secs(15)).await;
                    }
                }
            });
            definition
                .produce("page", |_| async {
                    let page = |key: &str, n| Task::new("page", (key.to_owned(), n)).key(key);
                    Ok::<_, String>(vec![page("slow", 1), page("a", 1), page("a", 2), page("b", 1)])
                })
                .schedule(every(10));
        });
        let manager = manager(&sim).register(worker).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(5)).await;
        let mut first = log.all();
        first.sort();
        let pages = |keys: &[&str]| keys.iter().map(|&key| (key.to_owned(), 1)).collect::<Vec<_>>();
        assert_eq!(first, pages(&["a", "b", "slow"]));
        assert_eq!(manager.metrics().duplicates, 1);
        sim.advance(secs(10)).await;
        let mut second = log.all()[3..].to_vec();
        second.sort();
        assert_eq!(second, pages(&["a", "b"]), "the slow one of the first tick is still live");
        assert_eq!(manager.metrics().duplicates, 3);
        assert_eq!(manager.metrics().kind("page.produce").processed, 2);
    });
}

#[test]
fn a_producer_makes_tasks_of_several_kinds() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let seen = log.clone();
        let worker = Defined(move |definition: &mut Definition| {
            let (texts, numbers) = (seen.clone(), seen.clone());
            definition.consume("text", move |text: String, _| {
                texts.push(text);
                async {}
            });
            definition.consume("number", move |number: u32, _| {
                numbers.push(number.to_string());
                async {}
            });
            definition
                .produce("both", |_| async {
                    let tasks: Vec<AnyTask> = vec![
                        Task::new("text", "one".to_owned()).erase(),
                        Task::new("number", 2u32).erase(),
                        Task::new("elsewhere", ()).queue("far").delay(secs(60)).erase(),
                    ];
                    Ok::<_, String>(tasks)
                })
                .schedule(every(3_600));
        });
        let manager = manager(&sim).register(worker).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(1)).await;
        let mut all = log.all();
        all.sort();
        assert_eq!(all, ["2", "one"]);
        assert_eq!(manager.metrics().queue("far").parked, 1, "for a process that has its worker");
    });
}

#[test]
fn an_invalid_child_fails_the_attempt_and_no_child_appears() {
    simulate(7, |sim| async move {
        let worker = Defined(|definition: &mut Definition| {
            definition.consume("page", |_: u32, _| async {});
            definition
                .produce("page", |_| async {
                    let (good, bad) = (Task::new("page", 1u32), Task::new("page", 2u32).key(""));
                    Ok::<_, String>(vec![good, bad])
                })
                .retries(0)
                .schedule(every(10));
        });
        let manager = manager(&sim).register(worker).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(15)).await;
        assert_eq!(manager.metrics().kind("page").enqueued, 0);
        let page = manager.inspect().page().await.unwrap();
        let why = "a produced task is invalid: the key is empty; give it at least one character";
        let ends: Vec<_> = page.tasks.into_iter().map(|task| task.end).collect();
        let failed = Some(conveyor::End::Failed(why.to_owned()));
        assert_eq!(ends, [failed.clone(), failed]);
    });
}

#[test]
fn a_producers_schedule_can_be_changed_by_the_name_of_its_worker_or_its_own() {
    for name in ["feeds", "feeds.produce"] {
        simulate(7, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim)
                .register(feeds(&sim, &log, |_| async { Ok(()) }, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(15)).await;
            manager.set_schedule(name, every(100)).await.unwrap();
            sim.advance(secs(301)).await;
            // At 0, 10, 15, 115, 215 and 315.
            assert_eq!(manager.metrics().kind("feeds.produce").processed, 6, "{name}");
        });
    }
}

#[test]
fn a_producer_stops_with_its_worker() {
    for name in ["feeds", "feeds.produce"] {
        simulate(7, |sim| async move {
            let log = Log::new();
            let manager = manager(&sim)
                .register(feeds(&sim, &log, |_| async { Ok(()) }, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(15)).await;
            assert!(manager.unregister(name));
            sim.advance(secs(300)).await;
            let metrics = manager.metrics();
            assert_eq!(metrics.kind("feeds.produce").enqueued, 2, "{name}");
            assert_eq!(metrics.kind("feeds").processed, 4, "{name}");
            // All of it is gone, or its consumer is still there.
            let again = manager.register(feeds(&sim, &log, |_| async { Ok(()) }, |_| {}));
            assert_eq!(again.is_ok(), name == "feeds", "{again:?}");
        });
    }
}

fn without_schedule(name: &'static str, log: &Log<&'static str>) -> impl conveyor::Worker {
    let log = log.clone();
    Defined(move |definition: &mut Definition| {
        let log = log.clone();
        definition.produce(name, move |_| {
            log.push(name);
            async { Ok::<Vec<Task<()>>, String>(Vec::new()) }
        });
    })
}

#[test]
fn a_producer_without_a_schedule_has_the_default_one() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let manager = manager(&sim)
            .default_schedule(every(10))
            .register(without_schedule("early", &log))
            // It does not make tasks of kinds that are not producers.
            .register(conveyor_tests::consumer("plain", |(): (), _: Context| async {}, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(25)).await;
        assert_eq!(log.all(), ["early"; 3]);
        assert_eq!(manager.metrics().kind("plain").enqueued, 0);
    });
}

#[test]
fn the_default_schedule_is_also_for_producers_that_are_registered_later() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let manager = manager(&sim).default_schedule(every(10)).build().unwrap();
        manager.start().await.unwrap();
        manager.register(without_schedule("late", &log)).unwrap();
        sim.advance(secs(25)).await;
        assert_eq!(log.all(), ["late"; 3]);
    });
}

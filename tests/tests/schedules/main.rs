//! Schedules: every instant fires once, in the whole cluster, whatever clocks and processes do.
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

mod clocks;

use std::sync::Arc;
use std::time::Duration;

use conveyor::{
    Context, ControlError, Kind, Manager, ManagerBuilder, MemoryStore, Missed, Overlap, Schedule,
    Store, Task, Timestamp, Worker,
};
use conveyor_testkit::{FaultPlan, FaultyStore, Sim, for_seeds, simulate};
use conveyor_tests::slow_store::SlowStore;
use conveyor_tests::{Log, consumer};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn every(period: u64) -> Schedule {
    Schedule::every(secs(period)).expect("a second is long enough")
}

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).consumers(8)
}

fn store(sim: &Sim) -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(sim.clock()))
}

/// A worker that notes each of its tasks, and takes that long over it.
fn ticker(
    sim: &Sim,
    log: &Log<Timestamp>,
    schedule: Schedule,
    takes: impl Fn(usize) -> Duration + Send + Sync + 'static,
) -> impl Worker {
    let (sim, log) = (sim.clone(), log.clone());
    let handler = move |(): (), ctx: Context| {
        log.push(sim.wall());
        let takes = takes(log.len());
        async move {
            if !takes.is_zero() {
                ctx.sleep(takes).await;
            }
        }
    };
    consumer("tick", handler, move |kind| _ = kind.schedule(schedule.clone()))
}

fn at_once(_: usize) -> Duration {
    Duration::ZERO
}

/// The seconds since the simulation's first one.
fn since(start: Timestamp, log: &Log<Timestamp>) -> Vec<u64> {
    log.all().iter().map(|&at| at.saturating_since(start).as_secs()).collect()
}

fn texts(log: &Log<Timestamp>) -> Vec<String> {
    log.all().iter().map(ToString::to_string).collect()
}

#[test]
fn an_interval_ticks_at_the_start_first() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let manager = manager(&sim).register(ticker(&sim, &log, every(5), at_once));
            let manager = manager.build().unwrap();
            sim.advance(secs(17)).await;
            assert!(log.is_empty(), "nothing ticks before the start");
            manager.start().await.unwrap();
            sim.advance(secs(18)).await;
            assert_eq!(since(start, &log), [17, 22, 27, 32]);
            assert_eq!(manager.metrics().processed, 4);
        });
    });
}

#[test]
fn an_interval_does_not_drift_however_slow_its_handlers() {
    for_seeds(0..5, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let period = Duration::from_micros(1_000_001);
            let schedule = Schedule::every(period).unwrap().overlap(Overlap::Allow);
            let slow = |n: usize| Duration::from_millis(n as u64 * 977 % 4_000);
            let manager =
                manager(&sim).register(ticker(&sim, &log, schedule, slow)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(period * 1_000).await;
            sim.run_until_idle().await;
            let expected: Vec<_> = (0..=1_000).map(|n| start + period * n).collect();
            assert_eq!(log.all(), expected);
        });
    });
}

#[test]
fn a_tick_is_dropped_while_the_last_ones_task_is_live() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let slow = |_: usize| secs(25);
            let manager =
                manager(&sim).register(ticker(&sim, &log, every(10), slow)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(100)).await;
            assert_eq!(since(start, &log), [0, 30, 60, 90], "on the grid, never beside it");
        });
    });
}

#[test]
fn ticks_overlap_where_that_is_allowed() {
    simulate(7, |sim| async move {
        let (start, log) = (sim.wall(), Log::new());
        let schedule = every(10).overlap(Overlap::Allow);
        let manager =
            manager(&sim).register(ticker(&sim, &log, schedule, |_| secs(25))).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(55)).await;
        assert_eq!(since(start, &log), [0, 10, 20, 30, 40, 50]);
        assert_eq!(manager.metrics().active, 3);
    });
}

/// One manager begins a schedule of every minute and stops after half of one; another starts on
/// the same store at `restart`, and runs until second 365.
fn run_after_an_outage(schedule: &Schedule, restart: u64) -> Vec<u64> {
    let schedule = schedule.clone();
    simulate(7, |sim| async move {
        let (start, log, store) = (sim.wall(), Log::new(), store(&sim));
        let build = || {
            let worker = ticker(&sim, &log, schedule.clone(), at_once);
            manager(&sim).store(store.clone()).register(worker).build().unwrap()
        };
        let first = build();
        first.start().await.unwrap();
        sim.advance(secs(30)).await;
        first.shutdown(Duration::ZERO).await.unwrap();
        drop(first);
        sim.advance(secs(restart) - sim.elapsed()).await;
        assert_eq!(since(start, &log), [0]);
        let second = build();
        second.start().await.unwrap();
        sim.advance(secs(365) - sim.elapsed()).await;
        since(start, &log)
    })
}

#[test]
fn the_latest_of_missed_instants_makes_up_for_all() {
    assert_eq!(run_after_an_outage(&every(60), 335), [0, 335, 360]);
    // None was missed.
    assert_eq!(run_after_an_outage(&every(60), 45), [0, 60, 120, 180, 240, 300, 360]);
}

#[test]
fn missed_instants_are_skipped_but_for_one_that_is_just_over() {
    let schedule = every(60).missed(Missed::Skip);
    assert_eq!(run_after_an_outage(&schedule, 335), [0, 360]);
    assert_eq!(run_after_an_outage(&schedule, 308), [0, 308, 360]);
}

#[test]
fn each_missed_instant_fires() {
    let schedule = every(60).missed(Missed::All).overlap(Overlap::Allow);
    assert_eq!(run_after_an_outage(&schedule, 335), [0, 335, 335, 335, 335, 335, 360]);
}

/// As any other tick, one that makes up for a missed instant is dropped while the last one's task
/// is live.
#[test]
fn missed_instants_do_not_overlap_unless_that_is_allowed() {
    let schedule = every(60).missed(Missed::All);
    assert_eq!(run_after_an_outage(&schedule, 335), [0, 335, 360]);
}

#[test]
fn thousands_of_missed_instants_all_fire() {
    simulate(7, |sim| async move {
        let (log, store) = (Log::new(), store(&sim));
        let build = || {
            let schedule = every(1).missed(Missed::All).overlap(Overlap::Allow);
            let worker = ticker(&sim, &log, schedule, at_once);
            manager(&sim).store(store.clone()).register(worker).build().unwrap()
        };
        let first = build();
        first.start().await.unwrap();
        sim.run_until_idle().await;
        first.shutdown(Duration::ZERO).await.unwrap();
        sim.advance(secs(2_500)).await;
        let second = build();
        second.start().await.unwrap();
        sim.run_until_idle().await;
        assert_eq!(log.len(), 2_501);
        sim.advance(secs(2)).await;
        sim.run_until_idle().await;
        assert_eq!(log.len(), 2_503);
    });
}

#[test]
fn a_schedule_can_be_changed_while_it_runs() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let manager =
                manager(&sim).register(ticker(&sim, &log, every(60), at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(90)).await;
            manager.set_schedule("tick", every(10)).await.unwrap();
            sim.advance(secs(25)).await;
            manager.set_schedule("tick", Schedule::cron("*/2 * * * *").unwrap()).await.unwrap();
            sim.advance(secs(600) - sim.elapsed()).await;
            sim.run_until_idle().await;
            assert_eq!(since(start, &log), [0, 60, 90, 100, 110, 120, 240, 360, 480, 600]);
            // The same again is no change: no tick now.
            sim.advance(secs(5)).await;
            manager.set_schedule("tick", Schedule::cron("*/2 * * * *").unwrap()).await.unwrap();
            sim.advance(secs(5)).await;
            assert_eq!(log.len(), 10);
        });
    });
}

#[test]
fn a_schedule_can_be_changed_before_the_start() {
    simulate(7, |sim| async move {
        let (start, log) = (sim.wall(), Log::new());
        let manager =
            manager(&sim).register(ticker(&sim, &log, every(60), at_once)).build().unwrap();
        manager.set_schedule("tick", every(10)).await.unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(35)).await;
        assert_eq!(since(start, &log), [0, 10, 20, 30]);
    });
}

/// A change holds whatever the manager is about meanwhile: putting its own definition after the
/// start, ticking by the old one, or another change.
#[test]
fn a_change_is_not_undone_by_what_is_under_way() {
    for changes in [1, 3] {
        for_seeds(0..100, |seed| {
            simulate(seed, |sim| async move {
                let log = Log::new();
                let store = Arc::new(SlowStore::new(store(&sim), sim.runtime()));
                let manager = manager(&sim)
                    .store(store)
                    .register(ticker(&sim, &log, every(3_600), at_once))
                    .build()
                    .unwrap();
                manager.start().await.unwrap();
                let steps = sim.random() % 60;
                for _ in 0..steps {
                    smol::future::yield_now().await;
                }
                let all = (0..changes).map(|_| manager.set_schedule("tick", every(1)));
                for changed in futures::future::join_all(all).await {
                    changed.unwrap();
                }
                sim.advance(secs(10)).await;
                assert!(log.len() >= 10, "{} ticks, changed after {steps} steps", log.len());
            });
        });
    }
}

/// A tick of the old one is told that it is gone, and the new one must not go with it.
#[test]
fn a_schedule_that_is_set_anew_after_it_was_removed_from_the_store_ticks() {
    for_seeds(0..200, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(SlowStore::new(store(&sim), sim.runtime()));
            let manager = manager(&sim)
                .store(store.clone())
                .register(ticker(&sim, &log, every(3_600), at_once))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(1)).await;
            // From here on it is not the store's first one of that name, as the new one will be.
            manager.set_schedule("tick", every(10)).await.unwrap();
            sim.advance(secs(9)).await;
            store.remove_schedule(&Kind::from_static("tick")).await.unwrap();
            sim.advance(secs(1)).await;
            for _ in 0..sim.random() % 20 {
                smol::future::yield_now().await;
            }
            let before = log.len();
            manager.set_schedule("tick", every(1)).await.unwrap();
            sim.advance(secs(10)).await;
            let ticks = log.len() - before;
            assert!(ticks >= 10, "{ticks} ticks");
        });
    });
}

/// A worker that comes again with another schedule while a tick of the old one is under way.
#[test]
fn a_worker_that_comes_again_brings_its_own_schedule() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(SlowStore::new(store(&sim), sim.runtime()));
            let manager = manager(&sim)
                .store(store)
                .register(ticker(&sim, &log, every(3_600), at_once))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let steps = sim.random() % 60;
            for _ in 0..steps {
                smol::future::yield_now().await;
            }
            assert!(manager.unregister("tick"));
            manager.register(ticker(&sim, &log, every(1), at_once)).unwrap();
            sim.advance(secs(10)).await;
            assert!(log.len() >= 10, "{} ticks, changed after {steps} steps", log.len());
        });
    });
}

#[test]
fn a_schedule_that_cannot_be_changed_says_why() {
    simulate(7, |sim| async move {
        let plain = consumer("plain", |(): (), _: Context| async {}, |_| {});
        let manager = manager(&sim).register(plain).build().unwrap();
        let error = manager.set_schedule("nobody", every(1)).await.unwrap_err();
        assert!(matches!(error, ControlError::UnknownKind { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "no worker of the kind \"nobody\" is registered; register it first"
        );
        let error = manager.set_schedule("plain", every(1)).await.unwrap_err();
        assert!(matches!(error, ControlError::NotScheduled { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the worker \"plain\" has no schedule; give it one by an attribute, or a `produce` \
             method"
        );
        let error = manager.set_schedule("", every(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "the kind is empty; give it at least one character");
    });
}

#[test]
fn every_instant_fires_once_in_a_cluster_whose_managers_come_and_go() {
    for_seeds(0..40, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let store: Arc<dyn Store> =
                Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
            let build = || {
                let worker = ticker(&sim, &log, every(7), at_once);
                manager(&sim).store(store.clone()).register(worker).build().unwrap()
            };
            let mut managers = vec![build(), build(), build()];
            for manager in &managers {
                manager.start().await.unwrap();
            }
            for _ in 0..20 {
                sim.advance(Duration::from_millis(sim.random() % 20_000)).await;
                // One goes, in good order or not, and another comes.
                let gone = managers.remove(usize::try_from(sim.random() % 3).unwrap());
                if sim.random() % 2 == 0 {
                    gone.shutdown(secs(1)).await.unwrap();
                }
                drop(gone);
                managers.push(build());
                managers[2].start().await.unwrap();
            }
            sim.run_until_idle().await;
            let elapsed = sim.elapsed().as_secs();
            let expected: Vec<_> = (0..=elapsed / 7).map(|n| n * 7).collect();
            assert_eq!(since(start, &log), expected);
        });
    });
}

#[test]
fn a_change_by_one_manager_is_every_managers() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let store: Arc<dyn Store> =
                Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
            let build = || {
                let worker = ticker(&sim, &log, every(3_600), at_once);
                manager(&sim).store(store.clone()).register(worker).build().unwrap()
            };
            let (one, other) = (build(), build());
            one.start().await.unwrap();
            other.start().await.unwrap();
            sim.advance(secs(130)).await;
            one.set_schedule("tick", every(10)).await.unwrap();
            sim.advance(secs(15)).await;
            assert_eq!(since(start, &log), [0, 130, 140]);
            // Who knows of it first is gone. The other was told: on its own it would look at 180.
            one.shutdown(secs(1)).await.unwrap();
            drop(one);
            sim.advance(secs(175) - sim.elapsed()).await;
            assert_eq!(since(start, &log), [0, 130, 140, 150, 160, 170]);
        });
    });
}

#[test]
fn a_change_that_a_manager_is_not_told_of_is_noticed_within_a_minute() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let memory = MemoryStore::new(sim.clock()).shared_by_managers();
            let mute = FaultPlan { wake_up_lost: 1_000, ..FaultPlan::none() };
            let store: Arc<dyn Store> = Arc::new(FaultyStore::new(&sim, Arc::new(memory), mute));
            let build = || {
                let worker = ticker(&sim, &log, every(3_600), at_once);
                manager(&sim).store(store.clone()).register(worker).build().unwrap()
            };
            let (one, other) = (build(), build());
            one.start().await.unwrap();
            other.start().await.unwrap();
            sim.advance(secs(130)).await;
            one.set_schedule("tick", every(10)).await.unwrap();
            sim.advance(secs(1)).await;
            one.shutdown(secs(1)).await.unwrap();
            drop(one);
            sim.advance(secs(225) - sim.elapsed()).await;
            // The other looks at 180. Tasks are found by polling.
            let ticks = other.fetch_metrics().await.unwrap().enqueued;
            assert_eq!(ticks, 7, "at 0, 130, 180, 190, 200, 210 and 220: {:?}", since(start, &log));
        });
    });
}

/// Not even if the clock goes back, so that it would be but just over.
#[test]
fn an_instant_that_was_skipped_is_not_made_up_for_later() {
    simulate(7, |sim| async move {
        let (start, log) = (sim.wall(), Log::new());
        let store = store(&sim);
        let run = async |time, missed| {
            let schedule = every(1_000).missed(missed);
            let manager = manager(&sim).store(store.clone());
            let manager = manager.register(ticker(&sim, &log, schedule, at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(time).await;
            manager.shutdown(secs(1)).await.unwrap();
        };
        run(secs(10), Missed::Skip).await;
        sim.advance(secs(3_500) - sim.elapsed()).await;
        run(secs(10), Missed::Skip).await;
        sim.jump_wall_back(secs(500));
        run(secs(10), Missed::Skip).await;
        assert_eq!(since(start, &log), [0]);
    });
}

#[test]
fn an_unregistered_worker_does_not_tick_and_a_registered_one_goes_on() {
    for_seeds(0..10, |seed| {
        simulate(seed, |sim| async move {
            let (start, log) = (sim.wall(), Log::new());
            let manager =
                manager(&sim).register(ticker(&sim, &log, every(10), at_once)).build().unwrap();
            manager.start().await.unwrap();
            sim.advance(secs(25)).await;
            assert!(manager.unregister("tick"));
            assert!(!manager.unregister("tick"));
            sim.advance(secs(50)).await;
            assert_eq!(since(start, &log), [0, 10, 20]);
            assert_eq!(manager.metrics().enqueued, 3, "no task either");
            manager.register(ticker(&sim, &log, every(10), at_once)).unwrap();
            sim.advance(secs(20)).await;
            // One for all that were missed, then on the same grid as ever.
            assert_eq!(since(start, &log), [0, 10, 20, 75, 80, 90]);
        });
    });
}

#[test]
fn a_worker_that_is_registered_while_the_manager_runs_ticks_at_once() {
    simulate(7, |sim| async move {
        let (start, log) = (sim.wall(), Log::new());
        let manager = manager(&sim).build().unwrap();
        manager.start().await.unwrap();
        sim.advance(secs(33)).await;
        manager.register(ticker(&sim, &log, every(10), at_once)).unwrap();
        sim.advance(secs(12)).await;
        assert_eq!(since(start, &log), [33, 43]);
    });
}

#[test]
fn ticks_are_tasks_like_any_other() {
    simulate(7, |sim| async move {
        let log = Log::new();
        let handler = {
            let log = log.clone();
            move |(): (), ctx: Context| {
                log.push((ctx.queue().to_string(), ctx.priority(), ctx.attempt()));
                async move { if ctx.attempt() == 1 { Err("no") } else { Ok(()) } }
            }
        };
        let settings = |kind: &mut conveyor_core::worker::KindDefinition| {
            kind.queue("clock").priority(7).backoff(conveyor::Backoff::none());
            kind.schedule(every(10));
        };
        let manager = manager(&sim).register(consumer("tick", handler, settings)).build().unwrap();
        manager.start().await.unwrap();
        // By hand, too; it is no tick, and overlaps with none.
        let by_hand = manager.enqueue(Task::new("tick", ())).await.unwrap();
        assert!(by_hand.wait().await.unwrap().is_success());
        sim.advance(secs(5)).await;
        let priority = conveyor::Priority::new(7);
        let (first, second) =
            (("clock".to_owned(), priority, 1), ("clock".to_owned(), priority, 2));
        let mut all = log.all();
        all.sort();
        assert_eq!(all, [first.clone(), first, second.clone(), second]);
    });
}

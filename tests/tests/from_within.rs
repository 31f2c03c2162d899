//! A manager that is stopped by what it runs, or in the middle of a quarantine.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Filter, Incarnation, Kind, MemoryStore, QueueName, Store};
use conveyor_core::store::{ClaimRequest, Demand, KindRoom};
use conveyor_testkit::{for_seeds, simulate};
use conveyor_tests::{Log, consumer};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// A manager's own handle, for a handler to take.
type OwnHandle = Arc<Mutex<Option<Manager>>>;

#[test]
fn a_handler_may_shut_its_own_manager_down() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let own = OwnHandle::default();
            let taken = Arc::clone(&own);
            let last = consumer(
                "last",
                move |(): (), _: Context| {
                    let taken = Arc::clone(&taken);
                    async move {
                        let manager = taken.lock().unwrap().clone().unwrap();
                        // Waits for itself: it cannot be done before its own handler is.
                        manager.shutdown(SECOND).await.unwrap();
                    }
                },
                |_| {},
            );
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let manager = Manager::builder().runtime(sim.runtime()).store(store.clone());
            let manager = manager.register(last).consumers(2).build().unwrap();
            *own.lock().unwrap() = Some(manager.clone());
            manager.start().await.unwrap();
            manager.enqueue(Task::new("last", ())).await.unwrap();
            sim.run_until_idle().await;
            let report = manager.shutdown(SECOND * 60).await.unwrap();
            assert!(sim.elapsed() <= SECOND + Duration::from_millis(250), "{:?}", sim.elapsed());
            assert_eq!((report.finished, report.returned, report.abandoned), (0, 1, 0));
            assert_eq!(manager.metrics().queued, 1, "it was interrupted by its own stop");
            drop((manager, own.lock().unwrap().take()));
            sim.run_until_idle().await;
            assert_eq!((sim.live_tasks(), Arc::strong_count(&store)), (0, 1));
        });
    });
}

#[test]
fn a_handler_may_drop_the_last_handle_of_its_own_manager() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let own = OwnHandle::default();
            let taken = Arc::clone(&own);
            let last = consumer(
                "last",
                move |(): (), ctx: Context| {
                    let taken = Arc::clone(&taken);
                    async move {
                        drop(taken.lock().unwrap().take());
                        ctx.sleep(SECOND).await;
                    }
                },
                |_| {},
            );
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let manager = Manager::builder().runtime(sim.runtime()).store(store.clone());
            let manager = manager.register(last).consumers(2).build().unwrap();
            manager.enqueue(Task::new("last", ())).await.unwrap();
            manager.start().await.unwrap();
            *own.lock().unwrap() = Some(manager);
            sim.advance(SECOND * 5).await;
            sim.run_until_idle().await;
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
            assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the store");
            let task = store.inspect(&Filter::default()).await.unwrap().tasks.remove(0);
            assert_eq!(task.state, conveyor::TaskState::Queued, "it was handed back");
            assert_eq!((task.budgets.errors, task.budgets.crashes), (0, 0));
        });
    });
}

/// Claims like a process that then dies: it never settles and never renews.
async fn claim_and_die(store: &MemoryStore, room: usize) {
    let kinds = [KindRoom { kind: Kind::from_static("work"), room }];
    let queues = [QueueName::DEFAULT];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room };
    let by = Incarnation::new(7);
    let request = ClaimRequest { by, token: 1, lease: LEASE, demand, alone: false };
    assert_eq!(store.claim(request).await.unwrap().tasks.len(), room);
}

#[test]
fn a_shutdown_or_a_drop_in_the_middle_of_a_quarantine_costs_nothing() {
    for_seeds(0..150, |seed| {
        simulate(seed, |sim| async move {
            let runs: Log<(u32, u32)> = Log::new();
            let store = Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
            let build = || {
                let runs = runs.clone();
                let work = consumer(
                    "work",
                    move |number: u32, ctx: Context| {
                        runs.push((number, ctx.attempt()));
                        async move { ctx.sleep(SECOND).await }
                    },
                    |_| {},
                );
                let manager = Manager::builder().runtime(sim.runtime()).store(store.clone());
                manager.lease(LEASE).crash_budget(1).register(work).consumers(3).build().unwrap()
            };
            let first = build();
            for number in 0..4 {
                first.enqueue(Task::new("work", number)).await.unwrap();
            }
            claim_and_die(&store, 4).await;
            first.start().await.unwrap();
            for number in 4..12 {
                first.enqueue(Task::new("work", number)).await.unwrap();
            }
            // The suspects are there from the end of the lease on, and take four seconds.
            sim.advance(LEASE + Duration::from_millis(sim.random() % 8_000)).await;
            for number in 12..16 {
                first.enqueue(Task::new("work", number)).await.unwrap();
            }
            sim.advance(Duration::from_millis(sim.random() % 1_500)).await;
            if seed.is_multiple_of(2) {
                let grace = Duration::from_millis(sim.random() % 1_500);
                let before = sim.elapsed();
                first.shutdown(grace).await.unwrap();
                let took = sim.elapsed() - before;
                assert!(took <= grace + Duration::from_millis(250), "took {took:?} of {grace:?}");
            }
            drop(first);
            sim.run_until_idle().await;
            assert_eq!(sim.live_tasks(), 0, "{}", sim.describe_tasks());

            let heir = build();
            let metrics = heir.metrics();
            assert_eq!((metrics.active, metrics.crashed), (0, 0), "all was handed back");
            heir.start().await.unwrap();
            heir.idle().await.unwrap();
            let metrics = heir.metrics();
            assert_eq!((metrics.processed, metrics.crashed, metrics.live()), (16, 0, 0));
            assert!(runs.all().iter().all(|&(_, attempt)| attempt == 1), "{:?}", runs.all());
        });
    });
}

//! A manager whose last handle is dropped: everything stops, and nothing leaks.

use std::sync::{Mutex, Weak};

use super::*;

#[test]
fn dropping_every_handle_stops_everything_and_leaks_nothing() {
    for_seeds(0..100, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let state = Arc::new(String::from("shared"));
            let leaked: Weak<String> = Arc::downgrade(&state);
            let manager =
                builder(&sim, &log).shared_state(state).store(store.clone()).build().unwrap();
            manager.start().await.unwrap();
            let tasks = [("works", 60u64), ("deaf", 60), ("works", 1), ("deaf", 2), ("works", 5)];
            let mut receipts = Vec::new();
            for (kind, seconds) in tasks {
                receipts.push(manager.enqueue(Task::new(kind, seconds)).await.unwrap());
            }
            sim.advance(Duration::from_millis(1_500)).await;
            let other = manager.clone();
            drop(manager);
            sim.run_until_idle().await;
            assert!(sim.live_tasks() > 0, "a handle is left");
            drop(other);
            sim.run_until_idle().await;
            assert_eq!(sim.live_tasks(), 0, "only the test itself: {}", sim.describe_tasks());
            assert_eq!(sim.live_timers(), 0);
            drop(receipts);
            assert!(leaked.upgrade().is_none(), "the states are gone");
            assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the store");

            let heir = builder(&sim, &log).store(store).build().unwrap();
            let metrics = heir.metrics();
            assert_eq!((metrics.queued, metrics.active, metrics.processed), (4, 0, 1));
        });
    });
}

/// Also to a store that takes its time.
#[test]
fn dropping_every_handle_hands_back_what_runs() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let log = Log::new();
            let memory = Arc::new(MemoryStore::new(sim.clock()));
            let store = Arc::new(SlowStore::new(memory, sim.runtime()));
            let manager = builder(&sim, &log).store(store.clone()).build().unwrap();
            manager.start().await.unwrap();
            for kind in ["works", "deaf", "works"] {
                manager.enqueue(Task::new(kind, 60u64)).await.unwrap();
            }
            sim.advance(SECOND).await;
            drop(manager);
            sim.run_until_idle().await;
            assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0), "{}", sim.describe_tasks());
            let heir = builder(&sim, &log).store(store).build().unwrap();
            let metrics = heir.metrics();
            assert_eq!((metrics.queued, metrics.active, metrics.returned), (3, 0, 3));
        });
    });
}

#[test]
fn a_manager_that_was_never_started_leaks_nothing_either() {
    simulate(1, |sim| async move {
        let state = Arc::new(7u32);
        let leaked = Arc::downgrade(&state);
        let manager = builder(&sim, &Log::new()).shared_state(state).build().unwrap();
        let receipt = manager.enqueue(Task::new("works", 1u64)).await.unwrap();
        drop(manager);
        drop(receipt);
        sim.run_until_idle().await;
        assert_eq!((sim.live_tasks(), leaked.upgrade()), (0, None));
    });
}

#[test]
fn what_outlives_the_manager_is_told_so_and_lets_go() {
    for_seeds(0..50, |seed| {
        simulate(seed, |sim| async move {
            let store = Arc::new(MemoryStore::new(sim.clock()));
            let state = Arc::new(7u32);
            let leaked = Arc::downgrade(&state);
            let shelf: Arc<Mutex<Option<Context>>> = Arc::default();
            let keeps = Arc::clone(&shelf);
            let keeper = consumer(
                "keeps",
                move |(): (), ctx: Context| {
                    *keeps.lock().unwrap() = Some(ctx.clone());
                    async move { ctx.sleep(SECOND * 60).await }
                },
                |_| {},
            );
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .shared_state(state)
                .store(store.clone())
                .register(keeper)
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("keeps", ())).await.unwrap();
            sim.advance(SECOND).await;
            drop(manager);
            sim.run_until_idle().await;
            assert_eq!(sim.live_tasks(), 0);

            let kept = shelf.lock().unwrap().take().unwrap();
            assert_eq!(kept.cancellation(), Some(Cancelled::Shutdown));
            let refused = kept.enqueue(Task::new("keeps", ())).await.unwrap_err();
            assert_eq!(refused, EnqueueError::Stopped);
            assert_eq!(receipt.wait().await, Err(WaitError::Stopped { id: receipt.id() }));
            drop((kept, receipt));
            assert!(leaked.upgrade().is_none(), "the states are gone");
            assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the store");
        });
    });
}

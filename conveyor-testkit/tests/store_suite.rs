//! The store in memory passes the suite for stores.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::Durability;
use conveyor_core::{MemoryStore, Store};
use conveyor_testkit::store_suite::{ManualClock, StoreHarness, StoreOptions};

/// A store in memory, whose clock is moved by hand. It is shared by several processes, which
/// changes nothing but what it says of itself.
#[derive(Default)]
struct InMemory {
    clock: Arc<ManualClock>,
    last: Mutex<Option<Arc<dyn Store>>>,
}

impl StoreHarness for InMemory {
    fn open(&self, StoreOptions { capacity, retention }: StoreOptions) -> Option<Arc<dyn Store>> {
        let mut store = MemoryStore::new(self.clock.clone()).shared_by_managers();
        if let Some(capacity) = capacity {
            store = store.with_capacity_limit(capacity);
        }
        if let Some(retention) = retention {
            store = store.with_retention(retention);
        }
        let store: Arc<dyn Store> = Arc::new(store);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
        Some(store)
    }

    /// Who else has it, has it by the same pointer.
    fn open_again(&self) -> Option<Arc<dyn Store>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn block_on(&self, call: BoxFuture<'_, ()>) {
        futures::executor::block_on(call);
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn set_back(&self, by: Duration) -> bool {
        self.clock.set_back(by);
        true
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn model_runs(&self) -> u32 {
        400
    }
}

conveyor_testkit::store_suite!(InMemory::default);

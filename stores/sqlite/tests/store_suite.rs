//! The store in a SQLite file passes the suite for stores.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor_core::Store;
use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::Durability;
use conveyor_sqlite::{SqliteOptions, Synchronous};
use conveyor_testkit::store_suite::{ManualClock, StoreHarness, StoreOptions};
use tempfile::TempDir;

/// Files in a folder of their own, and a clock that is moved by hand.
struct InFiles {
    folder: TempDir,
    clock: Arc<ManualClock>,
    opened: AtomicU32,
    last: Mutex<Option<(PathBuf, StoreOptions)>>,
}

impl InFiles {
    fn new() -> Self {
        InFiles {
            folder: tempfile::tempdir().expect("a folder can be made"),
            clock: Arc::default(),
            opened: AtomicU32::new(0),
            last: Mutex::default(),
        }
    }

    fn open_file(&self, path: PathBuf, options: StoreOptions) -> Arc<dyn Store> {
        let StoreOptions { capacity, retention } = options;
        let mut options = SqliteOptions::new(path).clock(self.clock.clone());
        // The disk is waited for in tests of its own.
        options = options.synchronous(Synchronous::Normal);
        if let Some(capacity) = capacity {
            options = options.capacity_limit(capacity);
        }
        if let Some(retention) = retention {
            options = options.retention(retention);
        }
        Arc::new(futures::executor::block_on(options.open()).expect("the file can be opened"))
    }
}

impl StoreHarness for InFiles {
    fn open(&self, options: StoreOptions) -> Option<Arc<dyn Store>> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("{number}.db"));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.clone(), options));
        Some(self.open_file(path, options))
    }

    fn open_again(&self) -> Option<Arc<dyn Store>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map(|(path, options)| self.open_file(path, options))
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
        Durability::ProcessCrash
    }
}

conveyor_testkit::store_suite!(InFiles::new);

#[cfg(conveyor_plant)]
conveyor_testkit::store_plants!();

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
#[cfg(feature = "sqlx")]
use conveyor_testkit::store_suite::SuiteTransaction;
use conveyor_testkit::store_suite::{ManualClock, StoreHarness, StoreOptions};
use tempfile::TempDir;

/// Files in a folder of their own, and a clock that is moved by hand.
struct InFiles {
    folder: TempDir,
    clock: Arc<ManualClock>,
    opened: AtomicU32,
    last: Mutex<Option<(PathBuf, StoreOptions)>>,
    /// For what only sqlx does: its driver's side of a transaction.
    runtime: tokio::runtime::Runtime,
}

impl InFiles {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        InFiles {
            folder: tempfile::tempdir().expect("a folder can be made"),
            clock: Arc::default(),
            opened: AtomicU32::new(0),
            last: Mutex::default(),
            runtime: runtime.expect("a runtime can be made"),
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
        self.runtime.block_on(call);
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

    #[cfg(feature = "sqlx")]
    fn begin(&self) -> Option<SuiteTransaction> {
        use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

        let path = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()?.0;
        let begun = self.runtime.block_on(async {
            let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await?;
            pool.begin_with("BEGIN IMMEDIATE").await
        });
        let begun = begun.expect("a transaction can be begun");
        Some(SuiteTransaction::new(begun, end))
    }

    #[cfg(feature = "sqlx")]
    fn cannot(&self) -> &[(&str, &str)] {
        const ONE_WRITER: &str = "who writes into a SQLite file waits until a transaction ends";
        &[
            ("transaction::a_key_that_it_holds_is_taken_until_its_end", ONE_WRITER),
            ("transaction::an_open_one_is_in_nobodys_way", ONE_WRITER),
            ("transaction::what_it_settles_is_busy_and_not_taken_back", ONE_WRITER),
        ]
    }
}

#[cfg(feature = "sqlx")]
async fn end(transaction: sqlx::Transaction<'static, sqlx::Sqlite>, commits: bool) {
    let end = if commits { transaction.commit().await } else { transaction.rollback().await };
    end.expect("it can be ended");
}

conveyor_testkit::store_suite!(InFiles::new);

#[cfg(conveyor_plant)]
conveyor_testkit::store_plants!();

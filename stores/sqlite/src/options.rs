//! [`SqliteOptions`]: which file, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use conveyor_core::runtime::Clock;
use conveyor_core::store::StoreResult;
use conveyor_core::time::Instant;
use conveyor_core::{Retention, RetentionByEnd, Timestamp};

use crate::SqliteStore;
use crate::step::Limits;

/// How much a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// The disk has it: a task that was accepted survives a loss of power.
    #[default]
    Full,
    /// The operating system has it: what was accepted survives a crash of any process, but a loss
    /// of power may take the last moments with it. The file stays sound. Much faster.
    Normal,
}

/// Which file a [`SqliteStore`] lives in, and how.
///
/// ```
/// # futures::executor::block_on(async {
/// use conveyor_sqlite::{SqliteOptions, Synchronous};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("tasks.db");
/// let store = SqliteOptions::new(path).synchronous(Synchronous::Normal).open().await?;
/// # drop(store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteOptions {
    pub(crate) path: PathBuf,
    pub(crate) synchronous: Synchronous,
    pub(crate) capacity: Option<usize>,
    pub(crate) retention: RetentionByEnd,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SqliteOptions {
    /// The file at `path`, which is made if there is none; with [`Synchronous::Full`], and without a
    /// bound.
    pub fn new(path: impl AsRef<Path>) -> Self {
        SqliteOptions {
            path: path.as_ref().to_owned(),
            synchronous: Synchronous::Full,
            capacity: None,
            retention: RetentionByEnd { count: 100_000, ..RetentionByEnd::default() },
            clock: Arc::new(MachineClock),
        }
    }

    /// Sets how much a commit waits for. It holds for what this process commits.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Refuses tasks beyond so many live ones. Ticks and the tasks of producers are not refused.
    #[must_use]
    pub fn capacity_limit(mut self, live_tasks: usize) -> Self {
        self.capacity = Some(live_tasks);
        self
    }

    /// How long all ends are kept. By default successes and cancels are kept for a day, failures
    /// and crashes for seven, but no more than 100,000.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention.into();
        self
    }

    /// How long successes are kept.
    #[must_use]
    pub fn keep_succeeded(mut self, age: Duration) -> Self {
        self.retention.succeeded = age;
        self
    }

    /// How long failures are kept.
    #[must_use]
    pub fn keep_failed(mut self, age: Duration) -> Self {
        self.retention.failed = age;
        self
    }

    /// How long cancelled tasks are kept.
    #[must_use]
    pub fn keep_cancelled(mut self, age: Duration) -> Self {
        self.retention.cancelled = age;
        self
    }

    /// How long tasks that crashed their process are kept.
    #[must_use]
    pub fn keep_crashed(mut self, age: Duration) -> Self {
        self.retention.crashed = age;
        self
    }

    /// Goes by the wall time of `clock`, not by the machine's: for tests. All processes on one
    /// file must agree on the time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store.
    ///
    /// Cancel safe: a store whose opening is dropped is closed again.
    ///
    /// # Errors
    /// [`StoreError`](conveyor_core::store::StoreError) if the file cannot be opened or written to,
    /// is no SQLite file, was made by a newer version that this one does not understand, or if the
    /// SQLite that is linked is older than 3.51.3, which can lose commits.
    pub async fn open(self) -> StoreResult<SqliteStore> {
        SqliteStore::open_with(self).await
    }
}

impl SqliteOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits { capacity: self.capacity, retention: self.retention }
    }
}

impl std::fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("path", &self.path)
            .field("synchronous", &self.synchronous)
            .field("capacity", &self.capacity)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// The time of the machine, which all processes on one file share.
struct MachineClock;

impl Clock for MachineClock {
    /// The store asks for the time of day only.
    fn now(&self) -> Instant {
        Instant::default()
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

//! [`StoreHarness`]: what the suite has to be told of a store.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conveyor_core::runtime::{BoxFuture, Clock};
use conveyor_core::store::Durability;
use conveyor_core::time::Instant;
use conveyor_core::{Retention, Store, Timestamp};

use super::transaction::SuiteTransaction;

/// What the suite has to be told of a store: how to open it, how to wait for it, how its time
/// passes, and what it cannot do.
///
/// Each case gets a harness of its own and drops it at its end, so a harness is the place to tidy
/// up what it opened.
pub trait StoreHarness: Send + Sync + 'static {
    /// Opens a store that holds nothing, on a place of its own; a case may ask for several.
    ///
    /// `None` if this store cannot be opened so. A case that needs it then fails, unless
    /// [`cannot`](StoreHarness::cannot) lists it.
    fn open(&self, options: StoreOptions) -> Option<Arc<dyn Store>>;

    /// Opens the store that was opened last once more, as another process would: with its own
    /// connections and caches, over the same data.
    ///
    /// `None` if there is no such thing; the cases that need it are then to be listed.
    fn open_again(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Runs a call of a store to its end, on whatever its driver needs. Cases call it from several
    /// threads at a time.
    ///
    /// What a store does in the background (listening for wake-ups, say) has to go on between the
    /// calls, so a runtime should have a thread of its own.
    fn block_on(&self, call: BoxFuture<'_, ()>);

    /// The step in which the cases let time pass: leases and delays are a few of them.
    ///
    /// Nothing that a case does between two steps may take as long, also on a slow machine. If the
    /// clock can be moved, a minute is good; if it has to be waited for, no less than 200 ms.
    fn tick(&self) -> Duration;

    /// Lets so much time pass, by the clock of every store that was opened: moves the clock if
    /// that can be done in tests, else waits.
    fn advance(&self, by: Duration);

    /// Sets the clock back; `false` if that cannot be done, and then the cases that need it are to
    /// be listed.
    fn set_back(&self, by: Duration) -> bool {
        let _ = by;
        false
    }

    /// How much an accepted task survives here, as you set the server up. The store has to find
    /// out by itself, and to say the same.
    fn durability(&self) -> Durability;

    /// Begins a transaction of the driver's, in the data of the store that was opened last: one that
    /// [`StoreTransaction`](conveyor_core::store::StoreTransaction) is implemented for.
    ///
    /// `None` if there are none, as the store then says in its
    /// [`Capabilities`](conveyor_core::store::Capabilities).
    fn begin(&self) -> Option<SuiteTransaction> {
        None
    }

    /// What this store cannot do: the names of the cases, such as `enqueue::a_full_store_…`, each
    /// with the reason. Keep it beside the tests.
    ///
    /// A case that is listed must fail: one that passes, and a name that no case has, is an error.
    fn cannot(&self) -> &[(&str, &str)] {
        &[]
    }

    /// How many sequences of calls the [model](super::model) is held against.
    fn model_runs(&self) -> u32 {
        64
    }

    /// After how long a case counts as hanging.
    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// How a store is to be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// The most live tasks; unbounded if there is none.
    pub capacity: Option<usize>,
    /// How long ends are kept; if there is none, for longer than a case takes.
    pub retention: Option<Retention>,
}

/// A clock that stands still until it is moved: for stores that are given one.
pub struct ManualClock(Mutex<(Instant, Timestamp)>);

impl ManualClock {
    /// A clock at some instant.
    #[must_use]
    pub fn new() -> Self {
        ManualClock(Mutex::new((Instant::default(), Timestamp::from_secs(1_700_000_000))))
    }

    /// Moves both times ahead.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times();
        *times = (times.0 + by, times.1 + by);
    }

    /// Moves the wall time back; the monotonic time stays.
    pub fn set_back(&self, by: Duration) {
        let mut times = self.times();
        times.1 = times.1 - by;
    }

    fn times(&self) -> MutexGuard<'_, (Instant, Timestamp)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        ManualClock::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.times().0
    }

    fn wall(&self) -> Timestamp {
        self.times().1
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.wall())
    }
}

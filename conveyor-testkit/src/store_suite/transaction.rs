//! [`SuiteTransaction`]: a transaction of a store's driver, as the suite takes it.

use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use conveyor_core::Store;
use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::{
    Enqueued, NewTask, Settle, Settled, StoreError, StoreErrorKind, StoreFuture, StoreTransaction,
};

use super::Suite;
use super::setup::Setup;

/// A transaction of a store's driver, with the way to end it.
pub struct SuiteTransaction(Box<dyn Open>);

impl SuiteTransaction {
    /// A transaction that has begun, and what ends it: a commit if it is told `true`, else a rollback.
    ///
    /// Its futures are driven by the harness's [`block_on`](super::StoreHarness::block_on).
    pub fn new<S, T, F>(transaction: T, end: fn(T, bool) -> F) -> Self
    where
        S: Store,
        T: StoreTransaction<S> + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        SuiteTransaction(Box::new(Begun { transaction, end, store: PhantomData::<fn(S)> }))
    }
}

/// Whatever the driver.
trait Open: Send {
    fn enqueue<'a>(
        &'a mut self,
        store: &'a dyn Store,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>>;

    fn settle<'a>(&'a mut self, store: &'a dyn Store, settle: Settle) -> StoreFuture<'a, Settled>;

    fn end(self: Box<Self>, commits: bool) -> BoxFuture<'static, ()>;
}

struct Begun<S, T, F> {
    transaction: T,
    end: fn(T, bool) -> F,
    store: PhantomData<fn(S)>,
}

impl<S, T, F> Open for Begun<S, T, F>
where
    S: Store,
    T: StoreTransaction<S> + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn enqueue<'a>(
        &'a mut self,
        store: &'a dyn Store,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>> {
        match store.find::<S>() {
            Ok(store) => self.transaction.enqueue(store, batch),
            Err(other) => StoreFuture::ready(Err(refused(other))),
        }
    }

    fn settle<'a>(&'a mut self, store: &'a dyn Store, settle: Settle) -> StoreFuture<'a, Settled> {
        match store.find::<S>() {
            Ok(store) => self.transaction.settle(store, settle),
            Err(other) => StoreFuture::ready(Err(refused(other))),
        }
    }

    fn end(self: Box<Self>, commits: bool) -> BoxFuture<'static, ()> {
        Box::pin((self.end)(self.transaction, commits))
    }
}

fn refused(other: conveyor_core::store::OtherStore) -> StoreError {
    StoreError::new(other.store, StoreErrorKind::Refused, other)
}

/// How long others may take while a transaction is open. They may have to look whether a lock comes
/// free, but they must not wait for it.
const PROMPT: Duration = Duration::from_secs(10);

/// An open transaction of a case. One that is dropped, as by a case that fails, is rolled back.
pub(super) struct Transaction<'s> {
    setup: &'s Setup,
    open: Option<SuiteTransaction>,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(setup: &'s Setup, open: SuiteTransaction) -> Self {
        Transaction { setup, open: Some(open) }
    }

    fn open(&mut self) -> &mut dyn Open {
        &mut *self.open.as_mut().expect("it is open until it is dropped").0
    }

    pub(super) fn enqueue(&mut self, batch: Vec<NewTask>) -> Vec<Enqueued> {
        let (setup, count) = (self.setup, batch.len());
        let replies = setup.done(self.open().enqueue(&*setup.store, batch));
        assert_eq!(replies.len(), count, "each element is answered");
        replies
    }

    pub(super) fn settle(&mut self, settle: Settle) -> Settled {
        let setup = self.setup;
        setup.done(self.open().settle(&*setup.store, settle))
    }

    pub(super) fn commit(self) {
        self.end(true);
    }

    pub(super) fn rollback(self) {
        self.end(false);
    }

    pub(super) fn end(mut self, commits: bool) {
        self.close(commits);
    }

    fn close(&mut self, commits: bool) {
        if let Some(SuiteTransaction(open)) = self.open.take() {
            self.setup.harness().block_on(open.end(commits));
        }
    }

    /// What others do while it is open, which must not wait for its end.
    pub(super) fn meanwhile<R: Send>(&mut self, act: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let (done, hears) = mpsc::channel::<()>();
            let others = scope.spawn(move || {
                let _done = done; // dropped at the end, however it comes
                act()
            });
            let waited = hears.recv_timeout(PROMPT) == Err(mpsc::RecvTimeoutError::Timeout);
            if waited {
                self.close(false); // so that they can go on
            }
            let reply = others.join().unwrap_or_else(|panic| resume_unwind(panic));
            assert!(!waited, "others wait for the end of an open transaction");
            reply
        })
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.close(false);
    }
}

/// An empty store whose driver has transactions; `None` if it says of itself that it has none, which
/// must be so.
pub(super) fn open(suite: &Suite) -> Option<Setup> {
    let setup = suite.open();
    if setup.store.capabilities().transactions {
        return Some(setup);
    }
    let begun = suite.harness().begin().is_some();
    assert!(!begun, "the harness begins transactions, of which the store does not tell");
    None
}

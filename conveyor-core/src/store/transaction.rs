//! [`StoreTransaction`]: what a caller's own transaction takes in.

use std::any::{Any, type_name};

use super::{Enqueued, NewTask, Settle, Settled, Store, StoreFuture};

/// A transaction of a caller's own in the database of a store `S`: what is enqueued or settled in
/// it takes effect if and only if it commits.
///
/// Stores implement it for the transactions of their driver; one implementation for a type lets
/// the compiler find `S`.
///
/// After an error, the transaction is good for a rollback only, unless its store says otherwise.
pub trait StoreTransaction<S: Store>: Send {
    /// As [`Store::enqueue`], in this transaction: keys are checked in it, and what it enqueued
    /// itself is known to it.
    fn enqueue<'a>(
        &'a mut self,
        store: &'a S,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>>;

    /// As [`Store::settle`] of one attempt, in this transaction.
    fn settle<'a>(&'a mut self, store: &'a S, settle: Settle) -> StoreFuture<'a, Settled>;
}

/// The transaction is of another store than the manager's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the transaction is one of a {transaction}, but the manager's store is {store:?}; build the \
     manager with the store that the transaction is of"
)]
pub struct OtherStore {
    /// The [name](super::Capabilities::name) of the manager's store.
    pub store: &'static str,
    /// The type of the store that the transaction is of.
    pub transaction: &'static str,
}

impl dyn Store {
    /// The store of that type: this one, or the one that it stands before.
    ///
    /// # Errors
    /// [`OtherStore`] if there is none.
    pub fn find<S: Store>(&self) -> Result<&S, OtherStore> {
        let mut store = self;
        loop {
            if let Some(found) = (store as &dyn Any).downcast_ref() {
                return Ok(found);
            }
            store = store.inner().ok_or_else(|| OtherStore {
                store: self.capabilities().name,
                transaction: type_name::<S>(),
            })?;
        }
    }
}

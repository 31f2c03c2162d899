//! [`StoreTransaction`]: what a caller's own transaction takes in.

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

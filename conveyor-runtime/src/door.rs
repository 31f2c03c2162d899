//! The door to the store: every call goes through here, where it is told and its errors are seen.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::runtime::Runtime;
use conveyor_core::store::{
    Capabilities, Store, StoreError, StoreErrorKind, StoreFuture, StoreResult,
};
use futures::future::{Either, select};
use tracing::Instrument;

pub(crate) struct Door {
    store: Arc<dyn Store>,
    pub(crate) capabilities: Capabilities,
}

impl Door {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Door { capabilities: store.capabilities(), store }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Calls the store, and waits for its reply if that is not at hand, for as long as it takes:
    /// for what a caller asked for, who can lose patience.
    ///
    /// # Errors
    /// The store's; it was logged.
    pub(crate) async fn call<'a, T>(
        &'a self,
        verb: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> StoreResult<T> {
        let reply = match call(&*self.store).now_or_later() {
            Ok(reply) => reply,
            // Boxed, so that a call whose reply is at hand is small.
            Err(later) => Box::pin(self.later(verb, later)).await,
        };
        told(verb, reply)
    }

    /// Calls a store that answers at once.
    ///
    /// # Errors
    /// The store's, or that it did not answer after all; it was logged.
    pub(crate) fn at_once<'a, T>(
        &'a self,
        verb: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> StoreResult<T> {
        let reply = call(&*self.store).now_or_later().unwrap_or_else(|_| {
            Err(StoreError::new(
                self.capabilities.name,
                StoreErrorKind::Refused,
                format!("it says that it answers at once, and did not answer `{verb}`"),
            ))
        });
        told(verb, reply)
    }

    /// Calls the store, and takes its reply for lost if it does not come within `limit`: a
    /// connection may be half open, and then no reply ever comes.
    ///
    /// # Errors
    /// The store's, or that it cannot be reached; it was logged.
    pub(crate) async fn call_within<'a, T>(
        &'a self,
        runtime: &dyn Runtime,
        limit: Duration,
        verb: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> StoreResult<T> {
        let reply = match call(&*self.store).now_or_later() {
            Ok(reply) => reply,
            Err(later) => Box::pin(self.within(runtime, limit, verb, later)).await,
        };
        told(verb, reply)
    }

    async fn within<T>(
        &self,
        runtime: &dyn Runtime,
        limit: Duration,
        verb: &'static str,
        later: StoreFuture<'_, T>,
    ) -> StoreResult<T> {
        let timer = runtime.sleep_until(runtime.now() + limit);
        match select(pin!(self.later(verb, later)), timer).await {
            Either::Left((reply, _)) => reply,
            Either::Right(_) => Err(StoreError::new(
                self.capabilities.name,
                StoreErrorKind::Unavailable,
                format!("it did not answer `{verb}` within {limit:?}"),
            )),
        }
    }

    async fn later<T>(&self, verb: &'static str, later: StoreFuture<'_, T>) -> StoreResult<T> {
        let store = self.capabilities.name;
        later.instrument(tracing::debug_span!("store", store, verb)).await
    }
}

/// Tells the log of a failure.
fn told<T>(verb: &'static str, reply: StoreResult<T>) -> StoreResult<T> {
    if let Err(error) = &reply {
        tracing::warn!(verb, %error, "the store failed");
    }
    reply
}

//! The door to the store: every call goes through here, where it is told and its errors are seen.

use std::sync::Arc;

use conveyor_core::store::{Capabilities, Store, StoreFuture, StoreResult};
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

    /// Calls the store, and waits for its reply if that is not at hand.
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
            Err(later) => {
                let store = self.capabilities.name;
                later.instrument(tracing::debug_span!("store", store, verb)).await
            }
        };
        if let Err(error) = &reply {
            tracing::warn!(verb, %error, "the store failed");
        }
        reply
    }
}

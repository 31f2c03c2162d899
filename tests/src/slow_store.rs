//! [`SlowStore`]: a store whose replies are not at hand, for the interleavings that one in memory
//! never shows.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use conveyor::{Fence, Incarnation, Runtime, Store};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{Capabilities, Claim, ClaimRequest, Renewed, StoreFuture, WakeSink};

use crate::pass_on;

/// Lets others run a few times before and after each call of the store within: so often as the
/// runtime's chance says, and in no time.
pub struct SlowStore {
    within: Arc<dyn Store>,
    runtime: Arc<dyn Runtime>,
    claims: AtomicUsize,
    /// The most bytes of a payload, if it is to be encoded.
    max_payload: Option<usize>,
}

impl SlowStore {
    /// That store, slowly.
    #[must_use]
    pub fn new(within: Arc<dyn Store>, runtime: Arc<dyn Runtime>) -> Self {
        SlowStore { within, runtime, claims: AtomicUsize::new(0), max_payload: None }
    }

    /// Takes payloads as bytes only, and no more than so many.
    #[must_use]
    pub fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = Some(bytes);
        self
    }

    /// How often it was asked for tasks.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims.load(Ordering::Relaxed)
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::later(async move {
            self.dawdle().await;
            let reply = call(&*self.within).await;
            self.dawdle().await;
            reply
        })
    }

    async fn dawdle(&self) {
        let mut times = self.runtime.random() % 4;
        poll_fn(|cx| {
            if times == 0 {
                return Poll::Ready(());
            }
            times -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Store for SlowStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.within.capabilities();
        capabilities.immediate = false;
        if let Some(bytes) = self.max_payload {
            (capabilities.encoded, capabilities.max_payload) = (true, bytes);
        }
        capabilities
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.pass(move |store| store.claim(request))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.pass(move |store| store.renew(by, fences, lease))
    }

    pass_on!();

    /// At once: `Manager::metrics` is for replies that are at hand.
    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.within.counters()
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.within.subscribe(sink);
    }
}

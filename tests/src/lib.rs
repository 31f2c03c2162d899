//! What the tests of the whole share: workers made of closures, and a log of what ran.

pub mod slow_store;
pub mod world;

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use conveyor::{Context, Definition, Payload, Worker};
use conveyor_core::outcome::IntoResult;
use conveyor_core::worker::KindDefinition;

/// A worker of one kind, made of a closure; `settings` are called on its definition.
pub fn consumer<P, H, F>(
    kind: &'static str,
    handler: H,
    settings: impl Fn(&mut KindDefinition) + Send + Sync + 'static,
) -> impl Worker
where
    P: Payload + Clone,
    H: Fn(P, Context) -> F + Send + Sync + 'static,
    F: Future<Output: IntoResult> + Send + 'static,
{
    let handler = Arc::new(handler);
    Defined(move |definition: &mut Definition| {
        let handler = Arc::clone(&handler);
        settings(definition.consume(kind, move |payload: P, ctx| handler(payload, ctx)));
    })
}

/// A worker that is defined by a closure.
pub struct Defined<D>(pub D);

impl<D: Fn(&mut Definition) + Send + Sync + 'static> Worker for Defined<D> {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        (self.0)(definition);
    }
}

/// What happened, in order. Clones share it.
#[derive(Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log(Arc::default())
    }
}

impl<T: Clone + Debug> Log<T> {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Log::default()
    }

    /// Notes that something happened.
    pub fn push(&self, what: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What happened so far.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much happened so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nothing happened so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

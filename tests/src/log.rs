//! [`Log`]: what happened, in order, and a way to wait for it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;

/// What happened, in order. Clones share it.
#[derive(Debug)]
pub struct Log<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    entries: Mutex<Vec<T>>,
    grown: Event,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log(Arc::new(Shared { entries: Mutex::default(), grown: Event::new() }))
    }
}

impl<T: Clone + Debug> Log<T> {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Log::default()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something happened.
    pub fn push(&self, what: T) {
        self.entries().push(what);
        self.0.grown.notify(usize::MAX);
    }

    /// What happened so far.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.entries().clone()
    }

    /// How much happened so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether nothing happened so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until so much happened, and tells all of it.
    pub async fn reaches(&self, len: usize) -> Vec<T> {
        self.until(|all| all.len() >= len).await
    }

    /// Waits until such things happened, and tells all that did.
    pub async fn until(&self, enough: impl Fn(&[T]) -> bool) -> Vec<T> {
        loop {
            let grown = self.0.grown.listen();
            let all = self.all();
            if enough(&all) {
                return all;
            }
            grown.await;
        }
    }
}

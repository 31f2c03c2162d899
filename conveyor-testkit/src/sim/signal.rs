//! [`Signal`]: something that is said once to everybody who listens at that moment.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::executor::lock;

/// Says values to listeners: each hears the first value that is said after it began to listen.
pub(super) struct Signal<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    said: Vec<T>,
    /// By the listener's number, so that they are woken in the order in which they came.
    waiting: BTreeMap<u64, Waker>,
    listeners: u64,
}

impl<T: Copy> Signal<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Signal {
            inner: Mutex::new(Inner { said: Vec::new(), waiting: BTreeMap::new(), listeners: 0 }),
        })
    }

    /// Says `value` to every listener; whether one was waiting for it.
    pub(super) fn say(&self, value: T) -> bool {
        let waiting = {
            let mut inner = lock(&self.inner);
            inner.said.push(value);
            std::mem::take(&mut inner.waiting)
        };
        let heard = !waiting.is_empty();
        for waker in waiting.into_values() {
            waker.wake();
        }
        heard
    }

    pub(super) fn is_awaited(&self) -> bool {
        !lock(&self.inner).waiting.is_empty()
    }

    /// Forgets who waits.
    pub(super) fn clear(&self) {
        let waiting = std::mem::take(&mut lock(&self.inner).waiting);
        drop(waiting);
    }

    pub(super) fn listen(self: &Arc<Self>) -> Listener<T> {
        let mut inner = lock(&self.inner);
        inner.listeners += 1;
        Listener { id: inner.listeners, from: inner.said.len(), signal: Arc::clone(self) }
    }
}

/// Waits for the first value that is said after [`Signal::listen`].
pub(super) struct Listener<T: Copy> {
    id: u64,
    from: usize,
    signal: Arc<Signal<T>>,
}

impl<T: Copy> Future for Listener<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut inner = lock(&self.signal.inner);
        if let Some(&value) = inner.said.get(self.from) {
            return Poll::Ready(value);
        }
        let replaced = inner.waiting.insert(self.id, waker);
        drop(inner);
        drop(replaced);
        Poll::Pending
    }
}

impl<T: Copy> Drop for Listener<T> {
    fn drop(&mut self) {
        let removed = lock(&self.signal.inner).waiting.remove(&self.id);
        drop(removed);
    }
}

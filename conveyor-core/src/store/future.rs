//! [`StoreFuture`]: a reply that is there already, or comes later.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::StoreResult;
use crate::runtime::BoxFuture;

/// The reply of a store: at hand for one in memory, which then needs no allocation; else a future.
pub struct StoreFuture<'a, T>(Reply<'a, T>);

enum Reply<'a, T> {
    Ready(Option<StoreResult<T>>),
    Later(BoxFuture<'a, StoreResult<T>>),
}

impl<'a, T> StoreFuture<'a, T> {
    /// A reply that is at hand.
    pub fn ready(reply: StoreResult<T>) -> Self {
        StoreFuture(Reply::Ready(Some(reply)))
    }

    /// A reply that comes later.
    pub fn later(reply: impl Future<Output = StoreResult<T>> + Send + 'a) -> Self {
        StoreFuture(Reply::Later(Box::pin(reply)))
    }

    /// The reply, with its value changed by `change`.
    pub fn map<U: 'a>(self, change: impl FnOnce(T) -> U + Send + 'a) -> StoreFuture<'a, U>
    where
        T: 'a,
    {
        match self.0 {
            Reply::Ready(reply) => StoreFuture(Reply::Ready(reply.map(|reply| reply.map(change)))),
            Reply::Later(reply) => StoreFuture::later(async move { reply.await.map(change) }),
        }
    }

    /// The reply if it is at hand, else the future.
    ///
    /// # Errors
    /// Gives the future back if it has to be waited for.
    pub fn now_or_later(self) -> Result<StoreResult<T>, Self> {
        match self.0 {
            Reply::Ready(Some(reply)) => Ok(reply),
            later => Err(StoreFuture(later)),
        }
    }
}

// The value is never pinned: only the box is polled.
impl<T> Unpin for StoreFuture<'_, T> {}

impl<T> Future for StoreFuture<'_, T> {
    type Output = StoreResult<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Reply::Ready(reply) => {
                Poll::Ready(reply.take().expect("a future is not polled after it was ready"))
            }
            Reply::Later(reply) => reply.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reply::Ready(_) => "StoreFuture(ready)",
            Reply::Later(_) => "StoreFuture(later)",
        })
    }
}

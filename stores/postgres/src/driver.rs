//! What the store's thread runs on: tokio, or smol. Nothing else in this crate names either.

use std::future::Future;
use std::time::Duration;

/// Runs the thread's one future to its end.
#[cfg(feature = "tokio")]
pub(crate) fn block_on(future: impl Future<Output = ()>) -> std::io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(future);
    Ok(())
}

/// Runs the thread's one future to its end.
#[cfg(all(feature = "smol", not(feature = "tokio")))]
pub(crate) fn block_on(future: impl Future<Output = ()>) -> std::io::Result<()> {
    smol::block_on(future);
    Ok(())
}

/// Waits; only on the store's thread.
#[cfg(feature = "tokio")]
pub(crate) async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Waits; only on the store's thread.
#[cfg(all(feature = "smol", not(feature = "tokio")))]
pub(crate) async fn sleep(time: Duration) {
    smol::Timer::after(time).await;
}

/// What `future` comes to, unless it takes longer than `time`.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    use futures::future::{Either, select};
    match select(std::pin::pin!(future), std::pin::pin!(sleep(time))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

#[cfg(not(any(feature = "tokio", feature = "smol")))]
compile_error!("conveyor-postgres needs the feature `tokio` or `smol` for its driver's thread");

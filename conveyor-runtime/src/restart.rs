//! Restart: the engine's own tasks outlive a panic.
//!
//! Handlers are guarded where they are called. This is the net below: whatever panics in a consumer
//! or a loop, such as the drop of a worker that was taken away, the pool's width comes back and no
//! schedule stops.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use conveyor_core::worker::catch_panic;

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

/// Who ran for so long is restarted at once, as if it had never panicked.
const HEALTHY: Duration = Duration::from_secs(60);

/// Runs what `make` makes to its end, and makes it again if it panics.
pub(crate) async fn restart<F: Future<Output = ()> + Send>(
    engine: Arc<Engine>,
    name: &'static str,
    make: impl Fn(Arc<Engine>) -> F + Send,
) {
    let mut pause = RetryPause::new();
    loop {
        let started = engine.runtime.now();
        let mut run = Box::pin(make(Arc::clone(&engine)));
        let ran = poll_fn(|cx| match catch_panic(|| run.as_mut().poll(cx)) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await;
        // What it held goes first, so that the next one finds it.
        let ran = ran.and(catch_panic(|| drop(run)));
        let Err(panic) = ran else { return };
        tracing::error!(name, %panic, "a task of the engine panicked; it starts again");
        if engine.phases.now() >= Phase::Draining {
            return;
        }
        if engine.runtime.now().saturating_since(started) > HEALTHY {
            pause.reset();
        }
        pause.wait(&engine).await;
    }
}

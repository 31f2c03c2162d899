//! [`TokioRuntime`]: the engine on tokio.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use conveyor_core::Timestamp;
use conveyor_core::runtime::{
    BoxFuture, Clock, JoinError, JoinHandle, Joinable, Runtime, StopSignal,
};
use conveyor_core::time::Instant;
use conveyor_core::worker::panic_text;
use tokio::runtime::{Handle, TryCurrentError};

/// Runs on a tokio runtime: the one that is current where it is made, or any other by its handle.
///
/// Time is tokio's own, so that `tokio::time::pause` works in tests.
#[derive(Debug)]
pub struct TokioRuntime {
    handle: Handle,
    origin: tokio::time::Instant,
}

impl TokioRuntime {
    /// Runs on the current tokio runtime.
    ///
    /// # Errors
    /// If there is none, such as outside `#[tokio::main]`.
    pub fn current() -> Result<Self, TryCurrentError> {
        Handle::try_current().map(TokioRuntime::new)
    }

    /// Runs on that tokio runtime.
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        let origin = {
            let _inside = handle.enter();
            tokio::time::Instant::now()
        };
        TokioRuntime { handle, origin }
    }
}

impl Clock for TokioRuntime {
    fn now(&self) -> Instant {
        let since = tokio::time::Instant::now().saturating_duration_since(self.origin);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

impl Runtime for TokioRuntime {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        JoinHandle::new(Spawned(self.handle.spawn(future)))
    }

    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        let (done, wait) = tokio::sync::oneshot::channel();
        let (abort, aborted) = tokio::sync::oneshot::channel::<()>();
        let thread =
            std::thread::Builder::new().name(format!("conveyor-{name}")).spawn(move || {
                // A runtime of its own: its timers must not wait for threads that a handler blocks.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let result = match runtime {
                    Err(error) => {
                        Err(JoinError::Panicked(format!("cannot start the thread: {error}")))
                    }
                    Ok(runtime) => runtime.block_on(async {
                        let task = tokio::spawn(future);
                        let stop = task.abort_handle();
                        tokio::pin!(task);
                        tokio::select! {
                            joined = &mut task => joined.map_err(join_error),
                            Ok(()) = aborted => {
                                stop.abort();
                                task.await.map_err(join_error)
                            }
                        }
                    }),
                };
                // Nobody listens if the handle was dropped.
                let _ = done.send(result);
            });
        match thread {
            Ok(_) => JoinHandle::new(Dedicated { abort: Some(abort).into(), wait }),
            Err(error) => panic!("cannot start the thread conveyor-{name}: {error}"),
        }
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle {
        JoinHandle::new(Spawned(self.handle.spawn_blocking(work)))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let since = Duration::from_nanos(deadline.as_nanos());
        let sleep = || match self.origin.checked_add(since) {
            Some(deadline) => tokio::time::sleep_until(deadline),
            // Centuries away: tokio has its own way to say "never".
            None => tokio::time::sleep(Duration::MAX),
        };
        // Where there is a current runtime, its timer is the one that is polled.
        if Handle::try_current().is_ok() {
            Box::pin(sleep())
        } else {
            let _inside = self.handle.enter();
            Box::pin(sleep())
        }
    }

    fn random(&self) -> u64 {
        // The standard library seeds it from the operating system, once for each thread.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    #[cfg(unix)]
    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        use tokio::signal::unix::{SignalKind, signal};
        let _inside = self.handle.enter();
        // Listened for from now on, not from the first poll.
        let signals = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        Box::pin(async move {
            let (mut interrupt, mut terminate) = signals?;
            tokio::select! {
                _ = interrupt.recv() => Ok(StopSignal::Interrupt),
                _ = terminate.recv() => Ok(StopSignal::Terminate),
            }
        })
    }

    #[cfg(not(unix))]
    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        Box::pin(async { tokio::signal::ctrl_c().await.map(|()| StopSignal::Interrupt) })
    }
}

fn join_error(error: tokio::task::JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(panic) => JoinError::Panicked(panic_text(&*panic)),
        Err(_) => JoinError::Aborted,
    }
}

struct Spawned(tokio::task::JoinHandle<()>);

impl Joinable for Spawned {
    fn abort(&self) {
        self.0.abort();
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        Pin::new(&mut self.0).poll(cx).map_err(join_error)
    }
}

struct Dedicated {
    abort: std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    wait: tokio::sync::oneshot::Receiver<Result<(), JoinError>>,
}

impl Joinable for Dedicated {
    fn abort(&self) {
        let abort = self.abort.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(abort) = abort {
            // The thread may have ended by itself.
            let _ = abort.send(());
        }
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        Pin::new(&mut self.wait).poll(cx).map(|done| done.unwrap_or(Err(JoinError::Aborted)))
    }
}

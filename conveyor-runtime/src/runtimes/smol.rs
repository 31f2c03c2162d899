//! [`SmolRuntime`]: the engine on smol.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use conveyor_core::Timestamp;
use conveyor_core::runtime::{
    BoxFuture, Clock, JoinError, JoinHandle, Joinable, Runtime, StopSignal,
};
use conveyor_core::time::Instant;
use conveyor_core::worker::catch_panic;
use futures::StreamExt;
use smol::Executor;

/// Runs on a smol executor: one that all managers of the process share, with a thread for each
/// processor, or one of your own.
#[derive(Clone, Debug)]
pub struct SmolRuntime {
    executor: Arc<Executor<'static>>,
    origin: std::time::Instant,
}

impl SmolRuntime {
    /// Runs on the executor that all managers of the process share. Its threads are started with
    /// the first use, and stay.
    ///
    /// It is not the executor of `smol::spawn`, which has a single thread unless the environment
    /// says otherwise.
    #[must_use]
    pub fn new() -> Self {
        static SHARED: OnceLock<Arc<Executor<'static>>> = OnceLock::new();
        SmolRuntime::on(Arc::clone(SHARED.get_or_init(start_shared)))
    }

    /// Runs on that executor, which somebody else runs.
    #[must_use]
    pub fn on(executor: Arc<Executor<'static>>) -> Self {
        SmolRuntime { executor, origin: std::time::Instant::now() }
    }
}

impl Default for SmolRuntime {
    fn default() -> Self {
        SmolRuntime::new()
    }
}

fn start_shared() -> Arc<Executor<'static>> {
    let executor = Arc::new(Executor::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for number in 0..threads {
        let executor = Arc::clone(&executor);
        let name = format!("conveyor-smol-{number}");
        let run = move || smol::block_on(executor.run(std::future::pending::<()>()));
        if let Err(error) = std::thread::Builder::new().name(name.clone()).spawn(run) {
            panic!("cannot start the thread {name}: {error}");
        }
    }
    executor
}

impl Clock for SmolRuntime {
    fn now(&self) -> Instant {
        let since = self.origin.elapsed();
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

impl Runtime for SmolRuntime {
    fn name(&self) -> &'static str {
        "smol"
    }

    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        let (spawned, handle) = spawned(future);
        self.executor.spawn(spawned).detach();
        handle
    }

    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        let (spawned, handle) = spawned(future);
        let name = format!("conveyor-{name}");
        let run = move || smol::block_on(spawned);
        if let Err(error) = std::thread::Builder::new().name(name.clone()).spawn(run) {
            panic!("cannot start the thread {name}: {error}");
        }
        handle
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle {
        let shared = Arc::new(Shared::default());
        let of_work = Arc::clone(&shared);
        smol::unblock(move || {
            let result = if of_work.aborted.load(Ordering::SeqCst) {
                Err(JoinError::Aborted)
            } else {
                catch_panic(work).map_err(JoinError::Panicked)
            };
            of_work.finish(result);
        })
        .detach();
        JoinHandle::new(Handle(shared))
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        let since = Duration::from_nanos(deadline.as_nanos());
        let timer = match self.origin.checked_add(since) {
            Some(deadline) => smol::Timer::at(deadline),
            None => smol::Timer::never(),
        };
        Box::pin(async move {
            timer.await;
        })
    }

    fn random(&self) -> u64 {
        // The standard library seeds it from the operating system, once for each thread.
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }

    #[cfg(unix)]
    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        use async_signal::{Signal, Signals};
        // Listened for from now on, not from the first poll.
        let signals = Signals::new([Signal::Int, Signal::Term]);
        Box::pin(async move {
            match signals?.next().await {
                Some(Ok(Signal::Term)) => Ok(StopSignal::Terminate),
                Some(Ok(_)) => Ok(StopSignal::Interrupt),
                Some(Err(error)) => Err(error),
                None => Err(io::Error::other("signals are not delivered any more")),
            }
        })
    }

    #[cfg(not(unix))]
    fn stop_signal(&self) -> BoxFuture<'static, io::Result<StopSignal>> {
        use async_signal::{Signal, Signals};
        let signals = Signals::new([Signal::Int]);
        Box::pin(async move {
            match signals?.next().await {
                Some(Ok(_)) => Ok(StopSignal::Interrupt),
                Some(Err(error)) => Err(error),
                None => Err(io::Error::other("signals are not delivered any more")),
            }
        })
    }
}

/// A future that keeps its panic to itself and can be aborted, and the handle to it.
///
/// smol's own task is cancelled when its handle is dropped, and its panics end the thread that
/// runs it; ours goes on, and tells.
fn spawned(future: BoxFuture<'static, ()>) -> (Spawned, JoinHandle) {
    let shared = Arc::new(Shared::default());
    (Spawned { future: Some(future), shared: Arc::clone(&shared) }, JoinHandle::new(Handle(shared)))
}

struct Spawned {
    future: Option<BoxFuture<'static, ()>>,
    shared: Arc<Shared>,
}

impl Future for Spawned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.runs_by(cx.waker());
        let aborted = self.shared.aborted.load(Ordering::SeqCst);
        let Some(future) = &mut self.future else {
            return Poll::Ready(());
        };
        let result = if aborted {
            Err(JoinError::Aborted)
        } else {
            match catch_panic(|| future.as_mut().poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => Ok(()),
                Err(panic) => Err(JoinError::Panicked(panic)),
            }
        };
        let future = self.future.take();
        let dropped = catch_panic(|| drop(future)).map_err(JoinError::Panicked);
        self.shared.finish(dropped.and(result));
        Poll::Ready(())
    }
}

/// An executor that is dropped drops what it had to run.
impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let dropped = catch_panic(|| drop(future)).map_err(JoinError::Panicked);
            self.shared.finish(dropped.and(Err(JoinError::Aborted)));
        }
    }
}

/// What a spawned future and its handle share.
#[derive(Default)]
struct Shared {
    aborted: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    result: Option<Result<(), JoinError>>,
    /// Wakes the future.
    future: Option<Waker>,
    /// Wakes whoever waits for it.
    joiner: Option<Waker>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs_by(&self, waker: &Waker) {
        let mut state = self.state();
        if !state.future.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.future = Some(waker.clone());
        }
    }

    fn finish(&self, result: Result<(), JoinError>) {
        let joiner = {
            let mut state = self.state();
            state.result = Some(result);
            state.future = None;
            state.joiner.take()
        };
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

struct Handle(Arc<Shared>);

impl Joinable for Handle {
    fn abort(&self) {
        self.0.aborted.store(true, Ordering::SeqCst);
        let future = self.0.state().future.take();
        if let Some(future) = future {
            future.wake();
        }
    }

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        let mut state = self.0.state();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                state.joiner = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

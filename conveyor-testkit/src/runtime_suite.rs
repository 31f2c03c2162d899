//! The suite that every [`Runtime`] must pass: [`runtime_suite!`](crate::runtime_suite!).
//!
//! A case waits for events, never for time to pass by itself, so it is the same on every runtime.

use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor_core::Runtime;
use conveyor_core::runtime::{BoxFuture, JoinError, JoinHandle};
use conveyor_core::time::Instant;
use event_listener::Event;

/// Makes a test of each case that a [`Runtime`] must pass.
///
/// The argument is a function that gets a case, makes the runtime, and runs the case's future on
/// it to its end: `fn(Case)`. A runtime with threads says so, and gets the cases that need them.
///
/// ```
/// # mod hidden { // `cargo test` would find the tests of this example
/// use conveyor_testkit::{runtime_suite, runtime_suite::Case, simulate};
///
/// runtime_suite!(|case: Case| simulate(7, |sim| case(sim.runtime())));
/// # }
/// ```
#[macro_export]
macro_rules! runtime_suite {
    ($run:expr) => {
        $crate::runtime_suite!(@cases $run,
            a_spawned_future_runs_to_its_end
            a_handle_that_is_dropped_lets_its_task_run_on
            a_panic_is_told_and_reaches_nobody_else
            an_abort_drops_the_future_and_is_told
            an_abort_before_the_first_poll_is_told
            an_abort_after_the_end_changes_nothing
            a_panic_while_an_aborted_future_is_dropped_is_told
            a_task_can_be_joined_after_it_is_done
            many_tasks_all_run
            tasks_wake_each_other
            a_sleep_is_never_early
            a_deadline_that_has_passed_is_ready
            sleeps_end_in_the_order_of_their_deadlines
            a_sleep_that_is_dropped_ends_nothing
            the_far_future_does_not_come
            time_never_goes_back
            blocking_work_runs_and_its_panic_is_told
            blocking_work_can_be_waited_for_by_its_effect
            a_dedicated_future_runs_sleeps_and_is_told_of
            a_dedicated_future_can_be_aborted
            a_dedicated_future_whose_handle_is_dropped_runs_on
            a_dedicated_future_and_a_task_wake_each_other
            random_numbers_differ
        );
    };
    ($run:expr, threads) => {
        $crate::runtime_suite!($run);
        $crate::runtime_suite!(@cases $run,
            a_dedicated_future_sleeps_while_every_thread_is_blocked
            a_task_can_be_woken_by_a_foreign_thread
        );
    };
    (@cases $run:expr, $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let run: fn($crate::runtime_suite::Case) = $run;
                run($crate::runtime_suite::$case);
            }
        )*
    };
}

/// A case of the suite: what it does with a runtime, as a future to be run on it.
pub type Case = fn(Arc<dyn Runtime>) -> BoxFuture<'static, ()>;

const TICK: Duration = Duration::from_millis(5);

/// Counts, and tells of it.
#[derive(Clone, Default)]
struct Counter(Arc<(AtomicUsize, Event)>);

impl Counter {
    fn add(&self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        self.0.1.notify(usize::MAX);
    }

    fn get(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    async fn reaches(&self, count: usize) {
        while self.get() < count {
            let changed = self.0.1.listen();
            if self.get() < count {
                changed.await;
            }
        }
    }
}

/// Counts when it is dropped.
struct OnDrop(Counter);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

fn spawn(
    runtime: &Arc<dyn Runtime>,
    future: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle {
    runtime.spawn("case", Box::pin(future))
}

fn after(runtime: &Arc<dyn Runtime>, wait: Duration) -> BoxFuture<'static, ()> {
    runtime.sleep_until(runtime.now() + wait)
}

macro_rules! cases {
    ($($(#[$doc:meta])* async fn $case:ident($runtime:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Panics
            /// If the runtime does not do so.
            #[must_use]
            pub fn $case($runtime: Arc<dyn Runtime>) -> BoxFuture<'static, ()> {
                Box::pin(async move { $body })
            }
        )*
    };
}

cases! {
    /// A spawned future runs without being joined, and its end is told.
    async fn a_spawned_future_runs_to_its_end(runtime) {
        let ran = Counter::default();
        let in_task = ran.clone();
        let handle = spawn(&runtime, async move { in_task.add() });
        assert_eq!(handle.await, Ok(()));
        assert_eq!(ran.get(), 1);
    }

    /// Dropping a handle detaches.
    async fn a_handle_that_is_dropped_lets_its_task_run_on(runtime) {
        let ran = Counter::default();
        let (in_task, wait) = (ran.clone(), after(&runtime, TICK));
        drop(spawn(&runtime, async move {
            wait.await;
            in_task.add();
        }));
        ran.reaches(1).await;
    }

    /// A panic ends its own task alone.
    async fn a_panic_is_told_and_reaches_nobody_else(runtime) {
        let other = Counter::default();
        let (in_other, wait) = (other.clone(), after(&runtime, TICK));
        let bystander = spawn(&runtime, async move {
            wait.await;
            in_other.add();
        });
        let text = spawn(&runtime, async { panic!("number {}", 7) }).await;
        assert_eq!(text, Err(JoinError::Panicked("number 7".to_owned())));
        let odd = spawn(&runtime, async { panic_any(7u8) }).await;
        assert!(matches!(odd, Err(JoinError::Panicked(_))));
        assert_eq!(bystander.await, Ok(()));
        assert_eq!(other.get(), 1);
    }

    /// An abort drops what waits.
    async fn an_abort_drops_the_future_and_is_told(runtime) {
        let (started, dropped) = (Counter::default(), Counter::default());
        let (in_task, guard) = (started.clone(), OnDrop(dropped.clone()));
        let handle = spawn(&runtime, async move {
            let _guard = guard;
            in_task.add();
            std::future::pending::<()>().await;
        });
        started.reaches(1).await;
        assert_eq!(dropped.get(), 0);
        handle.abort();
        assert_eq!(handle.await, Err(JoinError::Aborted));
        assert_eq!(dropped.get(), 1);
    }

    /// An abort may come before anything ran.
    async fn an_abort_before_the_first_poll_is_told(runtime) {
        let dropped = Counter::default();
        let guard = OnDrop(dropped.clone());
        let handle = spawn(&runtime, async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        handle.abort();
        handle.abort();
        assert_eq!(handle.await, Err(JoinError::Aborted));
        assert_eq!(dropped.get(), 1);
    }

    /// What is done cannot be aborted.
    async fn an_abort_after_the_end_changes_nothing(runtime) {
        let ran = Counter::default();
        let in_task = ran.clone();
        let first = spawn(&runtime, async move { in_task.add() });
        ran.reaches(1).await;
        // The effect is seen before the end may be: so wait for that too.
        after(&runtime, TICK).await;
        first.abort();
        assert_eq!(first.await, Ok(()));
    }

    /// A destructor's panic is not lost.
    async fn a_panic_while_an_aborted_future_is_dropped_is_told(runtime) {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in a drop");
            }
        }
        let started = Counter::default();
        let in_task = started.clone();
        let handle = spawn(&runtime, async move {
            let _bomb = Bomb;
            in_task.add();
            std::future::pending::<()>().await;
        });
        started.reaches(1).await;
        handle.abort();
        assert_eq!(handle.await, Err(JoinError::Panicked("in a drop".to_owned())));
    }

    /// A join may come late.
    async fn a_task_can_be_joined_after_it_is_done(runtime) {
        let ran = Counter::default();
        let in_task = ran.clone();
        let handle = spawn(&runtime, async move { in_task.add() });
        ran.reaches(1).await;
        after(&runtime, TICK).await;
        assert_eq!(handle.await, Ok(()));
    }

    /// A thousand at once.
    async fn many_tasks_all_run(runtime) {
        let ran = Counter::default();
        for _ in 0..1_000 {
            let (in_task, wait) = (ran.clone(), after(&runtime, TICK));
            drop(spawn(&runtime, async move {
                wait.await;
                in_task.add();
            }));
        }
        ran.reaches(1_000).await;
    }

    /// Two tasks hand a turn to each other.
    async fn tasks_wake_each_other(runtime) {
        let (ping, pong) = (Counter::default(), Counter::default());
        let (a, b) = (ping.clone(), pong.clone());
        let answering = spawn(&runtime, async move {
            for turn in 1..=100 {
                a.reaches(turn).await;
                b.add();
            }
        });
        for turn in 1..=100 {
            ping.add();
            pong.reaches(turn).await;
        }
        assert_eq!(answering.await, Ok(()));
    }

    /// A timer may be late, never early.
    async fn a_sleep_is_never_early(runtime) {
        for wait in [1u64, 999, 1_000, 1_001, 2_500, 10_000] {
            let deadline = runtime.now() + Duration::from_micros(wait);
            runtime.sleep_until(deadline).await;
            assert!(runtime.now() >= deadline, "woke before {deadline:?}");
        }
    }

    /// A deadline of the past needs no wait.
    async fn a_deadline_that_has_passed_is_ready(runtime) {
        after(&runtime, TICK).await;
        runtime.sleep_until(Instant::default()).await;
        runtime.sleep_until(runtime.now()).await;
    }

    /// Timers keep their order.
    async fn sleeps_end_in_the_order_of_their_deadlines(runtime) {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let all = Counter::default();
        let start = runtime.now();
        for number in [3u32, 1, 4, 0, 2] {
            let wait = runtime.sleep_until(start + Duration::from_millis(40) * (number + 1));
            let (ended, all) = (Arc::clone(&ended), all.clone());
            drop(spawn(&runtime, async move {
                wait.await;
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                all.add();
            }));
        }
        all.reaches(5).await;
        assert_eq!(*ended.lock().unwrap_or_else(PoisonError::into_inner), [0, 1, 2, 3, 4]);
    }

    /// A timer can be taken back, polled or not.
    async fn a_sleep_that_is_dropped_ends_nothing(runtime) {
        drop(after(&runtime, TICK));
        let mut polled = after(&runtime, Duration::from_secs(3600));
        std::future::poll_fn(|cx| {
            assert!(polled.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(polled);
        after(&runtime, TICK).await;
    }

    /// Centuries do not overflow.
    async fn the_far_future_does_not_come(runtime) {
        let mut never = runtime.sleep_until(Instant::FAR_FUTURE);
        let mut soon = after(&runtime, TICK);
        std::future::poll_fn(|cx| {
            assert!(never.as_mut().poll(cx).is_pending());
            soon.as_mut().poll(cx)
        })
        .await;
    }

    /// The monotonic clock keeps its name.
    async fn time_never_goes_back(runtime) {
        let mut last = runtime.now();
        for _ in 0..1_000 {
            let now = runtime.now();
            assert!(now >= last);
            last = now;
        }
        after(&runtime, TICK).await;
        assert!(runtime.now() >= last + TICK);
    }

    /// Blocking work, and what becomes of its panic.
    async fn blocking_work_runs_and_its_panic_is_told(runtime) {
        let ran = Counter::default();
        let in_work = ran.clone();
        assert_eq!(runtime.spawn_blocking(Box::new(move || in_work.add())).await, Ok(()));
        assert_eq!(ran.get(), 1);
        let panicked = runtime.spawn_blocking(Box::new(|| panic!("blocked"))).await;
        assert_eq!(panicked, Err(JoinError::Panicked("blocked".to_owned())));
    }

    /// Blocking work that nobody joins.
    async fn blocking_work_can_be_waited_for_by_its_effect(runtime) {
        let ran = Counter::default();
        for _ in 0..20 {
            let in_work = ran.clone();
            drop(runtime.spawn_blocking(Box::new(move || in_work.add())));
        }
        ran.reaches(20).await;
    }

    /// A future on a thread of its own is like any other.
    async fn a_dedicated_future_runs_sleeps_and_is_told_of(runtime) {
        let ran = Counter::default();
        let (in_task, of_task) = (ran.clone(), Arc::clone(&runtime));
        let dedicated = runtime.spawn_dedicated("case", Box::pin(async move {
            let before = of_task.now();
            after(&of_task, TICK).await;
            assert!(of_task.now() >= before + TICK);
            in_task.add();
        }));
        assert_eq!(dedicated.await, Ok(()));
        assert_eq!(ran.get(), 1);
        let panicked = runtime.spawn_dedicated("case", Box::pin(async { panic!("alone") })).await;
        assert_eq!(panicked, Err(JoinError::Panicked("alone".to_owned())));
    }

    /// A future on a thread of its own can be stopped.
    async fn a_dedicated_future_can_be_aborted(runtime) {
        let (started, dropped) = (Counter::default(), Counter::default());
        let (in_task, guard) = (started.clone(), OnDrop(dropped.clone()));
        let handle = runtime.spawn_dedicated("case", Box::pin(async move {
            let _guard = guard;
            in_task.add();
            std::future::pending::<()>().await;
        }));
        started.reaches(1).await;
        handle.abort();
        assert_eq!(handle.await, Err(JoinError::Aborted));
        assert_eq!(dropped.get(), 1);
    }

    /// Dropping its handle detaches.
    async fn a_dedicated_future_whose_handle_is_dropped_runs_on(runtime) {
        let ran = Counter::default();
        let (in_task, of_task) = (ran.clone(), Arc::clone(&runtime));
        drop(runtime.spawn_dedicated("case", Box::pin(async move {
            after(&of_task, TICK).await;
            in_task.add();
        })));
        ran.reaches(1).await;
    }

    /// It is told of claims by those who make them, and tells handlers of what it finds.
    async fn a_dedicated_future_and_a_task_wake_each_other(runtime) {
        let (ping, pong) = (Counter::default(), Counter::default());
        let (a, b) = (ping.clone(), pong.clone());
        let answering = runtime.spawn_dedicated("case", Box::pin(async move {
            for turn in 1..=100 {
                a.reaches(turn).await;
                b.add();
            }
        }));
        for turn in 1..=100 {
            ping.add();
            pong.reaches(turn).await;
        }
        assert_eq!(answering.await, Ok(()));
    }

    /// Sixty-four bits that do not repeat.
    async fn random_numbers_differ(runtime) {
        let mut numbers: Vec<u64> = (0..1_000).map(|_| runtime.random()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 1_000);
        assert!(numbers.iter().any(|number| number >> 63 == 1), "the high bit is used too");
    }

    /// Handlers that block every thread of the runtime do not hold up a dedicated one.
    async fn a_dedicated_future_sleeps_while_every_thread_is_blocked(runtime) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) + 1;
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Arc::new(Mutex::new(blocked));
        let of_task = Arc::clone(&runtime);
        let dedicated = runtime.spawn_dedicated("case", Box::pin(async move {
            // Long enough for the others to take every thread there is.
            after(&of_task, TICK * 20).await;
            drop(release);
        }));
        let blocking: Vec<_> = (0..threads * 2)
            .map(|_| {
                let blocked = Arc::clone(&blocked);
                spawn(&runtime, async move {
                    // Returns when the dedicated future lets go.
                    let _ = blocked.lock().unwrap_or_else(PoisonError::into_inner).recv();
                })
            })
            .collect();
        for task in blocking {
            assert_eq!(task.await, Ok(()));
        }
        assert_eq!(dedicated.await, Ok(()));
    }

    /// A waker may be called from anywhere.
    async fn a_task_can_be_woken_by_a_foreign_thread(runtime) {
        let called = Counter::default();
        let in_task = called.clone();
        let waiting = spawn(&runtime, async move { in_task.reaches(3).await });
        let thread = std::thread::spawn(move || (0..3).for_each(|_| called.add()));
        assert_eq!(waiting.await, Ok(()));
        assert!(thread.join().is_ok());
    }
}

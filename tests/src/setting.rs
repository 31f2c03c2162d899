//! [`Setting`]: what a test of the engine runs in, and [`on_every_runtime!`](crate::on_every_runtime!).
//!
//! A test that waits for events, and for real time only to pass by, is written once and holds on
//! every runtime: on tokio and on smol, with many threads and with one, before a store that answers
//! at once and one that does not; and on the simulator, for the orders that chance seldom shows.

use std::sync::Arc;
use std::time::Duration;

use conveyor::{
    Manager, ManagerBuilder, MemoryStore, Runtime, SmolRuntime, Store, Timestamp, TokioRuntime,
};
use conveyor_core::runtime::JoinHandle;
use conveyor_core::time::Instant;
use conveyor_testkit::{for_seeds, simulate};
use futures::future::{Either, select};

use crate::slow_store::SlowStore;

/// Makes a test of each case in each [`Setting`]: `case` is an `async fn case(setting: Setting)`.
///
/// A case that blocks threads cannot run in all of them:
/// - after `; real:` come those that block threads which are for that. Not on the simulator, which
///   has one thread for all.
/// - after `; threads:` come those that block the runtime's own threads, and need others.
#[macro_export]
macro_rules! on_every_runtime {
    (@in $setting:ident:) => {};
    (@in $setting:ident: $($case:ident)*) => {
        mod $setting {
            $(
                #[test]
                fn $case() {
                    $crate::setting::$setting(super::$case);
                }
            )*
        }
    };
    (
        $($case:ident),* $(,)?
        $(; real: $($real:ident),* $(,)?)?
        $(; threads: $($blocks:ident),* $(,)?)?
    ) => {
        $crate::on_every_runtime!(@in tokio_on_threads: $($case)* $($($real)*)? $($($blocks)*)?);
        $crate::on_every_runtime!(@in tokio_on_one_thread: $($case)* $($($real)*)?);
        $crate::on_every_runtime!(@in tokio_and_a_slow_store: $($case)* $($($real)*)?);
        $crate::on_every_runtime!(@in smol_on_its_shared_threads: $($case)* $($($real)*)?);
        $crate::on_every_runtime!(@in smol_on_one_thread: $($case)* $($($real)*)?);
        $crate::on_every_runtime!(@in smol_and_a_slow_store: $($case)* $($($real)*)?);
        $crate::on_every_runtime!(@in smol_on_threads: $($($blocks)*)?);
        $crate::on_every_runtime!(@in the_simulator: $($case)*);
    };
}

/// How long a case may take on a real runtime before it is taken for stuck. Only for that: no case
/// needs a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The threads of a runtime that has some, whatever the machine has.
pub const THREADS: usize = 3;

/// A runtime, and whether stores answer at once on it.
#[derive(Clone)]
pub struct Setting {
    runtime: Arc<dyn Runtime>,
    slow: bool,
}

impl Setting {
    /// The runtime that managers run on.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.runtime)
    }

    /// Begins to build a manager on this runtime, with a store of its own.
    pub fn manager(&self) -> ManagerBuilder {
        self.manager_on(&self.store())
    }

    /// Begins to build a manager on this runtime, with that store.
    pub fn manager_on(&self, store: &Arc<dyn Store>) -> ManagerBuilder {
        Manager::builder().runtime(self.runtime()).store(Arc::clone(store))
    }

    /// An empty store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        self.store_like(|memory| memory)
    }

    /// An empty store that several managers may share.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.store_like(MemoryStore::shared_by_managers)
    }

    /// An empty store with such settings.
    pub fn store_like(&self, settings: impl FnOnce(MemoryStore) -> MemoryStore) -> Arc<dyn Store> {
        let memory = Arc::new(settings(MemoryStore::new(self.runtime())));
        if self.slow { Arc::new(SlowStore::new(memory, self.runtime())) } else { memory }
    }

    /// The time, for what must not happen before it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// The time by the wall.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.runtime.wall()
    }

    /// Lets time pass. Never to wait for something that happens: for that there are receipts, logs
    /// and gates.
    pub async fn sleep(&self, time: Duration) {
        self.runtime.sleep_until(self.runtime.now() + time).await;
    }

    /// Runs a future beside the case.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle {
        self.runtime.spawn("beside", Box::pin(future))
    }

    /// A number that differs each time.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.runtime.random()
    }
}

/// Runs a case, unless it gets stuck.
async fn watched<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F, setting: Setting) {
    let patience = setting.runtime.sleep_until(setting.now() + PATIENCE);
    match select(std::pin::pin!(case(setting)), patience).await {
        Either::Left(((), _)) => {}
        Either::Right(_) => panic!("it is stuck: what it waits for did not come in {PATIENCE:?}"),
    }
}

fn on_tokio<F: Future<Output = ()>>(
    mut builder: tokio::runtime::Builder,
    slow: bool,
    case: impl FnOnce(Setting) -> F,
) {
    let runtime = builder.enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let runtime = Arc::new(TokioRuntime::current().expect("there is one"));
        watched(case, Setting { runtime, slow }).await;
    });
}

fn threads() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(THREADS);
    builder
}

/// On tokio with three threads; the case itself runs on another.
pub fn tokio_on_threads<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    on_tokio(threads(), false, case);
}

/// On tokio with the thread of the test alone.
pub fn tokio_on_one_thread<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    on_tokio(tokio::runtime::Builder::new_current_thread(), false, case);
}

/// On tokio with three threads, and stores whose replies are not at hand.
pub fn tokio_and_a_slow_store<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    on_tokio(threads(), true, case);
}

fn on_smol<F: Future<Output = ()>>(
    runtime: SmolRuntime,
    slow: bool,
    case: impl FnOnce(Setting) -> F,
) {
    smol::block_on(watched(case, Setting { runtime: Arc::new(runtime), slow }));
}

/// On the executor that all managers on smol share, among the other tests.
pub fn smol_on_its_shared_threads<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    on_smol(SmolRuntime::new(), false, case);
}

/// On an executor of the user's that the thread of the test alone runs.
pub fn smol_on_one_thread<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    let executor = Arc::new(smol::Executor::new());
    let setting =
        Setting { runtime: Arc::new(SmolRuntime::on(Arc::clone(&executor))), slow: false };
    smol::block_on(executor.run(watched(case, setting)));
}

/// On an executor of the user's with three threads; the case itself runs on another.
pub fn smol_on_threads<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    let executor = Arc::new(smol::Executor::new());
    std::thread::scope(|scope| {
        let (over, is_over) = smol::channel::bounded::<()>(1);
        for _ in 0..THREADS {
            let (executor, is_over) = (Arc::clone(&executor), is_over.clone());
            scope.spawn(move || smol::block_on(executor.run(is_over.recv())));
        }
        // Dropped at the end, or as the panic of a case that failed passes by.
        let _over = over;
        on_smol(SmolRuntime::on(Arc::clone(&executor)), false, case);
    });
}

/// On the shared executor of smol, and stores whose replies are not at hand.
pub fn smol_and_a_slow_store<F: Future<Output = ()>>(case: impl FnOnce(Setting) -> F) {
    on_smol(SmolRuntime::new(), true, case);
}

/// On the simulator, in a few of its orders; half of them with stores whose replies are not at hand.
pub fn the_simulator<F: Future<Output = ()>>(case: impl Fn(Setting) -> F) {
    for_seeds(0..6, |seed| {
        let slow = seed % 2 == 1;
        simulate(seed, |sim| case(Setting { runtime: sim.runtime(), slow }));
    });
}

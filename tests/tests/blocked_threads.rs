//! A handler that blocks the one thread of its runtime keeps its lease, since leases are renewed on
//! a thread of their own; and that thread goes with its manager.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    Fence, Filter, Incarnation, Kind, MemoryStore, QueueName, Runtime, SmolRuntime, Store, TaskId,
    TaskInfo, TaskState, TokioRuntime,
};
use conveyor_core::metrics::Counters;
use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, Demand, KindRoom, Renewed, StoreFuture, WakeSink,
};
use conveyor_tests::{Gate, Keeper, Log};
use futures::channel::oneshot;

/// Long, so that a machine that is busy with other things does not look like a dead process.
const LEASE: Duration = Duration::from_millis(500);

type Started = Log<u64>;

/// Blocks the thread that polls it.
#[conveyor::worker]
async fn blocks(number: u64, started: State<Started>, gate: State<Gate>) {
    started.push(number);
    gate.block();
}

/// A store for several managers that counts renewals.
struct Watched {
    within: MemoryStore,
    renewals: Log<usize>,
    /// Whether the next renewal panics.
    panics: AtomicBool,
}

impl Watched {
    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        call(&self.within)
    }
}

impl Store for Watched {
    fn capabilities(&self) -> Capabilities {
        self.within.capabilities()
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.within.claim(request)
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a renewal that panics");
        self.renewals.push(fences.len());
        self.within.renew(by, fences, lease)
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.within.counters()
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.within.subscribe(sink);
    }

    conveyor_tests::pass_on!();
}

type Body = Box<dyn FnOnce(Arc<dyn Runtime>) -> BoxFuture<'static, ()> + Send>;

/// Makes a runtime with one thread, and runs a future on it to its end.
type OneThread = fn(Body);

fn tokio_on_the_callers_thread(body: Body) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { body(Arc::new(TokioRuntime::current().unwrap())).await });
}

fn tokio_with_one_worker(body: Body) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { body(Arc::new(TokioRuntime::current().unwrap())).await });
}

fn smol_on_the_callers_thread(body: Body) {
    let executor = Arc::new(smol::Executor::new());
    let runtime = Arc::new(SmolRuntime::on(Arc::clone(&executor)));
    smol::block_on(executor.run(body(runtime)));
}

/// A manager whose only thread is blocked by a handler, and another one that looks for what dead
/// processes held: on the same store, on another runtime.
struct Scene {
    store: Arc<Watched>,
    started: Started,
    gate: Gate,
    blocked: Manager,
    other: Manager,
    over: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
    _tokio: tokio::runtime::Runtime,
}

impl Scene {
    fn new(one_thread: OneThread) -> Self {
        let within = MemoryStore::new(Arc::new(SmolRuntime::new())).shared_by_managers();
        let (renewals, panics) = (Log::new(), AtomicBool::new(false));
        let store = Arc::new(Watched { within, renewals, panics });
        let (started, gate) = (Started::new(), Gate::new());
        let builder = || {
            Manager::builder()
                .store(store.clone())
                .lease(LEASE)
                .poll_interval(LEASE / 4)
                .crash_budget(1)
                .state(started.clone())
                .state(gate.clone())
                .register(blocks)
        };
        let (built, manager) = std::sync::mpsc::channel();
        let (over, is_over) = oneshot::channel();
        let of_blocked = builder();
        let thread = std::thread::spawn(move || {
            one_thread(Box::new(move |runtime| {
                Box::pin(async move {
                    let name = runtime.name();
                    built.send((of_blocked.runtime(runtime).build().unwrap(), name)).unwrap();
                    let _ = is_over.await;
                })
            }));
        });
        let (blocked, name) = manager.recv().unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let runtime: Arc<dyn Runtime> = if name == "tokio" {
            Arc::new(SmolRuntime::new())
        } else {
            Arc::new(TokioRuntime::new(tokio.handle().clone()))
        };
        let other = builder().runtime(runtime).build().unwrap();
        Scene { store, started, gate, blocked, other, over, thread, _tokio: tokio }
    }

    /// Has the handler block, and the other manager look for the dead.
    async fn begin(&self) -> TaskId {
        self.blocked.start().await.unwrap();
        let id = self.blocked.enqueue(blocks.task(1)).await.unwrap().id();
        self.started.reaches(1).await;
        self.other.start().await.unwrap();
        id
    }

    /// Lets a process die, and the other manager find that out: for a lease at least.
    async fn a_death_is_found_out(&self, dead: Incarnation) {
        let receipt = self.other.enqueue(Task::new("decoy", ())).await.unwrap();
        let kinds = [KindRoom { kind: Kind::from_static("decoy"), room: 1 }];
        let queues = [QueueName::DEFAULT];
        let demand =
            Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room: 1 };
        let request = ClaimRequest { by: dead, token: 1, lease: LEASE, demand, alone: false };
        assert_eq!(self.store.claim(request).await.unwrap().tasks.len(), 1);
        assert_eq!(receipt.wait().await, Ok(End::Crashed));
    }

    async fn info(&self, id: TaskId) -> TaskInfo {
        let page = self.store.inspect(&Filter::default()).await.unwrap();
        page.tasks.into_iter().find(|task| task.id == id).unwrap()
    }

    /// Nothing is left of either manager, nor of what it runs.
    fn nothing_is_left(self) {
        let Scene { store, gate, blocked, other, over, thread, .. } = self;
        gate.open();
        let _ = over.send(());
        thread.join().unwrap();
        smol::block_on(other.shutdown(Duration::ZERO)).unwrap();
        drop((blocked, other));
        let since = std::time::Instant::now();
        while Arc::strong_count(&store) > 1 {
            assert!(since.elapsed() < Duration::from_secs(60), "somebody still holds the store");
            std::thread::yield_now();
        }
    }
}

fn a_blocked_thread_keeps_its_lease(one_thread: OneThread) {
    let scene = Scene::new(one_thread);
    smol::block_on(async {
        let id = scene.begin().await;
        for dead in 1..=3 {
            scene.a_death_is_found_out(Incarnation::new(dead)).await;
        }
        let info = scene.info(id).await;
        assert_eq!((info.state, info.epoch, info.attempts), (TaskState::Active, 1, vec![]));
        scene.gate.open();
        assert_eq!(scene.other.wait(id).await, Ok(End::Succeeded));
        assert_eq!(scene.started.all(), [1]);
        assert_eq!(scene.info(id).await.ended_by, info.holder);
        scene.blocked.shutdown(LEASE).await.unwrap();
    });
    scene.nothing_is_left();
}

fn a_manager_that_is_dropped_lets_go_of_its_lease(one_thread: OneThread) {
    let mut scene = Scene::new(one_thread);
    smol::block_on(async {
        let id = scene.begin().await;
        // The last handle goes, while the handler blocks the thread.
        scene.blocked = scene.other.clone();
        assert_eq!(scene.other.wait(id).await, Ok(End::Crashed));
    });
    scene.nothing_is_left();
}

macro_rules! on_one_thread {
    ($($runtime:ident)*) => {
        $(
            mod $runtime {
                #[test]
                fn a_blocked_thread_keeps_its_lease() {
                    super::a_blocked_thread_keeps_its_lease(super::$runtime);
                }

                #[test]
                fn a_manager_that_is_dropped_lets_go_of_its_lease() {
                    super::a_manager_that_is_dropped_lets_go_of_its_lease(super::$runtime);
                }
            }
        )*
    };
}

on_one_thread!(
    tokio_on_the_callers_thread
    tokio_with_one_worker
    smol_on_the_callers_thread
);

#[test]
fn a_renewal_that_panics_is_told_and_made_again() {
    let told = Log::new();
    tracing::subscriber::set_global_default(Keeper(told.clone())).unwrap();
    let scene = Scene::new(tokio_on_the_callers_thread);
    scene.store.panics.store(true, Ordering::SeqCst);
    smol::block_on(async {
        scene.begin().await;
        scene.store.renewals.reaches(1).await;
    });
    let panicked = "ERROR a task of the engine panicked; it starts again: name=\"leases\"";
    let told = told.all();
    assert!(told.iter().any(|line| line.starts_with(panicked)), "{told:?}");
    scene.nothing_is_left();
}

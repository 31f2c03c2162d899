//! Enqueue and settle in a caller's own transaction: with all else in it, or not at all.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{
    Cancelled, EnqueueError, Error, Fence, Filter, Incarnation, ManagerBuilder, MemoryStore,
    OtherStore, SettleError, Store, StoreError, StoreErrorKind, StoreTransaction, TaskId,
    TaskState,
};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, Enqueued, NewTask, Renewed, Settle, Settled, StoreFuture,
    WakeSink,
};
use conveyor_testkit::{FaultPlan, FaultyStore, Sim, simulate};
use conveyor_tests::{Gate, Keeper, Log, consumer};

/// A database in which the store in memory keeps its tasks, and a user rows.
#[derive(Clone)]
struct Database {
    store: Arc<MemoryStore>,
    rows: Log<u64>,
}

impl Database {
    fn new(sim: &Sim) -> Self {
        Database { store: Arc::new(MemoryStore::new(sim.clock())), rows: Log::new() }
    }

    fn shared(sim: &Sim) -> Self {
        let store = MemoryStore::new(sim.clock()).shared_by_managers();
        Database { store: Arc::new(store), rows: Log::new() }
    }

    fn begin(&self) -> Transaction {
        Transaction { database: self.clone(), rows: vec![], enqueued: vec![], settled: vec![] }
    }

    async fn state(&self, id: TaskId) -> Option<TaskState> {
        let page = self.store.inspect(&Filter::default()).await.unwrap();
        page.tasks.into_iter().find(|task| task.id == id).map(|task| task.state)
    }
}

/// What is done in it is kept until it commits. Dropped, it is rolled back.
struct Transaction {
    database: Database,
    rows: Vec<u64>,
    enqueued: Vec<NewTask>,
    settled: Vec<Settle>,
}

impl Transaction {
    fn insert(&mut self, row: u64) {
        self.rows.push(row);
    }

    async fn commit(self) {
        let Database { store, rows } = self.database;
        let (settles, tasks) = (self.settled.len(), self.enqueued.len());
        let settled = store.settle(self.settled).await.unwrap();
        assert_eq!(settled, vec![Settled::Applied; settles]);
        let enqueued = store.enqueue(self.enqueued).await.unwrap();
        assert_eq!(enqueued.len(), tasks);
        self.rows.into_iter().for_each(|row| rows.push(row));
    }
}

impl StoreTransaction<MemoryStore> for Transaction {
    fn enqueue<'a>(
        &'a mut self,
        store: &'a MemoryStore,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>> {
        assert!(std::ptr::eq(store, &*self.database.store), "the manager's store");
        StoreFuture::later(async move {
            let live = store.counters().await?.total().live();
            let accept = |new: NewTask| {
                let is_same = |other: &&NewTask| other.key == new.key && other.kind == new.kind;
                if let Some(holder) =
                    self.enqueued.iter().filter(|_| new.key.is_some()).find(is_same)
                {
                    return Enqueued::Duplicate(Some(holder.id));
                }
                if live + self.enqueued.len() as u64 >= 3 {
                    return Enqueued::Full { task: Box::new(new), capacity: 3 };
                }
                self.enqueued.push(new);
                Enqueued::Accepted
            };
            Ok(batch.into_iter().map(accept).collect())
        })
    }

    fn settle<'a>(
        &'a mut self,
        store: &'a MemoryStore,
        settle: Settle,
    ) -> StoreFuture<'a, Settled> {
        StoreFuture::later(async move {
            let page = store.inspect(&Filter::default()).await?;
            let task = page.tasks.into_iter().find(|task| task.id == settle.fence.task);
            let Some(task) = task.filter(|task| task.epoch == settle.fence.epoch) else {
                return Ok(Settled::Fenced);
            };
            if task.state != TaskState::Active {
                return Ok(Settled::Already);
            }
            self.settled.push(settle);
            Ok(Settled::Applied)
        })
    }
}

fn manager(sim: &Sim, store: Arc<dyn Store>) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime()).store(store)
}

#[conveyor::worker]
async fn greets(_name: String) {}

#[test]
fn a_task_is_there_if_and_only_if_its_transaction_commits() {
    simulate(1, |sim| async move {
        let database = Database::new(&sim);
        let manager = manager(&sim, database.store.clone()).register(greets).build().unwrap();
        manager.start().await.unwrap();

        let mut rolled_back = database.begin();
        let never = manager.enqueue_in(&mut rolled_back, greets.task("ada".into())).await.unwrap();
        drop(rolled_back);
        let mut tx = database.begin();
        tx.insert(1);
        let receipt = manager.enqueue_in(&mut tx, greets.task("bob".into())).await.unwrap();
        manager.idle().await.unwrap();
        assert_eq!(database.state(receipt.id()).await, None, "it is not there before the commit");
        tx.commit().await;
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        assert_eq!(database.state(never.id()).await, None);
        assert_eq!((database.rows.all(), manager.metrics().queued), (vec![1], 0));
    });
}

#[test]
fn each_task_of_many_has_its_own_answer() {
    simulate(1, |sim| async move {
        let database = Database::new(&sim);
        let manager = manager(&sim, database.store.clone()).build().unwrap();
        let mut tx = database.begin();
        let tasks = [
            greets.task("ada".into()).key("k"),
            greets.task("bob".into()).key(""),
            greets.task("cyd".into()).key("k"),
            greets.task("dan".into()).timeout(Duration::ZERO),
            greets.task("eva".into()),
            greets.task("fay".into()),
            greets.task("gus".into()),
        ];
        let answers = manager.enqueue_all_in(&mut tx, tasks).await;
        let [ada, bob, cyd, dan, eva, fay, gus] = answers.try_into().unwrap();
        let ada = ada.unwrap();
        assert!(matches!(bob, Err(EnqueueError::Name(_))), "{bob:?}");
        let duplicate = cyd.unwrap_err();
        let EnqueueError::Duplicate { id, .. } = &duplicate else { panic!("{duplicate}") };
        assert_eq!(*id, Some(ada.id()));
        assert!(matches!(dan, Err(EnqueueError::ZeroTimeout { .. })), "{dan:?}");
        assert!(eva.is_ok() && fay.is_ok());
        assert_eq!(gus.unwrap_err(), EnqueueError::Full { capacity: 3 }, "nothing waits for room");
        assert!(
            manager.enqueue_all_in(&mut tx, Vec::<conveyor::Task<String>>::new()).await.is_empty()
        );
        tx.commit().await;
        assert_eq!(database.state(ada.id()).await, Some(TaskState::Queued));
    });
}

#[test]
fn nothing_is_enqueued_after_the_shutdown() {
    simulate(1, |sim| async move {
        let database = Database::new(&sim);
        let manager = manager(&sim, database.store.clone()).build().unwrap();
        manager.shutdown(Duration::ZERO).await.unwrap();
        let mut tx = database.begin();
        let error = manager.enqueue_in(&mut tx, greets.task("ada".into())).await.unwrap_err();
        assert_eq!((error, tx.enqueued.len()), (EnqueueError::Stopped, 0));
    });
}

/// A store that fails in transactions.
struct Broken(MemoryStore);

impl Broken {
    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        call(&self.0)
    }
}

impl Store for Broken {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.name = "broken";
        capabilities
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.0.claim(request)
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.0.renew(by, fences, lease)
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.0.counters()
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.0.subscribe(sink);
    }

    conveyor_tests::pass_on!();
}

struct BrokenTransaction;

fn broken() -> StoreError {
    StoreError::new("broken", StoreErrorKind::Unavailable, "the connection is gone")
}

impl StoreTransaction<Broken> for BrokenTransaction {
    fn enqueue<'a>(&'a mut self, _: &'a Broken, _: Vec<NewTask>) -> StoreFuture<'a, Vec<Enqueued>> {
        StoreFuture::ready(Err(broken()))
    }

    fn settle<'a>(&'a mut self, _: &'a Broken, _: Settle) -> StoreFuture<'a, Settled> {
        StoreFuture::ready(Err(broken()))
    }
}

#[test]
fn a_store_that_fails_is_told_and_not_asked_again() {
    simulate(1, |sim| async move {
        let store: Arc<dyn Store> = Arc::new(Broken(MemoryStore::new(sim.clock())));
        let manager = manager(&sim, store.clone()).build().unwrap();
        let mut tx = BrokenTransaction;
        let tasks = [greets.task("ada".into()), greets.task("bob".into()).key("")];
        let answers = manager.enqueue_all_in(&mut tx, tasks).await;
        assert_eq!(answers[0].as_ref().unwrap_err(), &EnqueueError::Store(broken()));
        assert!(matches!(answers[1], Err(EnqueueError::Name(_))));
        let ctx = sim.context().store(store).build();
        assert_eq!(ctx.settle_in(&mut tx).await, Err(SettleError::Store(broken())));
    });
}

#[test]
fn a_transaction_of_another_store_is_refused_by_both_names() {
    simulate(1, |sim| async move {
        let memory = Arc::new(MemoryStore::new(sim.clock()));
        let manager = manager(&sim, memory).build().unwrap();
        let task = greets.task("ada".into());
        let error = manager.enqueue_in(&mut BrokenTransaction, task).await.unwrap_err();
        let other = OtherStore { store: "memory", transaction: std::any::type_name::<Broken>() };
        assert_eq!(error, EnqueueError::OtherStore(other));
        assert_eq!(
            error.to_string(),
            "the transaction is one of a transactions::Broken, but the manager's store is \
             \"memory\"; build the manager with the store that the transaction is of"
        );
        let ctx = sim.context().build();
        let settled = ctx.settle_in(&mut BrokenTransaction).await;
        assert_eq!(settled, Err(SettleError::OtherStore(other)));
        let enqueued = ctx.enqueue_in(&mut BrokenTransaction, greets.task("ada".into())).await;
        assert_eq!(enqueued.unwrap_err(), EnqueueError::OtherStore(other));
    });
}

#[test]
fn a_store_that_passes_on_what_it_is_asked_takes_the_transactions_of_the_one_behind() {
    simulate(1, |sim| async move {
        let database = Database::new(&sim);
        let faulty = FaultyStore::new(&sim, database.store.clone(), FaultPlan::none());
        let twice = FaultyStore::new(&sim, Arc::new(faulty), FaultPlan::none());
        let manager = manager(&sim, Arc::new(twice)).build().unwrap();
        let mut tx = database.begin();
        let receipt = manager.enqueue_in(&mut tx, greets.task("ada".into())).await.unwrap();
        tx.commit().await;
        assert_eq!(database.state(receipt.id()).await, Some(TaskState::Queued));
    });
}

/// What a handler does with its transaction.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum How {
    Commits,
    FailsBefore,
    FailsAfter,
    PanicsAfter,
    SettlesTwice,
}

/// Runs a task with a retry whose first attempt goes so; tells how it ended, the rows, how often it
/// ran, and what was told to the log.
fn run(how: How) -> (End, Vec<u64>, u64, Vec<String>) {
    let (told, ended) = (Log::new(), Arc::new(Mutex::new(None)));
    let slot = ended.clone();
    let subscriber = Keeper(told.clone());
    tracing::subscriber::with_default(subscriber, || {
        simulate(3, |sim| async move {
            let database = Database::new(&sim);
            let of_worker = database.clone();
            let handler = move |how: How, ctx: Context| {
                let database = of_worker.clone();
                async move {
                    let first = ctx.attempt() == 1;
                    let mut tx = database.begin();
                    tx.insert(ctx.epoch());
                    ctx.enqueue_in(&mut tx, greets.task("ada".into())).await?;
                    ctx.settle_in(&mut tx).await?;
                    if first && how == How::FailsBefore {
                        return Err(Error::from("before the commit"));
                    }
                    tx.commit().await;
                    match how {
                        How::FailsAfter => Err(Error::from("after the commit")),
                        How::PanicsAfter => panic!("after the commit"),
                        How::SettlesTwice => {
                            let mut again = database.begin();
                            let id = ctx.id();
                            let told = ctx.settle_in(&mut again).await;
                            assert_eq!(told, Err(SettleError::Already { id }));
                            Ok(())
                        }
                        How::Commits | How::FailsBefore => Ok(()),
                    }
                }
            };
            let manager = manager(&sim, database.store.clone())
                .register(consumer("pays", handler, |kind| _ = kind.retries(1)))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            let receipt = manager.enqueue(Task::new("pays", how)).await.unwrap();
            let end = receipt.wait().await.unwrap();
            sim.advance(Duration::from_secs(3600)).await;
            assert_eq!(receipt.wait().await, Ok(end.clone()), "it stays so");
            let epoch = database.rows.all().last().copied().unwrap();
            let counts = database.store.counters().await.unwrap().total();
            assert_eq!((counts.processed, counts.failed, counts.active), (1, 0, 0));
            assert_eq!(counts.queued, 1, "what was enqueued with it");
            *slot.lock().unwrap() = Some((end, database.rows.all(), epoch));
        });
    });
    let (end, rows, epoch) = ended.lock().unwrap().take().unwrap();
    (end, rows, epoch, told.all())
}

#[test]
fn what_a_handler_writes_and_the_end_of_its_task_are_one() {
    assert_eq!(run(How::Commits), (End::Succeeded, vec![1], 1, vec![]));
}

#[test]
fn a_handler_that_fails_before_the_commit_is_tried_again() {
    let (end, rows, epoch, told) = run(How::FailsBefore);
    assert_eq!((end, rows, epoch), (End::Succeeded, vec![2], 2));
    assert!(told[0].starts_with("WARN the task will be retried"), "{told:?}");
}

#[test]
fn a_handler_that_fails_after_the_commit_has_succeeded() {
    for how in [How::FailsAfter, How::PanicsAfter] {
        let (end, rows, epoch, _) = run(how);
        assert_eq!((end, rows, epoch), (End::Succeeded, vec![1], 1), "{how:?}");
    }
}

#[test]
fn an_attempt_is_settled_once() {
    assert_eq!(run(How::SettlesTwice), (End::Succeeded, vec![1], 1, vec![]));
}

#[test]
fn an_attempt_whose_lease_is_lost_settles_nothing() {
    simulate(1, |sim| async move {
        let database = Database::new(&sim);
        let ctx = sim.context().store(database.store.clone()).build();
        let mut tx = database.begin();
        let id = ctx.id();
        assert_eq!(ctx.settle_in(&mut tx).await, Err(SettleError::LeaseLost { id }));
        assert!(!ctx.is_settled());
    });
}

/// A store in which some tasks' rows are locked.
struct Locked {
    within: Arc<MemoryStore>,
    locked: Log<TaskId>,
}

impl Locked {
    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        call(&*self.within)
    }
}

impl Store for Locked {
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
        let locked = self.locked.all();
        StoreFuture::later(async move {
            let mut replies = self.within.renew(by, fences, lease).await?;
            for (fence, reply) in fences.iter().zip(&mut replies) {
                if *reply != Renewed::Lost && locked.contains(&fence.task) {
                    *reply = Renewed::Busy;
                }
            }
            Ok(replies)
        })
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.within.counters()
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.within.subscribe(sink);
    }

    fn inner(&self) -> Option<&dyn Store> {
        Some(&*self.within)
    }

    conveyor_tests::pass_on!();
}

const LEASE: Duration = Duration::from_secs(15);

/// Has three tasks run at once for a long time: the first settles in a transaction that it keeps
/// open, and waits on after the commit; the second is locked by somebody else; the third is not.
#[test]
fn a_transaction_that_is_open_for_long_costs_nobody_a_lease() {
    simulate(1, |sim| async move {
        let database = Database::shared(&sim);
        let locked = Log::new();
        let store = Arc::new(Locked { within: database.store.clone(), locked: locked.clone() });
        let (gate, cancelled) = (Gate::new(), Log::<(u64, Cancelled)>::new());
        let handler = {
            let (gate, cancelled, of_worker) = (gate.clone(), cancelled.clone(), database.clone());
            move |number: u64, ctx: Context| {
                let (gate, cancelled) = (gate.clone(), cancelled.clone());
                let (database, locked) = (of_worker.clone(), locked.clone());
                async move {
                    let mut tx = database.begin();
                    if number == 1 {
                        tx.insert(number);
                        ctx.settle_in(&mut tx).await.unwrap();
                    }
                    if number < 3 {
                        locked.push(ctx.id());
                    }
                    let waits = std::pin::pin!(async {
                        gate.passed().await;
                        tx.commit().await;
                        ctx.sleep(LEASE * 4).await;
                    });
                    let told = std::pin::pin!(ctx.cancelled());
                    if let futures::future::Either::Right((why, _)) =
                        futures::future::select(waits, told).await
                    {
                        cancelled.push((number, why));
                    }
                }
            }
        };
        let manager = manager(&sim, store)
            .lease(LEASE)
            .consumers(3)
            .register(consumer("waits", handler, |_| {}))
            .build()
            .unwrap();
        manager.start().await.unwrap();
        let receipts = manager.enqueue_all((1..=3).map(|n: u64| Task::new("waits", n))).await;
        sim.advance(LEASE * 4).await;
        assert_eq!(database.rows.all(), [0; 0]);
        gate.open();
        for receipt in receipts {
            assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
        }
        sim.advance(LEASE * 5).await;
        assert_eq!((cancelled.all(), database.rows.all()), (vec![], vec![1]));
        manager.shutdown(Duration::ZERO).await.unwrap();
    });
}

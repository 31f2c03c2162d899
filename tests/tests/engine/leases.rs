//! Leases: they are kept for as long as a handler runs, and what a dead process held runs again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{Fence, Incarnation, Kind, ManagerBuilder, QueueName, Store};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, Demand, KindRoom, Renewed, StoreFuture, WakeSink,
};
use conveyor_tests::{Gate, Log, Setting};

use crate::{Started, millis, waits};

conveyor_tests::on_every_runtime!(
    a_lease_is_renewed_for_as_long_as_its_handler_runs,
    a_lone_claim_of_a_dead_process_runs_again_and_not_early,
    bystanders_of_a_death_are_not_charged_and_run_alone;
    threads:
    leases_are_renewed_while_handlers_block_every_thread,
);

const LEASE: Duration = millis(150);

/// Notes how many leases each renewal asked for.
struct Watched {
    within: Arc<dyn Store>,
    renewals: Log<usize>,
}

impl Watched {
    fn pass<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        call(&*self.within)
    }
}

impl Store for Watched {
    fn capabilities(&self) -> Capabilities {
        self.within.capabilities()
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.pass(move |store| store.claim(request))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.renewals.push(fences.len());
        self.pass(move |store| store.renew(by, fences, lease))
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.pass(|store| store.counters())
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.within.subscribe(sink);
    }

    conveyor_tests::pass_on!();
}

fn watched(setting: &Setting, renewals: &Log<usize>) -> Arc<dyn Store> {
    Arc::new(Watched { within: setting.shared_store(), renewals: renewals.clone() })
}

fn builder(
    setting: &Setting,
    store: &Arc<dyn Store>,
    started: &Started,
    gate: &Gate,
) -> ManagerBuilder {
    setting
        .manager_on(store)
        .lease(LEASE)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(blocks)
}

async fn a_lease_is_renewed_for_as_long_as_its_handler_runs(setting: Setting) {
    let (started, gate, renewals) = (Started::new(), Gate::new(), Log::new());
    let store = watched(&setting, &renewals);
    let manager = builder(&setting, &store, &started, &gate).build().unwrap();
    manager.start().await.unwrap();
    let receipts = manager.enqueue_all([waits.task(0), waits.task(1)]).await;
    started.reaches(2).await;
    let before = setting.now();
    let renewed = renewals.reaches(renewals.len() + 5).await;
    assert!(setting.now() >= before + LEASE, "five renewals take more than a lease");
    assert_eq!(renewed.last(), Some(&2));
    gate.open();
    for receipt in receipts {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
    }
    assert_eq!((started.len(), manager.metrics().returned), (2, 0));
}

/// Blocks the thread that polls it.
#[conveyor::worker]
async fn blocks(number: u64, started: State<Started>, gate: State<Gate>) {
    started.push(number);
    gate.block();
}

async fn leases_are_renewed_while_handlers_block_every_thread(setting: Setting) {
    let (started, gate, renewals) = (Started::new(), Gate::new(), Log::new());
    let store = watched(&setting, &renewals);
    let manager = builder(&setting, &store, &started, &gate).consumers(8).build().unwrap();
    manager.start().await.unwrap();
    let receipts = manager.enqueue_all((0..8).map(|number| blocks.task(number))).await;
    // As many as there are threads; the others wait, behind them or in the store.
    started.reaches(conveyor_tests::setting::THREADS).await;
    renewals.reaches(renewals.len() + 5).await;
    gate.open();
    for receipt in receipts {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded));
    }
    assert_eq!((manager.metrics().crashed, manager.metrics().failed), (0, 0));
}

/// Claims like a process that then dies: it never settles and never renews.
async fn claim_and_die(store: &Arc<dyn Store>, room: usize) {
    let kinds = [KindRoom { kind: Kind::from_static("runs_alone"), room }];
    let queues = [QueueName::DEFAULT];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room };
    let by = Incarnation::new(7);
    let request = ClaimRequest { by, token: 7, lease: LEASE, demand, alone: false };
    assert_eq!(store.claim(request).await.unwrap().tasks.len(), room);
}

type Seen = Log<(u64, &'static str)>;

/// Notes when it begins, and when it ends after a wait.
#[conveyor::worker(retries = 0)]
async fn runs_alone(number: u64, ctx: Context, seen: State<Seen>) {
    seen.push((number, "begins"));
    ctx.sleep(millis(1)).await;
    seen.push((number, "ends"));
}

async fn a_lone_claim_of_a_dead_process_runs_again_and_not_early(setting: Setting) {
    let (store, seen) = (setting.shared_store(), Seen::new());
    let build = || {
        let builder = setting.manager_on(&store).lease(LEASE).state(seen.clone());
        builder.register(runs_alone).build().unwrap()
    };
    let manager = build();
    let receipt = manager.enqueue(runs_alone.task(0)).await.unwrap();
    let before = setting.now();
    claim_and_die(&store, 1).await;
    manager.start().await.unwrap();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    assert!(setting.now() >= before + LEASE, "not while the other may live");
    assert_eq!(seen.all(), [(0, "begins"), (0, "ends")]);
}

async fn bystanders_of_a_death_are_not_charged_and_run_alone(setting: Setting) {
    let (store, seen) = (setting.shared_store(), Seen::new());
    let manager = setting
        .manager_on(&store)
        .lease(LEASE)
        .crash_budget(1)
        .consumers(4)
        .state(seen.clone())
        .register(runs_alone)
        .build()
        .unwrap();
    let mut receipts = manager.enqueue_all((0..4).map(|number| runs_alone.task(number))).await;
    claim_and_die(&store, 4).await;
    manager.start().await.unwrap();
    // Ordinary work comes all the time.
    let beside = manager.clone();
    let ordinary = setting.spawn(async move {
        for number in 100..140 {
            let receipt = beside.enqueue(runs_alone.task(number)).await.unwrap();
            assert_eq!(receipt.wait().await, Ok(End::Succeeded));
        }
    });
    for receipt in receipts.drain(..) {
        assert_eq!(receipt.unwrap().wait().await, Ok(End::Succeeded), "nobody is charged");
    }
    ordinary.await.unwrap();
    // While a suspect ran, nothing else did.
    let seen = seen.all();
    for suspect in 0..4 {
        let begins = seen.iter().position(|&one| one == (suspect, "begins")).unwrap();
        assert_eq!(seen[begins + 1], (suspect, "ends"), "something ran beside {suspect}: {seen:?}");
        let open = seen[..begins].iter().filter(|(_, what)| *what == "begins").count();
        assert_eq!(open * 2, begins, "{suspect} began beside something: {seen:?}");
    }
    assert_eq!(manager.metrics().crashed, 0);
}

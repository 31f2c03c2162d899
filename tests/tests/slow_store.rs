//! Wake-ups while the store takes its time: what comes during a claim must not be missed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::{Context, Fence, Incarnation, Kind, Manager, MemoryStore, QueueName, Task};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    CancelReply, Capabilities, Claim, ClaimRequest, Durability, EndState, Enqueued, Filter,
    NewTask, Page, Renewed, Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle,
    Settled, StoreFuture, Tick, Ticked, WakeSink,
};
use conveyor_core::{Store, TaskId, Timestamp};
use conveyor_testkit::{Sim, for_seeds, simulate};
use conveyor_tests::consumer;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A store in memory whose claims take some milliseconds, before and after they are made.
struct Slow {
    memory: MemoryStore,
    sim: Sim,
}

impl Slow {
    async fn takes_a_while(&self) {
        self.sim.advance(millis(self.sim.random() % 20)).await;
    }
}

impl Store for Slow {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.memory.capabilities();
        capabilities.immediate = false;
        capabilities
    }
    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        StoreFuture::later(async move {
            self.takes_a_while().await;
            let claim = self.memory.claim(request).await;
            self.takes_a_while().await;
            claim
        })
    }
    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.memory.durability()
    }
    fn now(&self) -> StoreFuture<'_, Timestamp> {
        self.memory.now()
    }
    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        self.memory.enqueue(batch)
    }
    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        self.memory.settle(batch)
    }
    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.memory.renew(by, fences, lease)
    }
    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.memory.rescue(request)
    }
    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>> {
        self.memory.promote(limit)
    }
    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        self.memory.put_schedule(definition)
    }
    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        self.memory.remove_schedule(name)
    }
    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        self.memory.tick(batch)
    }
    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        self.memory.cancel(ids)
    }
    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        self.memory.pause(queue, paused)
    }
    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>> {
        self.memory.paused()
    }
    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>> {
        self.memory.ends(ids)
    }
    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page> {
        self.memory.inspect(filter)
    }
    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.memory.counters()
    }
    fn prune(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.memory.prune(limit)
    }
    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.memory.subscribe(sink);
    }
}

#[test]
fn no_task_is_left_beside_an_idle_consumer() {
    for_seeds(0..600, |seed| {
        simulate(seed, |sim| async move {
            let slow = Slow { memory: MemoryStore::new(sim.clock()), sim: sim.clone() };
            let long = |(): (), ctx: Context| async move { ctx.sleep(millis(1_000_000)).await };
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .store(Arc::new(slow))
                .consumers(2)
                .register(consumer("quick", |(): (), _: Context| async {}, |_| {}))
                .register(consumer("long", long, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            // Consumers that had many quick tasks claim several at once.
            for receipt in manager.enqueue_all((0..60).map(|_| Task::new("quick", ()))).await {
                receipt.unwrap();
            }
            sim.advance(millis(sim.random() % 400)).await;
            // The consumers are about to go idle when the long tasks come.
            for _ in 0..2 {
                manager.enqueue(Task::new("quick", ())).await.unwrap();
            }
            for _ in 0..2 {
                sim.advance(millis(sim.random() % 40)).await;
                manager.enqueue(Task::new("long", ())).await.unwrap();
            }
            sim.advance(millis(5_000)).await;
            let long = manager.metrics().kind("long");
            assert_eq!((long.active, long.queued), (2, 0));
        });
    });
}

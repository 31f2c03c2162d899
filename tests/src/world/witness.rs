//! [`Witness`]: the memory store, with everything that takes effect in it written down.

use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor::{
    CancelReply, Durability, Fence, Filter, Incarnation, Kind, MemoryStore, Page, QueueName, Store,
    TaskId, Timestamp,
};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, EndState, Enqueued, NewTask, Renewed, Rescue, RescueRequest,
    ScheduleDefinition, ScheduleState, Settle, Settled, StoreFuture, Tick, Ticked, WakeSink,
};
use conveyor_testkit::{Process, Sim};

use super::history::{Answer, Asked, Given, History, Move, Settling, Wanted, What};
use super::workers::Job;

/// A process's way to the store, on which everything is written down.
///
/// The memory store does what it is asked before it returns, so that the order of the notes is the
/// order of the effects.
pub struct Witness {
    sim: Sim,
    number: usize,
    process: Option<Process>,
    memory: Arc<MemoryStore>,
    history: History,
}

impl Witness {
    /// A way to `memory` for a process.
    #[must_use]
    pub fn new(
        sim: &Sim,
        number: usize,
        process: Option<Process>,
        memory: Arc<MemoryStore>,
        history: &History,
    ) -> Self {
        Witness { sim: sim.clone(), number, process, memory, history: history.clone() }
    }

    fn note(&self, what: What) {
        self.history.note(self.number, what);
    }

    /// The task, due as by the store's clock of now.
    fn asked(&self, task: &NewTask) -> Asked {
        Asked {
            id: task.id,
            kind: task.kind.clone(),
            queue: task.queue.clone(),
            key: task.key.clone(),
            priority: task.priority,
            due: task.start.resolve(self.sim.wall()),
            number: task.payload.downcast_ref().map(|job: &Job| job.number),
            retries: task.retries,
        }
    }

    /// Has the store do something, and notes what it answers. From a process that is dead nothing
    /// arrives, also in the very step in which it died.
    fn watch<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T>,
        note: impl FnOnce(&T),
    ) -> StoreFuture<'a, T> {
        if self.process.as_ref().is_some_and(Process::has_crashed) {
            return StoreFuture::later(std::future::pending());
        }
        let Ok(reply) = call(&self.memory).now_or_later() else {
            unreachable!("the memory store answers at once");
        };
        if let Ok(reply) = &reply {
            note(reply);
        }
        StoreFuture::ready(reply)
    }
}

impl Store for Witness {
    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.memory.durability()
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        self.memory.now()
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        let asked: Vec<Asked> = batch.iter().map(|task| self.asked(task)).collect();
        self.watch(
            |store| store.enqueue(batch),
            |replies| {
                for (asked, reply) in asked.into_iter().zip(replies) {
                    self.note(What::Enqueue(asked, Answer::from(reply)));
                }
            },
        )
    }

    fn enqueue_one(&self, task: NewTask) -> StoreFuture<'_, Enqueued> {
        let asked = self.asked(&task);
        self.watch(
            |store| store.enqueue_one(task),
            |reply| {
                self.note(What::Enqueue(asked, Answer::from(reply)));
            },
        )
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.watch(
            |store| store.claim(request),
            |reply| {
                if reply.tasks.is_empty() {
                    return;
                }
                let ClaimRequest { by, lease, demand, alone, .. } = request;
                let wanted = Wanted {
                    by,
                    lease,
                    alone,
                    queues: demand.queues.to_vec(),
                    kinds: demand.kinds.iter().map(|room| (room.kind.clone(), room.room)).collect(),
                    min_priority: demand.min_priority,
                };
                let given = reply.tasks.iter().map(|claimed| Given {
                    fence: claimed.fence,
                    budgets: claimed.budgets,
                    cancel: claimed.cancel,
                });
                self.note(What::Claim(wanted, given.collect()));
            },
        )
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        let settling = batch.iter().map(|settle| Settling {
            fence: settle.fence,
            verdict: settle.verdict.clone(),
            children: settle.children.iter().map(|child| self.asked(child)).collect(),
            panicked: settle.panicked,
            timed_out: settle.timed_out,
        });
        let settling: Vec<Settling> = settling.collect();
        self.watch(
            |store| store.settle(batch),
            |replies| {
                for (settling, &reply) in settling.into_iter().zip(replies) {
                    self.note(What::Settle(settling, reply));
                }
            },
        )
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.watch(
            |store| store.renew(by, fences, lease),
            |replies| {
                for (&fence, &reply) in fences.iter().zip(replies) {
                    self.note(What::Renew(fence, lease, reply));
                }
            },
        )
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.watch(
            |store| store.rescue(request),
            |reply| {
                for rescued in &reply.rescued {
                    self.note(What::Rescue(rescued.clone(), request.crash_budget));
                }
            },
        )
    }

    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>> {
        self.watch(|store| store.promote(limit), |_| {})
    }

    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        let name = definition.name.clone();
        self.watch(
            |store| store.put_schedule(definition),
            |state| {
                self.note(What::PutSchedule(name, state.clone()));
            },
        )
    }

    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        self.watch(
            |store| store.remove_schedule(name),
            |()| {
                self.note(What::RemoveSchedule(name.clone()));
            },
        )
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        let moves = batch.iter().map(|tick| Move {
            name: tick.name.clone(),
            revision: tick.revision,
            from: tick.from,
            to: tick.to,
            task: tick.task.as_ref().map(|task| self.asked(task)),
        });
        let moves: Vec<Move> = moves.collect();
        self.watch(
            |store| store.tick(batch),
            |replies| {
                for (step, reply) in moves.into_iter().zip(replies) {
                    self.note(What::Tick(step, reply.clone()));
                }
            },
        )
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        self.watch(
            |store| store.cancel(ids),
            |replies| {
                for (&id, &reply) in ids.iter().zip(replies) {
                    self.note(What::Cancel(id, reply));
                }
            },
        )
    }

    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        self.watch(
            |store| store.pause(queue, paused),
            |()| {
                self.note(What::Pause(queue.clone(), paused));
            },
        )
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
        self.watch(|store| store.prune(limit), |_| {})
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.memory.subscribe(sink);
    }
}

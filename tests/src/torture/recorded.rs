//! [`RecordedStore`]: a process's way to the store, on which everything is written down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use conveyor::{
    CancelReply, Durability, Fence, Filter, Incarnation, Kind, Page, QueueName, Store, StoreError,
    TaskId, Timestamp,
};
use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    Capabilities, Claim, ClaimRequest, EndState, Enqueued, NewTask, Renewed, Rescue, RescueRequest,
    ScheduleDefinition, ScheduleState, Settle, Settled, StoreFuture, Tick, Ticked, WakeSink,
};

use super::line::{Asked, Attempt, Ending, Lease, Ticking, What, now, number};
use super::recorder::Recorder;

/// Passes each call on to the store, and notes what takes effect: what is asked before it is
/// asked, what is answered after that.
pub(super) struct RecordedStore {
    store: Arc<dyn Store>,
    recorder: Recorder,
    is_known: AtomicBool,
    /// When the claims were asked for first that have not been answered, by their tokens: if it is
    /// only a reply that was lost, their leases hold from then on.
    asked: Mutex<BTreeMap<u64, i64>>,
}

impl RecordedStore {
    pub(super) fn new(store: Arc<dyn Store>, recorder: Recorder) -> Self {
        RecordedStore { store, recorder, is_known: AtomicBool::new(false), asked: Mutex::default() }
    }

    fn note(&self, what: What) {
        self.recorder.note(what);
    }

    /// Has the store do something, and notes what it answers.
    fn watch<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        call: StoreFuture<'a, T>,
        note: impl FnOnce(&T) + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::later(async move {
            let reply = call.await;
            match &reply {
                Ok(reply) => note(reply),
                Err(error) => self.failed(name, error),
            }
            reply
        })
    }

    fn failed(&self, call: &str, error: &StoreError) {
        // Not so long that the line would be torn.
        let error = error.to_string().chars().take(500).collect();
        self.note(What::Error(call.to_owned(), error));
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<u64, i64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, by: Incarnation) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            self.note(What::Is(number(by)));
        }
    }

    fn ask(&self, task: &NewTask) {
        let kind = task.kind.as_str().to_owned();
        let key = task.key.as_ref().map(|key| key.as_str().to_owned());
        self.note(What::Enqueue(Asked { id: task.id, kind, key }));
    }
}

macro_rules! pass_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $reply:ty;)*) => {
        $(fn $name<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $reply> {
            self.watch(stringify!($name), self.store.$name($($arg),*), |_| {})
        })*
    };
}

impl Store for RecordedStore {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    pass_on! {
        durability() -> Durability;
        now() -> Timestamp;
        promote(limit: usize) -> Option<Timestamp>;
        put_schedule(definition: ScheduleDefinition) -> ScheduleState;
        remove_schedule(name: &'a Kind) -> ();
        pause(queue: &'a QueueName, paused: bool) -> ();
        paused() -> Vec<QueueName>;
        ends(ids: &'a [TaskId]) -> Vec<EndState>;
        inspect(filter: &'a Filter) -> Page;
        counters() -> Counters;
        prune(limit: usize) -> usize;
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        batch.iter().for_each(|task| self.ask(task));
        let ids: Vec<TaskId> = batch.iter().map(|task| task.id).collect();
        self.watch("enqueue", self.store.enqueue(batch), move |replies| {
            for (id, reply) in ids.into_iter().zip(replies) {
                self.note(What::Enqueued(id, reply.into()));
            }
        })
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.is(request.by);
        let token = request.token;
        let asked = *self.asked().entry(token).or_insert_with(now);
        let lease = Lease::new(asked, request.lease);
        self.watch("claim", self.store.claim(request), move |reply| {
            self.asked().remove(&token);
            for claimed in &reply.tasks {
                self.note(What::Claimed(claimed.fence.into(), lease));
            }
        })
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        let settling: Vec<(Attempt, Ending)> =
            batch.iter().map(|settle| (settle.fence.into(), (&settle.verdict).into())).collect();
        for (settle, &(attempt, ending)) in batch.iter().zip(&settling) {
            settle.children.iter().for_each(|child| self.ask(child));
            self.note(What::Settle(attempt, ending));
        }
        self.watch("settle", self.store.settle(batch), move |replies| {
            for ((attempt, ending), &reply) in settling.into_iter().zip(replies) {
                self.note(What::Settled(attempt, ending, reply.into()));
            }
        })
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        let asked = Lease::new(now(), lease);
        self.watch("renew", self.store.renew(by, fences, lease), move |replies| {
            for (&fence, &reply) in fences.iter().zip(replies) {
                self.note(What::Renewed(fence.into(), asked, reply.into()));
            }
        })
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.watch("rescue", self.store.rescue(request), |reply| {
            for rescued in &reply.rescued {
                let from = number(rescued.from);
                self.note(What::Rescued(rescued.id, from, rescued.rescued_as.into()));
            }
        })
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        let moves: Vec<Option<Ticking>> = batch.iter().map(ticking).collect();
        for (tick, ticking) in batch.iter().zip(&moves) {
            if let (Some(task), Some(ticking)) = (&tick.task, ticking) {
                self.ask(task);
                self.note(What::Tick(ticking.clone()));
            }
        }
        self.watch("tick", self.store.tick(batch), move |replies| {
            for (ticking, reply) in moves.into_iter().zip(replies) {
                if let Some(ticking) = ticking {
                    self.note(What::Ticked(ticking, reply.into()));
                }
            }
        })
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        ids.iter().for_each(|&id| self.note(What::Cancel(id)));
        self.watch("cancel", self.store.cancel(ids), |_| {})
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.store.subscribe(sink);
    }
}

/// The move of a mark that brings a task.
fn ticking(tick: &Tick) -> Option<Ticking> {
    let (from, to) = (tick.from.as_micros(), tick.to.as_micros());
    let name = tick.name.as_str().to_owned();
    tick.task.as_ref().map(|task| Ticking { name, from, to, task: task.id })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use conveyor::{Kind, MemoryStore, Priority, SmolRuntime};
    use conveyor_core::payload::AnyPayload;
    use conveyor_core::store::{Demand, KindRoom};
    use conveyor_core::task::Start;
    use futures::executor::block_on;

    use super::*;
    use crate::torture::line::Line;

    #[test]
    fn a_claim_whose_reply_was_lost_holds_from_when_it_was_first_asked_for() {
        let (reader, pipe) = std::io::pipe().unwrap();
        let store = Arc::new(MemoryStore::new(Arc::new(SmolRuntime::new())));
        let store = RecordedStore::new(store, Recorder::new(1, pipe.into()));
        let kind = Kind::from_static("plain");
        let task = NewTask {
            id: TaskId::from_u128(1),
            kind: kind.clone(),
            queue: QueueName::DEFAULT,
            key: None,
            priority: Priority::NORMAL,
            payload: AnyPayload::new(()),
            start: Start::Now,
            timeout: None,
            retries: None,
        };
        let kinds = [KindRoom { kind, room: 1 }];
        let queues = [QueueName::DEFAULT];
        let claim = || {
            let (min_priority, lease) = (Priority::MIN, Duration::from_secs(60));
            let demand = Demand { queues: &queues, kinds: &kinds, min_priority, room: 1 };
            let by = Incarnation::new(7);
            store.claim(ClaimRequest { by, token: 1, lease, demand, alone: false })
        };
        block_on(store.enqueue(vec![task])).unwrap();
        // The store in memory has done it; nobody hears its reply.
        drop(claim());
        let first = now();
        while now() == first {}
        assert_eq!(block_on(claim()).unwrap().tasks.len(), 1);

        store.note(What::Over);
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        let lines = lines.map(|line| serde_json::from_str::<Line>(&line).unwrap().what);
        let asked = lines.take_while(|what| *what != What::Over).find_map(|what| match what {
            What::Claimed(_, lease) => Some(lease.asked),
            _ => None,
        });
        assert!(asked.is_some_and(|asked| asked <= first), "{asked:?} is after {first}");
    }
}

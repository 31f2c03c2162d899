//! [`MemoryStore`]: tasks in this process's memory, and nothing to install.
//!
//! It is the reference for what every store does. Tasks are lost with the process; while it lives,
//! every promise of [`Store`] holds, also with several managers on one store.
//! One lock guards it all; nothing in it waits, calls a user's code, or drops a user's payload
//! while the lock is held.

mod claim;
mod ends;
mod enqueue;
mod entry;
mod holder;
mod ids;
mod inspect;
#[cfg(all(loom, test))]
mod loom_tests;
mod maintain;
mod settle;
mod slots;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod wake;

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use self::table::Table;
use crate::id::{Fence, Incarnation, TaskId};
use crate::metrics::Counters;
use crate::name::{Kind, QueueName};
use crate::retention::Retention;
use crate::runtime::Clock;
use crate::store::{
    CancelReply, Capabilities, Claim, ClaimRequest, Durability, EndState, Enqueued, Filter,
    NewTask, Page, Renewed, Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle,
    Settled, Store, StoreFuture, Tick, Ticked, WakeSink,
};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::time::Timestamp;

/// A store in memory. Share it by `Arc`; a manager makes its own unless it is given one.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    capacity: Option<usize>,
    retention: Retention,
    shared: bool,
    table: Mutex<Table>,
    sinks: RwLock<Vec<Weak<dyn WakeSink>>>,
}

impl MemoryStore {
    /// An unbounded store that goes by the wall time of `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryStore {
            clock,
            capacity: None,
            retention: Retention::default(),
            shared: false,
            table: Mutex::default(),
            sinks: RwLock::default(),
        }
    }

    /// Refuses tasks beyond so many live ones. Ticks and the tasks of producers are not refused.
    #[must_use]
    pub fn with_capacity_limit(mut self, live_tasks: usize) -> Self {
        self.capacity = Some(live_tasks);
        self
    }

    /// Sets how long ends are kept.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Says that several managers use this store, and that each may die alone: they then watch
    /// each other's leases, as processes on a database do. For simulations.
    #[must_use]
    pub fn shared_by_managers(mut self) -> Self {
        self.shared = true;
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No code of a user's runs under the lock, and a panic of ours leaves a step undone at
        // worst; going on serves everybody better than poisoning every later call.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { shared: self.shared, ..Capabilities::memory() }
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        StoreFuture::ready(Ok(Durability::Memory))
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        StoreFuture::ready(Ok(MemoryStore::now(self)))
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        StoreFuture::ready(Ok(self.enqueue_all(batch)))
    }

    fn enqueue_one(&self, task: NewTask) -> StoreFuture<'_, Enqueued> {
        StoreFuture::ready(Ok(self.enqueue_single(task)))
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        StoreFuture::ready(Ok(self.claim_tasks(&request)))
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        StoreFuture::ready(Ok(self.settle_all(batch)))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        StoreFuture::ready(Ok(self.renew_leases(by, fences, lease)))
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        StoreFuture::ready(Ok(self.rescue_leases(&request)))
    }

    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>> {
        StoreFuture::ready(Ok(self.promote_due(limit)))
    }

    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        StoreFuture::ready(Ok(self.put(definition)))
    }

    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        self.remove(name);
        StoreFuture::ready(Ok(()))
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        StoreFuture::ready(Ok(self.tick_all(batch)))
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        StoreFuture::ready(Ok(self.cancel_tasks(ids)))
    }

    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        self.pause_queue(queue, paused);
        StoreFuture::ready(Ok(()))
    }

    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>> {
        StoreFuture::ready(Ok(self.lock().streams.paused()))
    }

    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>> {
        StoreFuture::ready(Ok(self.end_states(ids)))
    }

    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page> {
        StoreFuture::ready(Ok(self.list(filter)))
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        StoreFuture::ready(Ok(self.lock().streams.counters()))
    }

    fn prune(&self, limit: usize) -> StoreFuture<'_, usize> {
        StoreFuture::ready(Ok(self.prune_ends(limit)))
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        let mut sinks = self.sinks.write().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(sink);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("capacity", &self.capacity)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

//! [`PostgresStore`]: what callers hold.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    CancelReply, Capabilities, Claim, ClaimRequest, Durability, EndState, Enqueued, Filter,
    NewTask, Page, Renewed, Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle,
    Settled, StoreError, StoreErrorKind, StoreFuture, StoreResult, Tick, Ticked, WakeSink,
};
use conveyor_core::{Fence, Incarnation, Kind, QueueName, Store, TaskId, Timestamp};
use futures::channel::oneshot;

use crate::error::{NAME, unavailable};
use crate::options::PostgresOptions;
use crate::sql::Sql;
use crate::wake::Wakes;
use crate::worker::{self, Requests};

/// The most bytes of a payload. PostgreSQL would take more, but not well.
const MAX_PAYLOAD: usize = 64 << 20;

/// A store in PostgreSQL. Share it by `Arc`; each process opens its own.
pub struct PostgresStore {
    pub(crate) requests: Requests,
    pub(crate) sql: Arc<Sql>,
    wakes: Arc<Wakes>,
}

impl PostgresStore {
    /// Opens the store in the schema `conveyor` of a database, such as
    /// `postgres://user:password@host:5432/database`.
    ///
    /// # Errors
    /// As [`PostgresOptions::open`].
    pub async fn open(url: &str) -> StoreResult<Self> {
        PostgresOptions::new(url)?.open().await
    }

    pub(crate) async fn open_with(options: PostgresOptions) -> StoreResult<Self> {
        let refused = |why| StoreError::new(NAME, StoreErrorKind::Refused, why);
        let sql = Arc::new(Sql::new(&options.schema, !options.pooler).map_err(refused)?);
        let wakes = Wakes::new();
        let (requests, listen) = worker::start(options, Arc::clone(&sql), Arc::clone(&wakes))
            .map_err(|error| unavailable(format!("its thread cannot be started: {error}")))?;
        requests.aside(async |worker| worker.migrate().await).await?;
        let (ready, is_ready) = oneshot::channel();
        _ = listen.send(ready);
        // Whoever cannot listen polls.
        _ = is_ready.await;
        Ok(PostgresStore { requests, sql, wakes })
    }
}

impl Store for PostgresStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::memory();
        capabilities.name = NAME;
        capabilities.shared = true;
        capabilities.immediate = false;
        capabilities.encoded = true;
        capabilities.max_payload = MAX_PAYLOAD;
        capabilities.transactions = true;
        capabilities
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.requests.aside(async |worker| worker.durability().await)
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        self.requests.aside(async |worker| worker.now().await)
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        self.requests.enqueue(batch)
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.requests.claim(request.into())
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        self.requests.settle(batch)
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.requests.renew((by, fences.to_vec(), lease))
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.requests.aside(async move |worker| worker.rescue(request).await)
    }

    fn promote(&self, _: usize) -> StoreFuture<'_, Option<Timestamp>> {
        self.requests.aside(async |worker| worker.promote().await)
    }

    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        self.requests.aside(async move |worker| worker.put_schedule(&definition).await)
    }

    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        let name = name.clone();
        self.requests.aside(async move |worker| worker.remove_schedule(&name).await)
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        self.requests.aside(async move |worker| worker.tick(&batch).await)
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        let ids = ids.to_vec();
        self.requests.aside(async move |worker| worker.cancel(&ids).await)
    }

    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        let queue = queue.clone();
        self.requests.aside(async move |worker| worker.pause(&queue, paused).await)
    }

    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>> {
        self.requests.aside(async |worker| worker.paused().await)
    }

    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>> {
        let ids = ids.to_vec();
        self.requests.aside(async move |worker| worker.ends(&ids).await)
    }

    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page> {
        let filter = filter.clone();
        self.requests.aside(async move |worker| worker.inspect(&filter).await)
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.requests.aside(async |worker| worker.counters().await)
    }

    fn prune(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.requests.aside(async move |worker| worker.prune(limit).await)
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.wakes.subscribe(sink);
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("sql", &self.sql).finish_non_exhaustive()
    }
}

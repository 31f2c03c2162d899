//! [`SqliteStore`]: the file, its threads, and the calls that go to them.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use conveyor_core::metrics::Counters;
use conveyor_core::store::{
    CancelReply, Capabilities, Claim, ClaimRequest, Demand, Durability, EndState, Enqueued, Filter,
    NewTask, Page, Renewed, Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle,
    Settled, Store, StoreError, StoreErrorKind, StoreFuture, StoreResult, Tick, Ticked, WakeSink,
};
use conveyor_core::{Fence, Incarnation, Kind, QueueName, TaskId, Timestamp};
use futures::channel::oneshot;

use crate::error::{NAME, closed};
use crate::inspect;
use crate::options::SqliteOptions;
use crate::queue::{Queue, Read, Write};
use crate::reader::Reader;
#[cfg(feature = "sqlx")]
use crate::step::Limits;
use crate::wake::Sinks;
use crate::writer::Writer;

/// The most bytes of an encoded payload: what SQLite takes at most, with room for the rest of a row.
const MAX_PAYLOAD: usize = 900_000_000;

/// Tasks in a SQLite file. Several processes of one machine may share it.
///
/// Every call is made on a thread of the store's own, so a store works on any runtime; calls that
/// come at once share a transaction, and one wait for the disk. Dropping the store closes the file
/// after the calls under way.
pub struct SqliteStore {
    options: SqliteOptions,
    writer: Arc<Queue<Write>>,
    reader: Arc<Queue<Read>>,
    sinks: Arc<Sinks>,
}

impl SqliteStore {
    /// Opens the file at `path`, which is made if there is none; see [`SqliteOptions`] for what can
    /// be chosen.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> StoreResult<Self> {
        SqliteOptions::new(path).open().await
    }

    pub(crate) async fn open_with(options: SqliteOptions) -> StoreResult<Self> {
        let (writer, reader, sinks) = (
            Arc::<Queue<Write>>::default(),
            Arc::<Queue<Read>>::default(),
            Arc::<Sinks>::default(),
        );
        let (opened, is_open) = oneshot::channel();
        let path = options.path.clone();
        start("conveyor-sqlite", {
            let (options, queue, sinks) = (options.clone(), writer.clone(), sinks.clone());
            move || match Writer::new(options, queue, sinks) {
                Ok(writer) => {
                    if opened.send(Ok(())).is_ok() {
                        writer.run();
                    }
                }
                Err(failure) => _ = opened.send(Err(failure.to_store_error())),
            }
        })?;
        is_open.await.unwrap_or_else(|_| Err(closed())).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let at = format!("{} (opening {})", cause.unwrap_or_default(), path.display());
            StoreError::new(NAME, error.kind(), at)
        })?;
        // From here on it is closed when it is dropped.
        let store = SqliteStore { options, writer, reader, sinks };
        start("conveyor-sqlite-reader", {
            let reader = Reader::new(path, store.reader.clone());
            move || reader.run()
        })?;
        Ok(store)
    }
}

#[cfg(feature = "sqlx")]
impl SqliteStore {
    pub(crate) fn path(&self) -> &Path {
        &self.options.path
    }

    pub(crate) fn limits(&self) -> Limits {
        self.options.limits()
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.options.clock.wall()
    }
}

/// Starts a thread, which ends when its queue is closed.
fn start(name: &str, run: impl FnOnce() + Send + 'static) -> StoreResult<()> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| StoreError::new(NAME, StoreErrorKind::Refused, error))
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.writer.close();
        self.reader.close();
    }
}

impl Store for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::memory();
        capabilities.name = NAME;
        capabilities.shared = true;
        capabilities.immediate = false;
        capabilities.encoded = true;
        capabilities.max_payload = MAX_PAYLOAD;
        capabilities.transactions = cfg!(feature = "sqlx");
        capabilities
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.writer.write(|step| step.get("PRAGMA synchronous", (), |row| row.get(0))).map(
            |synchronous: i64| {
                // OFF is 0, NORMAL 1, FULL 2, EXTRA 3.
                if synchronous >= 2 { Durability::PowerLoss } else { Durability::ProcessCrash }
            },
        )
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        StoreFuture::ready(Ok(self.options.clock.wall()))
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        self.writer.write(move |step| step.enqueue(batch))
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        let ClaimRequest { by, token, lease, demand, alone } = request;
        let Demand { queues, kinds, min_priority, room } = demand;
        let (queues, kinds) = (queues.to_vec(), kinds.to_vec());
        self.writer.write(move |step| {
            let demand = Demand { queues: &queues, kinds: &kinds, min_priority, room };
            step.claim(&ClaimRequest { by, token, lease, demand, alone })
        })
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        self.writer.write(move |step| step.settle(batch))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        let fences = fences.to_vec();
        self.writer.write(move |step| step.renew(by, &fences, lease))
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.writer.write(move |step| step.rescue(&request))
    }

    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>> {
        self.writer.write(move |step| step.promote(limit))
    }

    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        self.writer.write(move |step| step.put_schedule(&definition))
    }

    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        let name = name.clone();
        self.writer.write(move |step| step.remove_schedule(&name))
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        self.writer.write(move |step| step.tick(batch))
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        let ids = ids.to_vec();
        self.writer.write(move |step| step.cancel(&ids))
    }

    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        let queue = queue.clone();
        self.writer.write(move |step| step.pause(&queue, paused))
    }

    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>> {
        self.reader.read(|sql| inspect::paused(sql))
    }

    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>> {
        let ids = ids.to_vec();
        self.reader.read(move |sql| inspect::ends(sql, &ids))
    }

    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page> {
        let filter = filter.clone();
        self.reader.read(move |sql| inspect::list(sql, &filter))
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.reader.read(|sql| inspect::counters(sql))
    }

    fn prune(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.writer.write(move |step| step.prune(limit))
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        self.sinks.add(sink);
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("options", &self.options).finish_non_exhaustive()
    }
}

//! What the suite cannot ask for, since only PostgreSQL has it: transactions of a caller's own, SQL
//! from anywhere, migrations, a server that dies.
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

mod claims;
mod crash;
mod function;
mod marks;
mod migrations;
mod pooler;
mod retention;
mod transactions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{
    ClaimRequest, Claimed, Demand, Enqueued, KindRoom, NewTask, Settle, Verdict, Wake, WakeSink,
};
use conveyor_core::task::Start;
use conveyor_core::{Incarnation, Key, Kind, Priority, QueueName, Store, TaskId};
use conveyor_postgres::{PostgresOptions, PostgresStore};
use conveyor_test_servers::Postgres;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

const WORK: Kind = Kind::from_static("work");
const QUEUE: QueueName = QueueName::from_static("q");
const LEASE: Duration = Duration::from_secs(60);
const ME: Incarnation = Incarnation::new(u64::MAX);

/// A bound for what must not wait, however slow the machine.
const PROMPT: Duration = Duration::from_secs(20);

fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    NUMBER.fetch_add(1, Ordering::SeqCst)
}

fn new_task() -> NewTask {
    let number = number();
    NewTask {
        id: TaskId::from_u128(1 << 80 | u128::from(number)),
        kind: WORK,
        queue: QUEUE,
        key: None,
        priority: Priority::NORMAL,
        payload: AnyPayload::from_encoded(Encoded { codec: "json".into(), bytes: (*b"1").into() }),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

fn keyed(key: &'static str) -> NewTask {
    NewTask { key: Some(Key::from_static(key)), ..new_task() }
}

/// A store in a new schema, with the schema's name.
async fn new_store() -> (PostgresStore, String) {
    let schema = format!("promises {}", number());
    (open(&schema).await, schema)
}

async fn open(schema: &str) -> PostgresStore {
    let options = PostgresOptions::new(&Postgres::shared().url()).unwrap().schema(schema);
    options.open().await.unwrap()
}

async fn connect() -> PgConnection {
    PgConnection::connect(&Postgres::shared().url()).await.unwrap()
}

async fn execute(connection: &mut PgConnection, statement: String) {
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn enqueue(store: &PostgresStore, task: NewTask) -> Enqueued {
    store.enqueue(vec![task]).await.unwrap().remove(0)
}

async fn claim(store: &PostgresStore) -> Vec<Claimed> {
    claim_by(store, ME).await
}

async fn claim_by(store: &PostgresStore, by: Incarnation) -> Vec<Claimed> {
    let kinds = [KindRoom { kind: WORK, room: 1_000 }];
    let demand =
        Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room: 1_000 };
    let request = ClaimRequest { by, token: number(), lease: LEASE, demand, alone: false };
    store.claim(request).await.unwrap().tasks
}

fn settle(claimed: &Claimed, verdict: Verdict) -> Settle {
    Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    }
}

fn ids(claimed: &[Claimed]) -> Vec<TaskId> {
    claimed.iter().map(|claimed| claimed.fence.task).collect()
}

/// What comes, if it comes promptly.
async fn promptly<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(PROMPT, comes).await;
    within.unwrap_or_else(|_| panic!("{what} does not come within {PROMPT:?}"))
}

/// Somebody who is told.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl WakeSink for Listener {
    fn wake(&self, wake: Wake<'_>) {
        self.0.lock().unwrap().push(format!("{wake:?}"));
    }
}

impl Listener {
    fn of(store: &PostgresStore) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        let weak = Arc::downgrade(&listener);
        store.subscribe(weak);
        listener
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until it is told something of that sort.
    async fn hears(&self, what: &str) {
        let start = Instant::now();
        while !self.told().iter().any(|told| told.starts_with(what)) {
            assert!(start.elapsed() < PROMPT, "{what} is not told, but {:?}", self.told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

//! Tasks in a caller's own transaction: they are there if and only if it commits.
#![cfg(feature = "sqlx")]
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use conveyor_core::payload::AnyPayload;
use conveyor_core::store::StoreTransaction;
use conveyor_core::store::{
    Claim, ClaimRequest, Demand, EndState, Enqueued, KindRoom, NewTask, Settle, Settled,
    StoreErrorKind, Verdict, Wake, WakeSink,
};
use conveyor_core::task::Start;
use conveyor_core::{Incarnation, Key, Kind, Priority, QueueName, Store, TaskId};
use conveyor_sqlite::SqliteStore;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

const LEASE: Duration = Duration::from_secs(60);

async fn pool(path: &Path) -> std::result::Result<SqlitePool, sqlx::Error> {
    let pool = SqlitePool::connect_with(
        SqliteConnectOptions::new().filename(path).create_if_missing(true),
    )
    .await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

fn task(id: u128, key: Option<&'static str>) -> NewTask {
    NewTask {
        id: TaskId::from_u128(id),
        kind: Kind::from_static("ship"),
        queue: QueueName::from_static("orders"),
        key: key.map(Key::from_static),
        priority: Priority::NORMAL,
        payload: AnyPayload::new(17u32),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

async fn claim(store: &SqliteStore, token: u64) -> Claim {
    let kinds = [KindRoom { kind: Kind::from_static("ship"), room: 10 }];
    let queues = [QueueName::from_static("orders")];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room: 10 };
    let by = Incarnation::new(7);
    let request = ClaimRequest { by, token, lease: LEASE, demand, alone: false };
    store.claim(request).await.expect("a claim is answered")
}

#[tokio::test]
async fn a_task_is_there_if_and_only_if_the_transaction_commits() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tasks.db");
    let store = SqliteStore::open(&path).await?;
    let pool = pool(&path).await?;

    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await?;
    let batch = vec![task(1, Some("a")), task(2, Some("a")), task(3, None)];
    let replies = StoreTransaction::enqueue(&mut tx, &store, batch).await?;
    assert!(
        matches!(
            &replies[..],
            [Enqueued::Accepted, Enqueued::Duplicate(Some(id)), Enqueued::Accepted]
                if *id == TaskId::from_u128(1)
        ),
        "{replies:?}"
    );
    let unseen = store.ends(&[TaskId::from_u128(1)]).await?;
    assert_eq!(unseen, [EndState::Gone], "nobody else sees it yet");
    tx.rollback().await?;
    assert!(claim(&store, 1).await.tasks.is_empty(), "it was rolled back");
    assert_eq!(store.counters().await?.total().enqueued, 0);

    let mut tx = pool.begin().await?;
    StoreTransaction::enqueue(&mut tx, &store, vec![task(1, Some("a"))]).await?;
    tx.commit().await?;
    let tasks = claim(&store, 2).await.tasks;
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].key, Some(Key::from_static("a")));
    assert_eq!(store.counters().await?.total().enqueued, 1);
    let refused = store.enqueue_one(task(9, Some("a"))).await?;
    assert!(matches!(refused, Enqueued::Duplicate(Some(_))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn an_attempt_ends_with_what_its_handler_wrote() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tasks.db");
    let store = SqliteStore::open(&path).await?;
    let pool = pool(&path).await?;
    store.enqueue_one(task(1, Some("a"))).await?;
    let claimed = claim(&store, 1).await.tasks.remove(0);
    let settle = || Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict: Verdict::Succeed,
        children: vec![task(2, None)],
        panicked: false,
        timed_out: false,
    };

    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await?;
    assert_eq!(StoreTransaction::settle(&mut tx, &store, settle()).await?, Settled::Applied);
    assert_eq!(StoreTransaction::settle(&mut tx, &store, settle()).await?, Settled::Already);
    tx.rollback().await?;
    assert_eq!(store.ends(&[claimed.fence.task]).await?, [EndState::Live], "it was rolled back");

    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await?;
    assert_eq!(StoreTransaction::settle(&mut tx, &store, settle()).await?, Settled::Applied);
    tx.commit().await?;
    assert!(matches!(store.ends(&[claimed.fence.task]).await?[..], [EndState::Ended(_)]));
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&pool).await?;
    assert_eq!(orders, 1);
    // What the engine says afterwards changes nothing.
    assert_eq!(store.settle(vec![settle()]).await?, [Settled::Already]);
    assert_eq!(claim(&store, 2).await.tasks.len(), 1, "its child is there");

    // Whoever lost the lease changes nothing, in a transaction or not.
    let mut fenced = settle();
    fenced.fence.epoch += 1;
    let mut tx = pool.begin().await?;
    assert_eq!(StoreTransaction::settle(&mut tx, &store, fenced).await?, Settled::Fenced);
    Ok(())
}

#[tokio::test]
async fn an_error_leaves_the_transaction_as_it_was() -> Result {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("tasks.db")).await?;
    let other = pool(&folder.path().join("other.db")).await?;
    let mut tx = other.begin().await?;
    sqlx::query("INSERT INTO orders VALUES (1)").execute(&mut *tx).await?;
    let refused = StoreTransaction::enqueue(&mut tx, &store, vec![task(1, None)]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("other.db") && refused.contains("tasks.db"), "{refused}");
    tx.commit().await?;
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&other).await?;
    assert_eq!(orders, 1);
    Ok(())
}

/// Whoever has the file open when a newer program makes the tables unusable must not write by what
/// it knows of the old ones, neither by itself nor in anybody's transaction.
#[tokio::test]
async fn tables_that_became_unusable_are_refused() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tasks.db");
    let store = SqliteStore::open(&path).await?;
    let pool = pool(&path).await?;
    sqlx::query("UPDATE conveyor_meta SET version = 12, usable_from = 9").execute(&pool).await?;
    let mut tx = pool.begin().await?;
    let refused = StoreTransaction::enqueue(&mut tx, &store, vec![task(1, None)]).await;
    let refused = refused.expect_err("the tables are a newer program's");
    assert_eq!(refused.kind(), StoreErrorKind::Incompatible);
    assert!(refused.to_string().contains("version 12"), "{refused}");
    sqlx::query("UPDATE conveyor_meta SET usable_from = 1").execute(&mut *tx).await?;
    StoreTransaction::enqueue(&mut tx, &store, vec![task(1, None)]).await?;
    tx.commit().await?;
    assert_eq!(store.ends(&[TaskId::from_u128(1)]).await?, [EndState::Live]);
    Ok(())
}

/// Waits to be told that something can be claimed.
#[derive(Default)]
struct Listener {
    told: Mutex<bool>,
    news: Condvar,
}

impl WakeSink for Listener {
    fn wake(&self, wake: Wake<'_>) {
        if let Wake::Claimable { .. } = wake {
            *self.told.lock().expect("nobody panics while it is held") = true;
            self.news.notify_all();
        }
    }
}

#[tokio::test]
async fn a_commit_is_told_though_the_store_did_not_make_it() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tasks.db");
    let store = SqliteStore::open(&path).await?;
    let pool = pool(&path).await?;
    let listener = Arc::new(Listener::default());
    let weak = Arc::downgrade(&listener);
    store.subscribe(weak);
    let mut tx = pool.begin().await?;
    StoreTransaction::enqueue(&mut tx, &store, vec![task(1, None)]).await?;
    assert!(!*listener.told.lock().unwrap(), "there is nothing to claim yet");
    tx.commit().await?;
    let told = listener.told.lock().unwrap();
    let long = Duration::from_secs(20);
    let (told, _) = listener.news.wait_timeout_while(told, long, |told| !*told).unwrap();
    assert!(*told);
    Ok(())
}

//! What PostgreSQL itself can do: insert, claim by `SKIP LOCKED`, delete, a thousand rows at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, Executor, PgConnection, Row};

use super::{Load, PAYLOAD};

const BATCH: usize = 1_000;
/// How many claim.
const CLAIMERS: usize = 2;

pub async fn run(url: &str, load: Load) -> Duration {
    let mut producer = PgConnection::connect(url).await.expect("a connection");
    let tables = "create table task (id bigserial primary key, holder int, payload bytea not null);
        create index free on task (id) where holder is null";
    producer.execute(tables).await.expect("tables");
    let done = Arc::new(AtomicU64::new(0));
    let mut claimers = Vec::new();
    for _ in 0..CLAIMERS {
        claimers.push(PgConnection::connect(url).await.expect("a connection"));
    }
    let start = Instant::now();
    let claimers: Vec<_> = (0i32..)
        .zip(claimers)
        .map(|(holder, connection)| tokio::spawn(claim(connection, holder, load, done.clone())))
        .collect();
    let mut left = load.tasks;
    while left > 0 {
        let payloads = vec![vec![b'x'; PAYLOAD]; left.min(BATCH as u64) as usize];
        left -= payloads.len() as u64;
        sqlx::query("insert into task (payload) select unnest($1::bytea[])")
            .bind(payloads)
            .execute(&mut producer)
            .await
            .expect("rows");
    }
    for claimer in claimers {
        claimer.await.expect("it does not panic");
    }
    start.elapsed()
}

async fn claim(mut connection: PgConnection, holder: i32, load: Load, done: Arc<AtomicU64>) {
    while done.load(Ordering::SeqCst) < load.tasks {
        let rows = sqlx::query(
            "update task set holder = $1 where id = any(array(
                select id from task where holder is null order by id limit $2
                for update skip locked
            )) returning id, payload",
        )
        .bind(holder)
        .bind(BATCH as i64)
        .fetch_all(&mut connection)
        .await
        .expect("rows");
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        if ids.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let deleted = sqlx::query("delete from task where id = any($1)")
            .bind(ids)
            .execute(&mut connection)
            .await
            .expect("rows");
        done.fetch_add(deleted.rows_affected(), Ordering::SeqCst);
    }
}

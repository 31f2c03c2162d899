//! How fast a store in PostgreSQL is: tasks are enqueued and drained, or both at once for a while.
//!
//!     cargo run --release -p conveyor-postgres --example throughput -- URL drain 100000 2 500 1
//!     cargo run --release -p conveyor-postgres --example throughput -- URL churn 15 2 500 8 [hold]
//!
//! The numbers are tasks or seconds, claimers, the most tasks of a claim, and kinds; if there are
//! several, each of three priorities. With `hold` a snapshot is held open meanwhile, so that the
//! server can tidy up nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{ClaimRequest, Demand, KindRoom, NewTask, Settle, Verdict};
use conveyor_core::task::Start;
use conveyor_core::{Incarnation, Kind, Priority, QueueName, Store, Timestamp, id::TaskIds};
use conveyor_postgres::{PostgresOptions, PostgresStore};
use futures::executor::block_on;
use sqlx::{Connection, Executor, PgConnection};

const QUEUE: QueueName = QueueName::from_static("q");
const BATCH: usize = 500;

#[derive(Default)]
struct Done {
    enqueued: AtomicU64,
    settled: AtomicU64,
    claims: AtomicU64,
    claiming_micros: AtomicU64,
    over: AtomicBool,
}

/// The names of that many kinds.
fn kinds(count: usize) -> Vec<Kind> {
    (0..count).map(|nth| Kind::new(format!("work-{nth}")).expect("a name")).collect()
}

fn enqueue(store: &PostgresStore, ids: &TaskIds, kinds: &[Kind], count: usize) {
    let now = Timestamp::from(std::time::SystemTime::now());
    let payload =
        AnyPayload::from_encoded(Encoded { codec: "json".into(), bytes: [b'1'; 500].into() });
    let urgency = [Priority::NORMAL, Priority::LOW, Priority::HIGH];
    let urgency = if kinds.len() > 1 { &urgency[..] } else { &urgency[..1] };
    let task = |nth: usize| NewTask {
        id: ids.next(now),
        kind: kinds[nth % kinds.len()].clone(),
        queue: QUEUE,
        key: None,
        priority: urgency[nth / kinds.len() % urgency.len()],
        payload: payload.clone(),
        start: Start::Now,
        timeout: None,
        retries: None,
    };
    block_on(store.enqueue((0..count).map(task).collect())).expect("the server takes them");
}

/// Claims and settles once; tells how many.
fn consume(
    store: &PostgresStore,
    by: u64,
    token: u64,
    room: usize,
    kinds: &[Kind],
    done: &Done,
) -> usize {
    let kinds: Vec<_> = kinds.iter().map(|kind| KindRoom { kind: kind.clone(), room }).collect();
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room };
    let (by, lease) = (Incarnation::new(by), Duration::from_secs(60));
    let start = Instant::now();
    let claim = ClaimRequest { by, token, lease, demand, alone: false };
    let tasks = block_on(store.claim(claim)).expect("the server gives them").tasks;
    done.claims.fetch_add(1, SeqCst);
    done.claiming_micros.fetch_add(start.elapsed().as_micros() as u64, SeqCst);
    let end = |fence| Settle {
        fence,
        ticket: 0,
        verdict: Verdict::Succeed,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    };
    let count = tasks.len();
    if count > 0 {
        let batch = tasks.iter().map(|task| end(task.fence)).collect();
        block_on(store.settle(batch)).expect("the server takes them");
        done.settled.fetch_add(count as u64, SeqCst);
    }
    count
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let (url, mode) = (&arguments[0], arguments[1].as_str());
    let (amount, claimers, room) = (number(2), number(3), number(4));
    let kinds = kinds(number(5));
    let open = || {
        let options = PostgresOptions::new(url).expect("a URL").schema("throughput");
        block_on(options.open()).expect("the store opens")
    };
    // As processes have them.
    let stores: Vec<PostgresStore> = (0..claimers).map(|_| open()).collect();
    let ids = TaskIds::new(amount as u64);
    let done = Done::default();
    match mode {
        "drain" => {
            let start = Instant::now();
            for _ in 0..amount / BATCH {
                enqueue(&stores[0], &ids, &kinds, BATCH);
            }
            tell("enqueued", amount, start.elapsed());
            let start = Instant::now();
            thread::scope(|scope| {
                for (by, store) in stores.iter().enumerate() {
                    let (done, kinds) = (&done, &kinds);
                    scope.spawn(move || {
                        let mut token = 0;
                        while done.settled.load(SeqCst) < amount as u64 {
                            token += 1;
                            consume(store, by as u64, token, room, kinds, done);
                        }
                    });
                }
            });
            tell("claimed and settled", amount, start.elapsed());
        }
        _ => churn(
            arguments.get(6).map(|_| url.as_str()),
            amount,
            &stores,
            room,
            &kinds,
            &ids,
            &done,
        ),
    }
}

fn churn(
    hold: Option<&str>,
    seconds: usize,
    stores: &[PostgresStore],
    room: usize,
    kinds: &[Kind],
    ids: &TaskIds,
    done: &Done,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
    let _held = hold.map(|url| {
        runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await.expect("a connection");
            let begin = "begin isolation level repeatable read; select count(*) from pg_class";
            connection.execute(begin).await.expect("a snapshot");
            connection
        })
    });
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.over.load(SeqCst) {
                // A backlog that is neither empty nor endless.
                if done.enqueued.load(SeqCst) < done.settled.load(SeqCst) + 20_000 {
                    enqueue(&stores[0], ids, kinds, BATCH);
                    done.enqueued.fetch_add(BATCH as u64, SeqCst);
                } else {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        for (by, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                let mut token = 0;
                while !done.over.load(SeqCst) {
                    token += 1;
                    consume(store, by as u64, token, room, kinds, done);
                }
            });
        }
        for second in 1..=seconds {
            thread::sleep(Duration::from_secs(1));
            let settled = done.settled.swap(0, SeqCst);
            done.enqueued.fetch_sub(settled.min(done.enqueued.load(SeqCst)), SeqCst);
            let claims = done.claims.swap(0, SeqCst).max(1);
            let each = done.claiming_micros.swap(0, SeqCst) as f64 / claims as f64 / 1_000.0;
            println!("{second:3} s: {settled:6} tasks, {each:6.2} ms a claim");
        }
        done.over.store(true, SeqCst);
    });
}

fn tell(what: &str, count: usize, time: Duration) {
    println!("{count} {what} in {time:.2?}: {:.0} a second", count as f64 / time.as_secs_f64());
}

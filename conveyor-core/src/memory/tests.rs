//! What the store holds on to: only what it needs. The promises to callers have their tests in the
//! suite for stores (`conveyor-testkit/src/store_suite`), the rest in `tests/memory_store`.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::MemoryStore;
use crate::Retention;
use crate::id::{Incarnation, TaskId};
use crate::name::{Key, Kind, QueueName};
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::runtime::Clock;
use crate::store::{ClaimRequest, Claimed, Demand, Enqueued, KindRoom, NewTask, Settle, Verdict};
use crate::task::Start;
use crate::time::{Instant, Timestamp};

const A: Incarnation = Incarnation::new(1);
const KIND: Kind = Kind::from_static("work");
const QUEUE: QueueName = QueueName::from_static("q");

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000)
    }
}

fn keeping(count: usize) -> MemoryStore {
    let age = Duration::from_secs(60);
    MemoryStore::new(Arc::new(Stopped)).with_retention(Retention { count, age })
}

fn task(id: u128) -> NewTask {
    NewTask {
        id: TaskId::from_u128(id),
        kind: KIND,
        queue: QUEUE,
        key: None,
        priority: Priority::NORMAL,
        payload: AnyPayload::new(()),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

fn enqueue(store: &MemoryStore, task: NewTask) {
    assert!(matches!(store.enqueue_single(task), Enqueued::Accepted));
}

fn claim(store: &MemoryStore, room: usize) -> Vec<Claimed> {
    let kinds = [KindRoom { kind: KIND, room }];
    let request = ClaimRequest {
        by: A,
        token: 0,
        lease: Duration::from_secs(30),
        demand: Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room },
        alone: false,
    };
    store.claim_tasks(&request).tasks
}

fn succeed(store: &MemoryStore, claimed: Vec<Claimed>) {
    let settle = |claimed: Claimed| Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict: Verdict::Succeed,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    };
    store.settle_all(claimed.into_iter().map(settle).collect());
}

#[test]
fn a_process_that_holds_nothing_is_not_remembered() {
    let store = keeping(0);
    claim(&store, 1);
    assert!(store.lock().holders.is_empty(), "it was given nothing");
    enqueue(&store, task(1));
    let claimed = claim(&store, 1);
    assert_eq!(store.lock().holders.len(), 1);
    succeed(&store, claimed);
    assert!(store.lock().holders.is_empty(), "it gave all back");
    claim(&store, 1);
    assert!(store.lock().holders.is_empty());
}

/// For how many elements the tables have allocated memory.
fn allocated(store: &MemoryStore) -> usize {
    store.lock().allocated()
}

/// Runs `work` on a thread of its own, and fails if it takes more than `limit`.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, hears_done) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        _ = done.send(());
    });
    match hears_done.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it takes more than {limit:?}"),
        _ => worker.join().expect("the work does not panic"),
    }
}

const BURST: u128 = 100_000;

#[test]
fn a_burst_leaves_no_memory_behind() {
    let store = keeping(1000);
    for id in 0..BURST {
        let mut task = task(id);
        task.key = (id % 2 == 0).then(|| Key::new(id.to_string()).expect("a valid key"));
        if id % 3 == 0 {
            task.start = Start::At(Timestamp::from_secs(0));
        }
        enqueue(&store, task);
    }
    for turn in 0.. {
        let claimed = claim(&store, 500);
        if claimed.is_empty() {
            break;
        }
        // From the other end every other time.
        let claimed = if turn % 2 == 0 { claimed } else { claimed.into_iter().rev().collect() };
        succeed(&store, claimed);
    }
    assert_eq!(store.lock().live, 0);
    store.lock().forget_ends_beyond(0);
    assert!(allocated(&store) < 12_000, "{}", allocated(&store));
}

#[test]
fn cancelled_delays_leave_no_memory_behind() {
    let store = keeping(0);
    let ids: Vec<TaskId> = (0..BURST).map(TaskId::from_u128).collect();
    for id in 0..BURST {
        let start = Start::After(Duration::from_secs(60));
        enqueue(&store, NewTask { start, ..task(id) });
    }
    store.cancel_tasks(&ids);
    assert!(allocated(&store) < 12_000, "{}", allocated(&store));
}

#[test]
fn a_task_that_outlives_a_burst_costs_the_others_nothing() {
    within(Duration::from_secs(30), || {
        let store = keeping(100);
        for id in 0..BURST {
            enqueue(&store, task(id));
        }
        let start = Start::After(Duration::from_secs(60));
        enqueue(&store, NewTask { start, ..task(BURST) });
        for _ in 0..BURST {
            succeed(&store, claim(&store, 1));
        }
        store.cancel_tasks(&[TaskId::from_u128(BURST)]);
        store.lock().forget_ends_beyond(0);
        assert!(allocated(&store) < 12_000, "{}", allocated(&store));
    });
}

#[test]
fn a_store_that_stays_busy_shrinks_after_a_burst() {
    let store = keeping(1000);
    for id in 0..BURST {
        enqueue(&store, task(id));
    }
    for id in BURST..BURST * 2 {
        // More is taken than comes, until little is left.
        let room = if store.lock().live > 10 { 5 } else { 1 };
        enqueue(&store, task(id));
        succeed(&store, claim(&store, room));
    }
    assert!(allocated(&store) < 40_000, "{}", allocated(&store));
}

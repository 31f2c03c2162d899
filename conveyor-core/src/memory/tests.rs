//! What the store holds on to: only what it needs. The promises to callers have their tests in
//! `tests/memory_store`.

use std::sync::Arc;
use std::time::Duration;

use super::{MemoryStore, Retention};
use crate::id::{Incarnation, TaskId};
use crate::name::{Kind, QueueName};
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

//! The scene of these tests: plain tasks, and the calls of a store, waited for.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::time::Duration;

use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{
    Claim, ClaimRequest, Claimed, Demand, KindRoom, NewTask, Settle, StoreFuture, Verdict,
};
use conveyor_core::task::Start;
use conveyor_core::{Incarnation, Key, Kind, Priority, QueueName, Store, TaskId};

pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// The kind and the queue of all tasks, unless a test says otherwise.
pub(crate) const KIND: Kind = Kind::from_static("ship");
pub(crate) const QUEUE: QueueName = QueueName::from_static("orders");

pub(crate) fn id(number: usize) -> TaskId {
    TaskId::from_u128(u128::try_from(number).expect("it is wider"))
}

pub(crate) fn task(number: usize) -> NewTask {
    NewTask {
        id: id(number),
        kind: KIND,
        queue: QUEUE,
        key: None,
        priority: Priority::NORMAL,
        payload: bytes(b"17"),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

pub(crate) fn keyed(number: usize, key: &'static str) -> NewTask {
    NewTask { key: Some(Key::from_static(key)), ..task(number) }
}

/// A task that takes so much room.
pub(crate) fn large(number: usize, len: usize) -> NewTask {
    NewTask { payload: bytes(&vec![b'x'; len]), ..task(number) }
}

pub(crate) fn bytes(bytes: &[u8]) -> AnyPayload {
    AnyPayload::from_encoded(Encoded { codec: "raw".into(), bytes: bytes.into() })
}

/// Waits for a call that must succeed.
pub(crate) fn done<T>(call: StoreFuture<'_, T>) -> T {
    futures::executor::block_on(call).expect("the call succeeds")
}

/// Asks for so many tasks.
pub(crate) fn try_claim(
    store: &dyn Store,
    by: Incarnation,
    token: u64,
    room: usize,
) -> Result<Claim, conveyor_core::store::StoreError> {
    let kinds = [KindRoom { kind: KIND, room }];
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room };
    let request = ClaimRequest { by, token, lease: LEASE, demand, alone: false };
    futures::executor::block_on(store.claim(request))
}

pub(crate) fn claim(store: &dyn Store, by: Incarnation, token: u64, room: usize) -> Vec<Claimed> {
    try_claim(store, by, token, room).expect("a claim is answered").tasks
}

pub(crate) fn settle(claimed: &Claimed, verdict: Verdict) -> Settle {
    Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    }
}

//! Tasks for cases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conveyor_core::codec::Codecs;
use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::NewTask;
use conveyor_core::task::Start;
use conveyor_core::{Key, Kind, Priority, QueueName, TaskId};

use crate::Random;

/// A task of kind `work` for the queue `q`.
///
/// Its id is like no other's, and says nothing of its age: the age is the order of acceptance.
pub(super) fn task() -> NewTask {
    static MADE: AtomicU64 = AtomicU64::new(1);
    let number = MADE.fetch_add(1, Ordering::SeqCst);
    NewTask {
        id: TaskId::from_u128(
            u128::from(Random::new(number).next_u64()) << 64 | u128::from(number),
        ),
        kind: Kind::from_static("work"),
        queue: QueueName::from_static("q"),
        key: None,
        priority: Priority::NORMAL,
        payload: json(number),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

/// A payload as an engine hands it to a store that keeps bytes; others take it too.
fn json(number: u64) -> AnyPayload {
    bytes("json", number.to_string().as_bytes())
}

/// A payload of bytes.
pub(super) fn bytes(codec: &str, bytes: &[u8]) -> AnyPayload {
    AnyPayload::from_encoded(Encoded { codec: codec.into(), bytes: bytes.into() })
}

/// The bytes of a payload, with the name of their codec.
pub(super) fn encoded(payload: &AnyPayload) -> Encoded {
    payload.encoded(&Codecs::default()).expect("bytes need no codec")
}

/// Setters for a [`NewTask`].
pub(super) trait Set: Sized {
    fn kind(self, kind: &'static str) -> Self;
    fn queue(self, queue: &'static str) -> Self;
    fn key(self, key: &'static str) -> Self;
    fn priority(self, priority: Priority) -> Self;
    fn start(self, start: Start) -> Self;
    fn delay(self, delay: Duration) -> Self {
        self.start(Start::After(delay))
    }
}

impl Set for NewTask {
    fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Kind::from_static(kind);
        self
    }

    fn queue(mut self, queue: &'static str) -> Self {
        self.queue = QueueName::from_static(queue);
        self
    }

    fn key(mut self, key: &'static str) -> Self {
        self.key = Some(Key::from_static(key));
        self
    }

    fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }
}

//! Types that the engine has no use for.

use conveyor::worker;

struct NotSerde;
struct NotSerdeNumber(u8);

#[worker]
async fn not_serde(_payload: NotSerde) {}

#[worker(key = |payload| payload.0)]
async fn borrowed_not_serde(_payload: &NotSerdeNumber) {}

#[worker]
async fn returns() -> Option<u8> {
    None
}

#[worker(key = |payload| Vec::from([*payload]))]
async fn key(_payload: u8) {}

#[worker(retry_if = |error| error.is_empty())]
async fn retry_if() -> Result<(), u8> {
    Err(1)
}

#[worker(backoff = |failures: u64| std::time::Duration::from_secs(failures))]
async fn backoff() {}

struct Feeds;

#[worker]
impl Feeds {
    async fn consume(&self, _payload: u8) {}

    async fn produce(&self) -> Vec<String> {
        Vec::new()
    }
}

struct NoPayload;

#[worker]
impl NoPayload {
    async fn consume(&self, _payload: NotSerde) {}

    async fn produce(&self) -> Vec<NotSerde> {
        Vec::new()
    }
}

struct Nothing;

#[worker]
impl Nothing {
    async fn consume(&self, _payload: u8) {}

    async fn produce(&self) -> u8 {
        1
    }
}

fn main() {}

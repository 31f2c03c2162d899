//! `impl` blocks that cannot be workers.

use conveyor::worker;

struct Feeds;
struct Generic<T>(T);
struct Empty;
struct Mutable;
struct Owned;
struct Shared;
struct Producer;
struct Doubled;
struct Alone;

#[worker]
impl Clone for Feeds {
    fn clone(&self) -> Self {
        Feeds
    }
}

#[worker]
impl<T> Generic<T> {
    async fn consume(&self) {}
}

#[worker]
impl Empty {
    async fn other(&self) {}
}

#[worker]
impl Mutable {
    async fn consume(&mut self) {}
}

#[worker]
impl Owned {
    #[consume]
    async fn by_value(self) {}

    #[consume]
    async fn boxed(self: Box<Self>) {}
}

#[worker(key = |payload| payload, retry_if = |error| true, blocking, interval = "5s")]
impl Shared {
    #[consume]
    async fn one(&self) {}

    #[consume]
    async fn two(&self) {}
}

#[worker]
impl Producer {
    fn produce(&self, _payload: u8) {}

    async fn consume(&self, _payload: u8) {}
}

#[worker(key = |payload| payload, retry_if = |error| true, blocking)]
impl Alone {
    async fn consume(&self) {}
}

#[worker]
impl Doubled {
    #[consume]
    #[consume(queue = "q")]
    async fn twice(&self) {}
}

struct Unfinished;

#[worker]
impl Unfinished {
    #[consume(retry_if = |error|)]
    async fn page(&self) -> Result<(), String> {
        Ok(())
    }
}

fn main() {
    let _ = (Mutable::CONSUME.task(), Producer::CONSUME.task(1));
}

//! Schedules that cannot be, or that nobody could carry out.

use conveyor::worker;

#[worker(cron = "61 * * * *", timezone = "Europe/Berlim", missed = never, overlap = maybe)]
async fn wrong() {}

#[worker(cron = "0 0 30 2 *")]
async fn never() {}

#[worker(interval = "1us")]
async fn too_short() {}

#[worker(interval = "0s")]
async fn zero() {}

#[worker(interval = "5s", cron = "* * * * *")]
async fn both() {}

#[worker(timezone = "Europe/Berlin", missed = all, overlap = allow)]
async fn neither() {}

#[worker(interval = "5s")]
async fn with_a_payload(_payload: u8) {}

struct NoProducer;

#[worker(cron = "* * * * *", produce_timeout = "1s")]
impl NoProducer {
    async fn consume(&self, _payload: u8) {}
}

fn main() {}

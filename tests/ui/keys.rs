//! Keys that are unknown, doubled, misplaced, or without a value.

use conveyor::worker;

#[worker(retrys = 3, queue = "a", queue = "b", colour = "red", 7)]
async fn several() {}

#[worker(timeout, retries = , blocking = true)]
fn without_values() {}

#[worker(retry_on_panic = "no", retries = "3", priority = 1.5, queue = mail, key = 7 timeout)]
async fn of_the_wrong_type(_payload: u8) {}

#[worker(produce_timeout = "1s")]
async fn misplaced() {}

struct Feeds;

#[worker]
impl Feeds {
    #[consume(cron = "* * * * *", crate = "conveyor", kynd = "x")]
    async fn page(&self) {}

    #[consume = "page"]
    async fn index(&self) {}
}

fn main() {
    // What a mistake leaves behind can still be used: nothing more is reported.
    let _ = (several.task(), of_the_wrong_type.task(1), Feeds::PAGE.task());
}

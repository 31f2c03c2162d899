//! Values that break a rule.

use conveyor::worker;

#[worker(timeout = "5", cancel_grace = "soon", concurrency = 0, retries = 5000000000)]
async fn durations() {}

#[worker(timeout = "0s", queue = "", kind = "a\nb", priority = urgent)]
async fn names() {}

#[worker(priority = 40000, backoff = "10m..1s")]
async fn numbers() {}

#[worker(backoff = "0s..1s")]
async fn no_growth() {}

#[worker(backoff = "1s..", crate = "not a path")]
async fn half() {}

#[worker(priority = -)]
async fn unfinished() {}

#[worker(retries = 5s, priority = 10u8, queue = "mail"s, backoff = "5"s)]
async fn suffixes() {}

#[worker(crate = Self::conveyor)]
async fn no_module() {}

fn main() {}

//! The keys of `#[worker]`.

use std::time::Duration;

use conveyor::{Backoff, Missed, Overlap, Priority, Schedule, worker};
use conveyor_core::error::Retryable;
use conveyor_core::payload::AnyPayload;
use serde::{Deserialize, Serialize};

use super::engine::{kind, run, seconds};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    id: u64,
    name: String,
}

fn order() -> Order {
    Order { id: 42, name: "tea".to_owned() }
}

#[worker(
    kind = "shop.order",
    queue = "shop",
    priority = high,
    retries = 5,
    backoff = "1s..10m",
    retry_on_panic = false,
    timeout = "1m 30s",
    cancel_grace = "500ms",
    concurrency = 8,
    key = |order| order.id
)]
async fn place_order(order: Order) -> Result<(), String> {
    Err(order.name)
}

#[test]
fn every_key_reaches_the_definition() {
    let defined = kind(place_order);
    assert_eq!(defined.kind.as_str(), "shop.order");
    assert_eq!(defined.settings.queue.as_ref().unwrap().as_str(), "shop");
    assert_eq!(defined.settings.priority, Some(Priority::HIGH));
    assert_eq!(defined.settings.retries, Some(5));
    assert_eq!(defined.settings.backoff, Some(Backoff::exponential(seconds(1), seconds(600))));
    assert_eq!(defined.settings.retry_on_panic, Some(false));
    assert_eq!(defined.settings.timeout, Some(seconds(90)));
    assert_eq!(defined.settings.cancel_grace, Some(Duration::from_millis(500)));
    assert_eq!(defined.settings.concurrency, Some(8));
    let key = defined.key.as_ref().unwrap()(&AnyPayload::new(order()));
    assert_eq!(key.unwrap().unwrap().as_str(), "42");
}

#[test]
fn queue_priority_and_key_are_the_tasks_defaults() {
    let set = place_order.task(order()).erase().set;
    assert_eq!(set.queue.unwrap().as_str(), "shop");
    assert_eq!(set.priority, Some(Priority::HIGH));
    assert_eq!(set.key.unwrap().as_str(), "42");
    assert_eq!((set.timeout, set.retries), (None, None));
    let set = place_order.task(order()).priority(1).key("mine").erase().set;
    assert_eq!((set.priority, set.key.unwrap().as_str()), (Some(Priority::new(1)), "mine"));
}

#[worker(key = |order| &order.name, priority = -7, backoff = "5s")]
async fn by_name(order: &Order) -> Result<(), String> {
    Err(order.name.clone())
}

#[worker(key = Order::text, priority = "critical", backoff = "none")]
async fn by_path(_order: Order) {}

#[worker(backoff = |failures| Duration::from_secs(failures.into()), retry_if = |error| *error > 1)]
async fn by_closure(error: u32) -> Result<(), Reason> {
    Err(Reason(error))
}

impl Order {
    fn text(&self) -> String {
        format!("{}/{}", self.id, self.name)
    }
}

#[derive(Debug, PartialEq, PartialOrd)]
struct Reason(u32);

impl PartialEq<u32> for Reason {
    fn eq(&self, other: &u32) -> bool {
        self.0 == *other
    }
}

impl PartialOrd<u32> for Reason {
    fn partial_cmp(&self, other: &u32) -> Option<std::cmp::Ordering> {
        self.0.partial_cmp(other)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reason {}", self.0)
    }
}

impl std::error::Error for Reason {}

#[test]
fn a_key_may_borrow_and_be_any_text() {
    let key = |task: conveyor::Task<Order>| task.erase().set.key.unwrap().as_str().to_owned();
    assert_eq!(key(by_name.task(order())), "tea");
    assert_eq!(key(by_path.task(order())), "42/tea");
}

#[test]
fn priorities_and_backoffs_are_written_in_every_form() {
    let (name, path, closure) = (kind(by_name), kind(by_path), kind(by_closure));
    assert_eq!(name.settings.priority, Some(Priority::new(-7)));
    assert_eq!(path.settings.priority, Some(Priority::CRITICAL));
    assert_eq!(name.settings.backoff, Some(Backoff::fixed(seconds(5))));
    assert_eq!(path.settings.backoff, Some(Backoff::none()));
    assert_eq!(closure.settings.backoff.unwrap().delay(3, 0), seconds(3));
}

#[test]
fn retry_if_judges_the_handlers_own_error() {
    let defined = kind(by_closure);
    let fatal = run(&defined, AnyPayload::new(1u32)).failure();
    assert_eq!((fatal.message.as_str(), fatal.retry), ("reason 1", Retryable::Never));
    let again = run(&defined, AnyPayload::new(2u32)).failure();
    assert_eq!((again.message.as_str(), again.retry), ("reason 2", Retryable::ByPolicy));
}

#[worker(interval = "5s")]
async fn each_five_seconds() {}

#[worker(cron = "30 9 * * MON-FRI", timezone = "Europe/Berlin", missed = all, overlap = "allow")]
async fn each_morning() {}

#[test]
fn a_schedule_is_defined_as_it_was_written() {
    assert_eq!(kind(each_five_seconds).schedule, Schedule::every(seconds(5)).ok());
    let morning = Schedule::cron_in("30 9 * * MON-FRI", "Europe/Berlin").unwrap();
    let morning = morning.missed(Missed::All).overlap(Overlap::Allow);
    assert_eq!(kind(each_morning).schedule, Some(morning));
    assert!(kind(by_path).schedule.is_none());
}

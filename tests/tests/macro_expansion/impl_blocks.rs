//! `#[worker]` on an `impl` block.

use std::sync::Arc;

use conveyor::{AnyTask, Context, Priority, Schedule, State, worker};
use conveyor_core::outcome::OutcomeKind;
use conveyor_core::payload::AnyPayload;
use conveyor_core::worker::Role;
use serde::{Deserialize, Serialize};

use super::engine::{Ran, kinds, run, run_on, seconds, with_state};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Feed {
    url: String,
}

fn feed(url: &str) -> Feed {
    Feed { url: url.to_owned() }
}

struct Feeds {
    urls: Vec<&'static str>,
}

#[worker(
    interval = "5s", queue = "feeds", priority = low, timeout = "10s", produce_timeout = "1m",
    key = |feed| &feed.url
)]
impl Feeds {
    const LIMIT: usize = { 2 };

    fn new() -> Self {
        Feeds { urls: vec!["a", "b", "c"] }
    }

    async fn produce(&self, ctx: Context) -> Result<Vec<Feed>, String> {
        assert_eq!(ctx.kind().as_str(), "Feeds.produce");
        Ok(self.urls.iter().take(Self::LIMIT).map(|url| feed(url)).collect())
    }

    async fn consume(&self, feed: Feed, ctx: Context, suffix: State<String>) -> Result<(), String> {
        assert_eq!(ctx.kind().as_str(), "Feeds");
        Err(format!("{}{}", feed.url, *suffix))
    }
}

#[test]
fn consume_has_the_kind_of_its_type_and_produce_the_schedule() {
    let [consume, produce] = &kinds(Feeds::new())[..] else { panic!("two kinds") };
    assert_eq!((consume.kind.as_str(), consume.role), ("Feeds", Role::Consumer));
    assert_eq!(consume.settings.timeout, Some(seconds(10)));
    assert!(consume.schedule.is_none());
    assert_eq!(consume.requires.len(), 1);
    assert_eq!((produce.kind.as_str(), produce.role), ("Feeds.produce", Role::Producer));
    assert_eq!(produce.settings.timeout, Some(seconds(60)));
    assert_eq!(produce.schedule, Schedule::every(seconds(5)).ok());
    for kind in [consume, produce] {
        assert_eq!(kind.settings.queue.as_ref().unwrap().as_str(), "feeds");
        assert_eq!(kind.settings.priority, Some(Priority::LOW));
    }
}

#[test]
fn each_payload_that_is_produced_becomes_a_task() {
    let [consume, produce] = &kinds(Feeds::new())[..] else { panic!("two kinds") };
    let tasks = run(produce, AnyPayload::new(())).produced();
    let keys: Vec<_> = tasks.iter().map(|task| task.set.key.as_ref().unwrap().as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    assert!(tasks.iter().all(|task| task.kind == consume.kind));
    let host = with_state(State::new("!".to_owned()));
    let failure = run_on(host, consume, tasks[1].payload.clone()).failure();
    assert_eq!(failure.message, "b!");
}

#[test]
fn a_task_is_made_without_the_worker_at_hand() {
    let task = Feeds::task(feed("x"));
    assert_eq!(task.kind().as_str(), "Feeds");
    assert_eq!(Feeds::CONSUME.task(feed("x")).erase().set.key, task.erase().set.key);
}

/// Several kinds, by a worker that is shared.
pub struct Crawler {
    depth: u32,
}

#[worker(retries = 1, cron = "0 * * * *", kind = "crawl")]
impl Crawler {
    #[consume(retries = 7, queue = "pages")]
    async fn page(self: Arc<Self>, url: &String) -> Result<(), String> {
        Err(format!("{url} {}", self.depth))
    }

    #[consume(blocking, key = |id| *id)]
    fn index(self: &Arc<Self>, id: u32, ctx: Context) -> Result<(), String> {
        Err(format!("{id} {} {}", self.depth, ctx.kind()))
    }

    /// Sweeps.
    #[consume]
    async fn sweep() {}

    async fn produce(&self) -> Vec<AnyTask> {
        let url = "http://localhost".to_owned();
        vec![Self::PAGE.task(url).erase(), Self::INDEX.task(7).erase(), Self::SWEEP.task().erase()]
    }
}

#[test]
fn methods_marked_consume_are_kinds_of_their_own() {
    let kinds = kinds(Crawler { depth: 3 });
    let names: Vec<_> = kinds.iter().map(|kind| kind.kind.as_str()).collect();
    assert_eq!(names, ["crawl.page", "crawl.index", "crawl.sweep", "crawl.produce"]);
    let retries: Vec<_> = kinds.iter().map(|kind| kind.settings.retries.unwrap()).collect();
    assert_eq!(retries, [7, 1, 1, 1]);
    let tasks = run(&kinds[3], AnyPayload::new(())).produced();
    assert_eq!(tasks[0].set.queue.as_ref().unwrap().as_str(), "pages");
    assert_eq!(tasks[1].set.key.as_ref().unwrap().as_str(), "7");
    let said = |n: usize| run(&kinds[n], tasks[n].payload.clone());
    assert_eq!(said(0).failure().message, "http://localhost 3");
    assert_eq!(said(1).failure().message, "7 3 crawl.index");
    assert!(matches!(said(2), Ran::Ended(OutcomeKind::Success)));
}

struct Sweeper;

#[worker(interval = "1h")]
impl Sweeper {
    async fn consume(&self) {}
}

#[test]
fn a_consumer_without_a_payload_can_be_scheduled_itself() {
    let [consume] = &kinds(Sweeper)[..] else { panic!("one kind") };
    assert_eq!(consume.schedule, Schedule::every(seconds(3600)).ok());
    assert_eq!(Sweeper::task().kind().as_str(), "Sweeper");
}

struct Relay;

#[worker]
impl Relay {
    async fn consume(&self, _number: u8) {}

    async fn produce(&self) -> conveyor::Result<Vec<conveyor::Task<u8>>> {
        Ok(vec![Self::task(1).key("one"), Self::task(2).key("two")])
    }
}

#[test]
fn a_producer_may_return_tasks_and_have_its_schedule_from_the_manager() {
    let [_, produce] = &kinds(Relay)[..] else { panic!("two kinds") };
    assert!(produce.schedule.is_none());
    let tasks = run(produce, AnyPayload::new(())).produced();
    assert_eq!(tasks[1].set.key.as_ref().unwrap().as_str(), "two");
}

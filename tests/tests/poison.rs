//! A task that takes its process with it is given up after its crash budget, and harms nobody else:
//! on real processes, which really die.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::fs::File;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor::{End, Filter, Manager, Store, Task, TaskInfo};
use conveyor_test_servers::{Options, Postgres};
use conveyor_tests::torture::open::open;
use futures::future::join3;

/// How many processes there are at a time, with four seats each.
const PROCESSES: usize = 2;
/// More than there are seats for beside the poison, so that it has company wherever it runs.
const BYSTANDERS: usize = 8;
/// How often a task may take its process with it.
const CRASH_BUDGET: u32 = 3;
/// The most KiB that a process may have, whether it uses them or not: so that one runs out of memory
/// long before the machine does.
const MEMORY: u32 = 4 << 20;

/// How long it may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// What Rust ends a process by that cannot go on.
const SIGABRT: i32 = 6;

/// The kind of a task, and what its process says when it dies of it.
type Poison = (&'static str, &'static str);

const ABORTS: Poison = ("aborts", "");
const OVERFLOWS_ITS_STACK: Poison = ("overflows_its_stack", "has overflowed its stack");
const RUNS_OUT_OF_MEMORY: Poison =
    ("runs_out_of_memory", "memory allocation of 67108864 bytes failed");

/// Where the processes work, and where they say what they die of.
struct Place<'a> {
    url: &'a str,
    last_words: &'a Path,
}

/// A process that works on tasks.
struct Service(Child);

impl Service {
    fn start(place: &Place<'_>) -> Self {
        let limits = format!("ulimit -c 0 && ulimit -v {MEMORY} && exec \"$@\"");
        let last_words = File::options().create(true).append(true).open(place.last_words);
        let process = Command::new("sh")
            .args(["-c", &limits, "sh", env!("CARGO_BIN_EXE_poisoned"), place.url])
            .arg(CRASH_BUDGET.to_string())
            .stdin(Stdio::piped())
            .stderr(last_words.unwrap())
            .spawn();
        Service(process.unwrap())
    }

    /// Lets bystanders go, now and later.
    fn release(&mut self) {
        // One that has died in the meantime holds nobody.
        let _ = writeln!(self.0.stdin.as_ref().unwrap(), "go");
    }

    fn has_died(&mut self) -> bool {
        let status = self.0.try_wait().unwrap();
        if let Some(status) = status {
            assert_eq!(status.signal(), Some(SIGABRT), "it died of something else: {status}");
        }
        status.is_some()
    }
}

/// None outlives the test.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn is_given_up_and_harms_nobody((poison, dies_of): Poison, url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { url, last_words: &folder.path().join("last words") };
    let store: Arc<dyn Store> = open(url).await.unwrap();
    let manager = Manager::builder().store(store.clone()).build().unwrap();
    manager.enqueue(Task::new(poison, ())).await.unwrap();
    for _ in 0..BYSTANDERS {
        manager.enqueue(Task::new("bystander", ())).await.unwrap();
    }

    let mut services: Vec<Service> = (0..PROCESSES).map(|_| Service::start(&place)).collect();
    let mut deaths = 0;
    let gives_up = Instant::now() + PATIENCE;
    while store.counters().await.unwrap().total().live() > 0 {
        assert!(Instant::now() < gives_up, "it comes to no rest: {:#?}", tasks(&*store).await);
        for service in &mut services {
            if service.has_died() {
                *service = Service::start(&place);
                deaths += 1;
            }
        }
        if deaths > 0 {
            services.iter_mut().for_each(Service::release);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // It died in company once, which costs nothing, since it may have been anybody; then alone.
    assert_eq!(deaths, CRASH_BUDGET + 1, "so many processes died");
    let last_words = std::fs::read_to_string(place.last_words).unwrap();
    assert!(last_words.contains(dies_of), "it died of something else: {last_words}");
    let mut went_with_it = 0;
    for task in tasks(&*store).await {
        let (end, cost) = (task.end.as_ref().unwrap(), task.budgets);
        if task.kind.as_str() == poison {
            assert_eq!((end, cost.crashes, cost.interruptions), (&End::Crashed, CRASH_BUDGET, 1));
        } else {
            assert_eq!((end, cost.crashes, cost.errors), (&End::Succeeded, 0, 0), "{task:#?}");
            went_with_it += cost.interruptions;
        }
    }
    assert!(went_with_it > 0, "nobody was beside it when it died at first");
}

async fn tasks(store: &dyn Store) -> Vec<TaskInfo> {
    store.inspect(&Filter::default()).await.unwrap().tasks
}

async fn in_a_file(poison: Poison) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tasks.db");
    is_given_up_and_harms_nobody(poison, &format!("sqlite:{}", file.display())).await;
}

#[tokio::test]
async fn a_task_that_aborts() {
    in_a_file(ABORTS).await;
}

#[tokio::test]
async fn a_task_that_overflows_its_stack() {
    in_a_file(OVERFLOWS_ITS_STACK).await;
}

#[tokio::test]
async fn a_task_that_runs_out_of_memory() {
    in_a_file(RUNS_OUT_OF_MEMORY).await;
}

#[tokio::test]
async fn each_of_them_on_a_server() {
    let server = Postgres::start(Options::new().set("fsync", "off")).unwrap();
    let on_server = async |poison: Poison| {
        let url = server.create_database(poison.0).unwrap();
        is_given_up_and_harms_nobody(poison, &url).await;
    };
    join3(on_server(ABORTS), on_server(OVERFLOWS_ITS_STACK), on_server(RUNS_OUT_OF_MEMORY)).await;
}

//! What a handler writes in a transaction with the end of its task happens exactly once, and what a
//! request enqueues in one is there with what it writes: in a SQLite file and on a PostgreSQL server.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{EnqueueError, Error, Receipt, Store};
use conveyor_test_servers::{Postgres, dies_with_us};
use conveyor_tests::database::{Database, Happens, InFile, OnServer, Point, pays};

/// Short, so that what a dead process held is soon taken back.
const LEASE: Duration = Duration::from_millis(500);

/// A bound for what takes a few leases, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn a_file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.db").display().to_string();
    (folder, path)
}

fn a_database() -> ((), String) {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = format!("user_{}", MADE.fetch_add(1, Ordering::SeqCst));
    ((), Postgres::shared().create_database(&name).unwrap())
}

/// Makes a test of each case on each database.
macro_rules! on_every_database {
    ($($case:ident)*) => {
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (_folder, url) = super::a_file();
                super::$case::<super::InFile>(&url).await;
            })*
        }
        mod on_a_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let ((), url) = super::a_database();
                super::$case::<super::OnServer>(&url).await;
            })*
        }
    };
}

on_every_database! {
    a_handler_that_panics_in_between_pays_once
    a_handler_that_fails_in_between_pays_once
    a_process_that_is_killed_in_between_pays_once
    what_a_request_enqueues_is_there_if_and_only_if_it_commits
}

fn nothing() -> Arc<Happens> {
    Arc::new(|_, _| Box::pin(async { Ok(()) }))
}

fn manager<D: Database>(database: &D, happens: Arc<Happens>) -> Manager {
    let manager = Manager::builder().store(database.store()).lease(LEASE);
    manager.register(pays(database, happens)).build().unwrap()
}

async fn end_of(receipt: &Receipt) -> End {
    let end = tokio::time::timeout(PATIENCE, receipt.wait()).await;
    end.expect("it ends").unwrap()
}

/// Pays three, each of whose first attempts meets with something at another point.
async fn pays_once_whatever<D: Database>(url: &str, accident: fn() -> conveyor::Result<()>) {
    let database = D::open(url).await.unwrap();
    let happens: Arc<Happens> = Arc::new(move |at, ctx: Context| {
        let meets =
            ctx.attempt() == 1 && ctx.key().is_some_and(|key| key.as_str() == format!("{at:?}"));
        Box::pin(async move { if meets { accident() } else { Ok(()) } })
    });
    let manager = manager(&database, happens);
    manager.start().await.unwrap();
    for at in Point::ALL {
        let whom = format!("{at:?}");
        let task = Task::new("pay", whom.clone()).key(whom);
        let receipt = manager.enqueue(task).await.unwrap();
        assert_eq!(end_of(&receipt).await, End::Succeeded, "{at:?}");
    }
    manager.shutdown(PATIENCE).await.unwrap();
    assert_eq!(database.paid().await.unwrap(), ["Committed", "Paid", "Settled"]);
    let counts = database.store().counters().await.unwrap().total();
    assert_eq!((counts.processed, counts.failed, counts.active), (3, 0, 0));
    // What meets with it after the commit has succeeded by then.
    assert_eq!(counts.retried, 2);
}

async fn a_handler_that_panics_in_between_pays_once<D: Database>(url: &str) {
    pays_once_whatever::<D>(url, || panic!("in between")).await;
}

async fn a_handler_that_fails_in_between_pays_once<D: Database>(url: &str) {
    pays_once_whatever::<D>(url, || Err(Error::from("in between"))).await;
}

async fn a_process_that_is_killed_in_between_pays_once<D: Database>(url: &str) {
    let database = D::open(url).await.unwrap();
    let manager = manager(&database, nothing());
    let mut receipts = Vec::new();
    for at in Point::ALL {
        let whom = format!("{at:?}");
        let task = Task::new("pay", whom.clone()).key(whom.clone());
        receipts.push(manager.enqueue(task).await.unwrap());
        let mut child = dies_with_us(env!("CARGO_BIN_EXE_pays_until_killed"));
        let mut child = child.args([url, &whom]).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().next();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(said.unwrap().unwrap(), "there");
        let paid = database.paid().await.unwrap();
        assert_eq!(paid.contains(&whom), at == Point::Committed, "{at:?}");
    }
    manager.start().await.unwrap();
    for receipt in receipts {
        assert_eq!(end_of(&receipt).await, End::Succeeded);
    }
    manager.shutdown(PATIENCE).await.unwrap();
    assert_eq!(database.paid().await.unwrap(), ["Committed", "Paid", "Settled"]);
}

/// A request: pays one in advance, and has another paid later; or it thinks better of it.
async fn request<D: Database>(
    database: &D,
    manager: &Manager,
    goes_well: bool,
) -> conveyor::Result<Receipt> {
    let mut transaction = database.begin().await?;
    D::pay(&mut transaction, "in advance").await?;
    let later = Task::new("pay", "later".to_owned()).key("later");
    let receipt = manager.enqueue_in(&mut transaction, later).await?;
    let again = Task::new("pay", "twice".to_owned()).key("later");
    let refused = manager.enqueue_in(&mut transaction, again).await;
    assert!(matches!(refused, Err(EnqueueError::Duplicate { .. })), "{refused:?}");
    if !goes_well {
        return Err(Error::from("no funds"));
    }
    D::commit(transaction).await?;
    Ok(receipt)
}

async fn what_a_request_enqueues_is_there_if_and_only_if_it_commits<D: Database>(url: &str) {
    let database = D::open(url).await.unwrap();
    let manager = manager(&database, nothing());
    manager.start().await.unwrap();
    request(&database, &manager, false).await.unwrap_err();
    // Also this waits until the driver has rolled it back, where one writes at a time.
    let receipt = request(&database, &manager, true).await.unwrap();
    assert_eq!(end_of(&receipt).await, End::Succeeded);
    manager.shutdown(PATIENCE).await.unwrap();
    assert_eq!(database.paid().await.unwrap(), ["in advance", "later"]);
    let counts = database.store().counters().await.unwrap().total();
    assert_eq!((counts.enqueued, counts.processed, counts.duplicates), (1, 1, 1));
}

//! A shutdown while a handler blocks its thread, on a real runtime with real threads.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor::prelude::*;
use conveyor::{MemoryStore, SmolRuntime, TokioRuntime};
use conveyor_core::Runtime;
use conveyor_tests::consumer;

/// Blocks until the test lets go, and cannot be told anything meanwhile.
fn blocks(entered: Sender<()>, release: Receiver<()>) -> impl Worker {
    let ends = Arc::new(Mutex::new((entered, release)));
    consumer(
        "blocks",
        move |(): (), _: Context| {
            let ends = Arc::clone(&ends);
            async move {
                let ends = ends.lock().unwrap();
                ends.0.send(()).unwrap();
                // An error if the test is over: then there is nothing to wait for.
                let _ = ends.1.recv();
            }
        },
        |_| {},
    )
}

async fn a_blocked_handler_is_abandoned_at_no_cost(runtime: Arc<dyn Runtime>) {
    let store = Arc::new(MemoryStore::new(runtime.clone()));
    let (entered, has_entered) = channel();
    let (release, released) = channel();
    let manager = Manager::builder()
        .runtime(runtime.clone())
        .store(store.clone())
        .register(blocks(entered, released))
        .consumers(2)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(Task::new("blocks", ())).await.unwrap();
    let entered = runtime.spawn_blocking(Box::new(move || has_entered.recv().unwrap()));
    entered.await.unwrap();

    // Returns although the handler does not.
    let report = manager.shutdown(Duration::from_millis(50)).await.unwrap();
    assert_eq!((report.finished, report.returned, report.abandoned), (0, 0, 1));
    let metrics = manager.metrics();
    assert_eq!((metrics.active, metrics.retried, metrics.failed), (1, 0, 0));

    // What it returns in the end still counts: nobody took the task from it.
    release.send(()).unwrap();
    let ended = runtime.spawn_blocking(Box::new(move || {
        while manager.metrics().active > 0 {
            std::thread::yield_now();
        }
    }));
    ended.await.unwrap();
    let heir = Manager::builder().runtime(runtime).store(store).build().unwrap();
    assert_eq!(heir.wait(receipt.id()).await, Ok(End::Succeeded));
}

#[test]
fn on_tokio() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        a_blocked_handler_is_abandoned_at_no_cost(Arc::new(TokioRuntime::current().unwrap())).await;
    });
}

#[test]
fn on_smol() {
    smol::block_on(a_blocked_handler_is_abandoned_at_no_cost(Arc::new(SmolRuntime::new())));
}

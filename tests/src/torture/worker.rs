//! The role of a worker: runs tasks, and enqueues more, until it is told to stop, or killed.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use conveyor::prelude::*;

use super::kinds::{self, CRASH_BUDGET};
use super::line::What;
use super::load::Load;
use super::open::open;
use super::recorded::RecordedStore;
use super::recorder::Recorder;
use crate::Gate;

/// How long a shutdown waits for what runs.
const GRACE: Duration = Duration::from_millis(500);

/// What a worker is told when it starts.
pub struct Orders {
    /// Its number, by which it is called in the history.
    pub process: u32,
    /// Which store.
    pub url: String,
    /// What it draws its tasks from.
    pub seed: u64,
    /// How long its claims hold.
    pub lease: Duration,
}

/// Works. The orders to enqueue no more (`drain`) and to end (`stop`, or nobody who could give
/// orders) are lines of its input.
///
/// # Errors
/// If the manager does not stop.
pub async fn work(orders: Orders) -> conveyor::Result<()> {
    let recorder = Recorder::to_stdout(orders.process)?;
    let (drained, stopped) = (Gate::new(), Gate::new());
    std::thread::spawn({
        let (drained, stopped) = (drained.clone(), stopped.clone());
        move || {
            for line in std::io::stdin().lock().lines() {
                match line.as_deref() {
                    Ok("drain") => drained.open(),
                    _ => break,
                }
            }
            drained.open();
            stopped.open();
        }
    });
    let start = async {
        loop {
            match start(&orders, &recorder).await {
                Ok(manager) => break manager,
                // Its server may be down.
                Err(error) => recorder.note(What::Error("start".into(), error.to_string())),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let manager = tokio::select! {
        manager = start => manager,
        () = stopped.passed() => return Ok(()),
    };
    let produce = async {
        let mut load = Load::new(orders.seed);
        loop {
            load.enqueue(&manager, &recorder).await;
            tokio::time::sleep(load.pause()).await;
        }
    };
    tokio::select! {
        () = produce => {}
        () = drained.passed() => {}
    }
    stopped.passed().await;
    manager.shutdown(GRACE).await?;
    Ok(())
}

async fn start(orders: &Orders, recorder: &Recorder) -> conveyor::Result<Manager> {
    let store = RecordedStore::new(open(&orders.url).await?, recorder.clone());
    let manager = kinds::register(Manager::builder())
        .state(recorder.clone())
        .store(Arc::new(store))
        .lease(orders.lease)
        .poll_interval(Duration::from_millis(250))
        .crash_budget(CRASH_BUDGET)
        .consumers(8)
        .cancel_grace(Duration::from_millis(300))
        .build()?;
    manager.start().await?;
    Ok(manager)
}

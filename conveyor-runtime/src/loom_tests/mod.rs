//! The engine's waits and wake-ups in every interleaving of their steps, as loom makes them: who is
//! never told waits for ever, and loom calls that a deadlock.
//!
//! What runs is the engine itself, or the part of it that a model names, on a [`Still`] runtime and
//! a store in memory: its locks, atomics and events are all loom's ([`crate::sync`], and
//! `event-listener` by its own feature). What loom does not see runs as one step with what comes
//! before it: counted pointers, `ArcSwap`, `OnceLock`, the registry's version, the tally and the
//! tokens. None of these orders a wait and a wake-up. The futures of `futures` that are used here
//! (`select`) have no threads in them.
//!
//! Interleavings with more than three preemptions are left out: see [`check_within`].

#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, which clippy does not see by this cfg"
)]

mod cancel;
mod idle;
mod lease;
mod line;
mod permits;
mod phase;
mod quarantine;
mod room;
mod shutdown;
mod waiters;
mod wake_up;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use conveyor_core::codec::Codecs;
use conveyor_core::runtime::{
    BoxFuture, Clock, JoinError, JoinHandle, Joinable, Runtime, StopSignal,
};
use conveyor_core::states::States;
use conveyor_core::store::{Store, WakeSink};
use conveyor_core::time::{Instant, Timestamp};
use conveyor_core::worker::KindDefinition;
use conveyor_core::{
    AnyTask, Counts, Definition, End, Error, MemoryStore, QueueName, Receipt, Task,
};
use event_listener::Event;
use loom::future::block_on;
use loom::sync::Arc as Seen;
use loom::thread;

use crate::consumer::Consumer;
use crate::door::Door;
use crate::engine::{Engine, Parts, Settings};
use crate::manager::Manager;
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::pool::Pool;
use crate::register::register;
use crate::registry::Defaults;
use crate::signals::Signals;
use crate::sync::{Mutex, Ordering, lock};

/// Runs a model in every interleaving with up to three preemptions; `LOOM_MAX_PREEMPTIONS` says
/// otherwise. Nearly all that is wrong shows with two.
fn check(model: impl Fn() + Send + Sync + 'static) {
    check_within(3, model);
}

/// As [`check`], with another bound: each preemption more costs about ten times as long.
fn check_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Runs a future on a thread of its own.
fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> thread::JoinHandle<T> {
    thread::spawn(move || block_on(future))
}

/// Waits for threads, and tells what they return.
fn join<T>(threads: impl IntoIterator<Item = thread::JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

/// A runtime whose time stands still: no timer is ever over, so that nothing but a wake-up ends a
/// wait. It tells who waits for one.
#[derive(Default)]
struct Still {
    sleeps: Mutex<Vec<Instant>>,
    slept: Event,
    spawned: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Still {
    /// Waits until somebody waits for a timer.
    async fn somebody_sleeps(&self) -> Instant {
        loop {
            let slept = self.slept.listen();
            if let Some(deadline) = lock(&self.sleeps).pop() {
                return deadline;
            }
            slept.await;
        }
    }

    /// Waits for the threads of what was spawned. Loom does not see that who drops the last of
    /// several counted pointers comes after the others: that has to be a model's own thread.
    fn join(&self) {
        let spawned = std::mem::take(&mut *lock(&self.spawned));
        join(spawned);
    }
}

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000)
    }
}

impl Runtime for Still {
    fn name(&self) -> &'static str {
        "still"
    }

    /// Runs it on a thread of its own. The loops that are there for the sake of time never run.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        let running = Seen::new(Running::default());
        if matches!(name, "consumer" | "shutdown") {
            let running = Seen::clone(&running);
            let thread = thread::spawn(move || {
                block_on(future);
                *lock(&running.done) = true;
                running.told.notify(usize::MAX);
            });
            lock(&self.spawned).push(thread);
        }
        JoinHandle::new(Join { running, told: None })
    }

    fn spawn_dedicated(&self, name: &'static str, future: BoxFuture<'static, ()>) -> JoinHandle {
        self.spawn(name, future)
    }

    fn spawn_blocking(&self, _: Box<dyn FnOnce() + Send>) -> JoinHandle {
        unimplemented!("no handler of a model blocks")
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        if deadline <= self.now() {
            return Box::pin(std::future::ready(()));
        }
        lock(&self.sleeps).push(deadline);
        self.slept.notify(usize::MAX);
        Box::pin(std::future::pending())
    }

    fn random(&self) -> u64 {
        1
    }

    fn stop_signal(&self) -> BoxFuture<'static, std::io::Result<StopSignal>> {
        Box::pin(std::future::pending())
    }
}

/// A spawned task, until it is done.
#[derive(Default)]
struct Running {
    done: Mutex<bool>,
    told: Event,
}

struct Join {
    running: Seen<Running>,
    told: Option<Pin<Box<event_listener::EventListener>>>,
}

impl Joinable for Join {
    fn abort(&self) {}

    fn poll_join(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JoinError>> {
        loop {
            let told = self.told.get_or_insert_with(|| Box::pin(self.running.told.listen()));
            if *lock(&self.running.done) {
                return Poll::Ready(Ok(()));
            }
            match told.as_mut().poll(cx) {
                Poll::Ready(()) => self.told = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// An engine with one pool and one kind of task, `work`, on a store in memory.
struct Model {
    runtime: Arc<Still>,
    engine: Arc<Engine>,
    pool: Arc<Pool>,
}

impl Model {
    fn new(consumers: usize) -> Model {
        Model::with(consumers, |store| store, |_| {})
    }

    /// An engine whose store holds so many live tasks at most.
    fn bounded(consumers: usize, capacity: usize) -> Model {
        Model::with(consumers, |store| store.with_capacity_limit(capacity), |_| {})
    }

    fn with(
        consumers: usize,
        store: impl FnOnce(MemoryStore) -> MemoryStore,
        kind: impl FnOnce(&mut KindDefinition),
    ) -> Model {
        let runtime = Arc::new(Still::default());
        let store = Arc::new(store(MemoryStore::new(runtime.clone())));
        let signals = Arc::new(Signals::default());
        let sink: Arc<dyn WakeSink> = signals.clone();
        store.subscribe(Arc::downgrade(&sink));
        let engine = Engine::new(Parts {
            runtime: runtime.clone(),
            door: Door::new(store),
            states: States::default(),
            codecs: Codecs::default(),
            defaults: Defaults::default(),
            settings: Settings::default(),
            signals,
        });
        let mut definition = Definition::new();
        kind(definition.consume("work", async |(): (), _| Ok::<_, Error>(())));
        register(&engine, definition.into_kinds()).unwrap();
        let pool = Pool::new(0, BTreeSet::from([QueueName::DEFAULT]), consumers, &[]);
        let pool = Arc::new(pool);
        engine.signals.set_pools(vec![Arc::clone(&pool)]);
        Model { runtime, engine, pool }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.engine.door.store()
    }

    /// Runs a consumer of the pool on a thread of its own.
    fn consume(&self, number: usize) -> thread::JoinHandle<()> {
        spawn(Consumer::new(Arc::clone(&self.engine), Arc::clone(&self.pool), number).run())
    }

    /// The same, as the manager does it.
    fn spawn_consumer(&self, number: usize) -> JoinHandle {
        let consumer = Consumer::new(Arc::clone(&self.engine), Arc::clone(&self.pool), number);
        self.engine.runtime.spawn("consumer", Box::pin(consumer.run()))
    }

    /// Waits for the tasks to be run, and has the consumers stop: those that never hear of a task,
    /// and those that never stop, are found by loom.
    fn run_all(&self, receipts: &[Receipt], consumers: Vec<thread::JoinHandle<()>>) {
        for receipt in receipts {
            assert_eq!(block_on(receipt.wait()), Ok(End::Succeeded));
        }
        self.stop();
        join(consumers);
        assert_eq!(self.pool.idle.len(), 0);
        assert_eq!(self.engine.held.load(Ordering::SeqCst), 0);
    }

    /// As a shutdown begins.
    fn stop(&self) {
        self.engine.phases.advance(Phase::Draining);
        self.engine.signals.wake_all();
    }

    /// What the store has counted.
    fn counts(&self) -> Counts {
        let counters = block_on(self.store().counters()).unwrap();
        *Metrics::new(counters, &self.engine.registry.workers())
    }
}

fn work() -> AnyTask {
    Task::new("work", ()).erase()
}

/// Has attempts wait until they are asked to stop.
fn wait_for_the_stop(work: &mut KindDefinition) {
    let mut definition = Definition::new();
    definition.consume("work", async |(): (), ctx: conveyor_core::Context| {
        ctx.cancelled().await;
        Ok::<_, Error>(())
    });
    *work = definition.into_kinds().remove(0);
}

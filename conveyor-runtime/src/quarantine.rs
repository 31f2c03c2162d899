//! Quarantine: how a process makes room to run a suspect alone.
//!
//! When a process dies with several claims, nobody knows which of them took it down. Each becomes
//! a suspect, to be run with nothing beside it, so that the culprit can be told from bystanders.
//! One consumer *begins* the quarantine; the others claim nothing until it is lifted; when all
//! that the process holds is settled, it is *quiet*, and suspects are claimed one at a time.

use std::time::Duration;

use conveyor_core::time::Instant;
use event_listener::Event;
use futures::future::select;

use crate::engine::Engine;
use crate::phase::Phase;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// How long a process waits at first for what it holds to end; twice as long after each failure.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_PATIENCE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(crate) struct Quarantine {
    on: AtomicBool,
    lifted: Event,
    plan: Mutex<Plan>,
}

#[derive(Clone, Copy)]
struct Plan {
    /// Not before this: long attempts kept the process from going quiet the last time.
    not_before: Instant,
    patience: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { not_before: Instant::default(), patience: FIRST_PATIENCE }
    }
}

impl Quarantine {
    /// Whether consumers must not claim.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Waits until consumers may claim again.
    pub(crate) async fn lifted(&self) {
        while self.is_on() {
            let lifted = self.lifted.listen();
            if self.is_on() {
                lifted.await;
            }
        }
    }

    /// Whether the last one did not fail too recently.
    pub(crate) fn may_begin(&self, engine: &Engine) -> bool {
        engine.runtime.now() >= lock(&self.plan).not_before
    }

    /// Begins a quarantine, unless one is on or the last one failed too recently.
    pub(crate) fn begin<'a>(&'a self, engine: &'a Engine) -> Option<Quiet<'a>> {
        if !self.may_begin(engine) {
            return None;
        }
        if self.on.swap(true, Ordering::SeqCst) {
            return None;
        }
        let deadline = engine.runtime.now() + lock(&self.plan).patience;
        Some(Quiet { engine, deadline })
    }
}

/// What a wait for quiet came to.
pub(crate) enum Wait {
    /// The process holds no claim.
    Quiet,
    /// It still does, and it is time to look whether there are suspects still.
    Look,
    /// There was no progress for too long, or the process stops.
    Over,
}

/// A quarantine that is on; dropping it lifts it.
pub(crate) struct Quiet<'a> {
    engine: &'a Engine,
    /// Until when it has to make progress.
    deadline: Instant,
}

impl Quiet<'_> {
    /// Notes that a suspect was run.
    pub(crate) fn made_progress(&mut self) {
        lock(&self.engine.quarantine.plan).patience = FIRST_PATIENCE;
        self.deadline = self.engine.runtime.now() + FIRST_PATIENCE;
    }

    /// Waits until the process holds no claim, but no longer than a poll: another process may have
    /// run the last suspect meanwhile, and then this one waits in vain.
    pub(crate) async fn wait(&self) -> Wait {
        let engine = self.engine;
        let look = engine.runtime.now() + engine.settings.poll_interval;
        loop {
            let changed = engine.held_changed.listen();
            if engine.phases.now() >= Phase::Draining {
                return Wait::Over;
            }
            if engine.runtime.now() >= self.deadline {
                let mut plan = lock(&engine.quarantine.plan);
                plan.not_before = engine.runtime.now() + plan.patience;
                plan.patience = (plan.patience * 2).min(LONGEST_PATIENCE);
                return Wait::Over;
            }
            if engine.held.load(Ordering::SeqCst) == 0 {
                return Wait::Quiet;
            }
            if engine.runtime.now() >= look {
                return Wait::Look;
            }
            let stop = std::pin::pin!(engine.phases.reached(Phase::Draining));
            let news = select(changed, stop);
            select(news, engine.runtime.sleep_until(self.deadline.min(look))).await;
        }
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.engine.quarantine.on.store(false, Ordering::SeqCst);
        self.engine.quarantine.lifted.notify(usize::MAX);
        self.engine.signals.wake_all();
    }
}

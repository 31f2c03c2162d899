//! The phases of a manager's life, which only go forward.

use event_listener::{Event, EventListener};

use crate::sync::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Built; tasks are accepted, none are run.
    Built = 0,
    /// Tasks are accepted and run.
    Running = 1,
    /// No task is accepted or claimed any more; running ones go on.
    Draining = 2,
    /// Running attempts are asked to stop.
    Cancelling = 3,
    /// Nothing runs any more.
    Stopped = 4,
}

/// The phase now.
pub(crate) struct Phases {
    now: AtomicU8,
    changed: Event,
}

impl Default for Phases {
    fn default() -> Self {
        Phases { now: AtomicU8::new(Phase::Built as u8), changed: Event::new() }
    }
}

impl Phases {
    pub(crate) fn now(&self) -> Phase {
        match self.now.load(Ordering::Acquire) {
            0 => Phase::Built,
            1 => Phase::Running,
            2 => Phase::Draining,
            3 => Phase::Cancelling,
            _ => Phase::Stopped,
        }
    }

    /// Goes on to a later phase; `false` if it was there already, or beyond.
    pub(crate) fn advance(&self, to: Phase) -> bool {
        let advanced = self.now.fetch_max(to as u8, Ordering::AcqRel) < to as u8;
        self.changed.notify(usize::MAX);
        advanced
    }

    /// Waits until the phase is `at_least` reached.
    pub(crate) async fn reached(&self, at_least: Phase) {
        loop {
            if self.now() >= at_least {
                return;
            }
            let changed: EventListener = self.changed.listen();
            if self.now() >= at_least {
                return;
            }
            changed.await;
        }
    }
}

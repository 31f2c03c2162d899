//! [`Gate`]: where handlers wait until the test lets them go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use event_listener::{Event, Listener};

/// Shut at first; once opened it stays open. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(AtomicBool, Event)>);

impl Gate {
    /// A gate that is shut.
    #[must_use]
    pub fn new() -> Self {
        Gate::default()
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify(usize::MAX);
    }

    fn is_open(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        while !self.is_open() {
            let opened = self.0.1.listen();
            if !self.is_open() {
                opened.await;
            }
        }
    }

    /// Blocks the thread until it is open.
    ///
    /// # Panics
    /// If that takes a minute: the test has failed, and its runtime must come to an end.
    pub fn block(&self) {
        while !self.is_open() {
            let opened = self.0.1.listen();
            if !self.is_open() {
                let opened = opened.wait_timeout(Duration::from_secs(60));
                assert!(opened.is_some(), "nobody opened the gate");
            }
        }
    }
}

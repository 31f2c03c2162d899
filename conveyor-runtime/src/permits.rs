//! Permits: how many tasks of a kind run at a time in this process.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The permits of a kind whose concurrency is limited.
///
/// A consumer takes one before it asks the store for a task of the kind, and gives it back when
/// there was none or the attempt is over.
pub(crate) struct Permits {
    free: AtomicU32,
    /// A consumer went without since the last permit came back.
    missed: AtomicBool,
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Self {
        Permits { free: AtomicU32::new(limit), missed: AtomicBool::new(false) }
    }

    /// Takes a permit, if one is free.
    pub(crate) fn try_take(&self) -> bool {
        let take = || {
            self.free
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1))
                .is_ok()
        };
        if take() {
            return true;
        }
        // Noted before the second try: whoever gives one back after it sees the note.
        self.missed.store(true, Ordering::SeqCst);
        take()
    }

    /// Gives a permit back; `true` if somebody went without it, and should be told.
    #[must_use]
    pub(crate) fn give_back(&self) -> bool {
        self.free.fetch_add(1, Ordering::SeqCst);
        self.missed.swap(false, Ordering::SeqCst)
    }
}

//! Permits: how many tasks of a kind run at a time in this process.
//!
//! A consumer takes a permit *before* it asks the store for a task of the kind, and gives it back
//! at once if there was none. Meanwhile another may have been woken for a task, and gone without;
//! then somebody of its sort has to look again. But if whoever goes without always counted, idle
//! consumers would have each other look for ever: looking takes a permit too. So only a look counts
//! that may have a reason, which is news that nobody who finds the same has looked at, with a
//! permit and in vain.

use conveyor_core::Priority;

use crate::signals::Signals;
use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, lock};

/// The permits of a kind whose concurrency is limited.
pub(crate) struct Permits {
    free: AtomicU32,
    /// Somebody went without who may have been needed: [`Marks::missed`] is not empty.
    missed: AtomicBool,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    /// Whose looks went without a permit, and may have been needed.
    missed: Vec<Sort>,
    /// The last look in vain of each sort.
    in_vain: Vec<Look>,
}

/// A consumer's look into the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Whose it is.
    pub(crate) sort: Sort,
    /// The number of the last news before the look: what that told of was in the store.
    pub(crate) news: u64,
}

/// The consumers of one pool that take tasks from the same priority up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    /// The pool's number.
    pub(crate) pool: usize,
    pub(crate) min: Priority,
}

impl Sort {
    /// Whether these consumers find everything that the others do.
    fn finds_all_of(self, others: Sort) -> bool {
        self.pool == others.pool && self.min <= others.min
    }
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Self {
        Permits {
            free: AtomicU32::new(limit),
            missed: AtomicBool::new(false),
            marks: Mutex::default(),
        }
    }

    /// Takes a permit for a look, if one is free.
    pub(crate) fn try_take(&self, look: Look) -> bool {
        // Noted before the second try: whoever gives one back after it sees the note.
        self.take() || (self.note_missed(look) && self.take())
    }

    fn take(&self) -> bool {
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1))
            .is_ok()
    }

    /// Notes that a look goes without a permit; `false` if it cannot have been needed.
    fn note_missed(&self, look: Look) -> bool {
        let mut marks = lock(&self.marks);
        let known = |last: &Look| last.sort.finds_all_of(look.sort) && last.news >= look.news;
        if marks.in_vain.iter().any(known) {
            return false;
        }
        if !marks.missed.contains(&look.sort) {
            marks.missed.push(look.sort);
        }
        self.missed.store(true, Ordering::SeqCst);
        true
    }

    /// Gives back a permit that nothing was run by. `in_vain` is the look that found nothing at
    /// all by it.
    pub(crate) fn give_back_unused(&self, in_vain: Option<Look>, signals: &Signals) {
        if let Some(look) = in_vain {
            let mut marks = lock(&self.marks);
            match marks.in_vain.iter_mut().find(|last| last.sort == look.sort) {
                Some(last) => last.news = last.news.max(look.news),
                None => marks.in_vain.push(look),
            }
        }
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.missed.load(Ordering::SeqCst) {
            for sort in self.take_missed() {
                signals.look_as(sort);
            }
        }
    }

    /// Gives back the permit of an attempt. Everybody may be needed then: more tasks may wait than
    /// those for which consumers went without.
    pub(crate) fn give_back_used(&self, signals: &Signals) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.missed.load(Ordering::SeqCst) {
            self.take_missed();
        }
        signals.look();
    }

    fn take_missed(&self) -> Vec<Sort> {
        let mut marks = lock(&self.marks);
        self.missed.store(false, Ordering::SeqCst);
        std::mem::take(&mut marks.missed)
    }
}

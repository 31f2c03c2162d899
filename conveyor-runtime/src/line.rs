//! The line of those who wait for room in a bounded store.
//!
//! Only its first asks the store, so that room goes to whoever has waited longest, and a thousand
//! who wait do not all ask for each task that ends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

#[derive(Default)]
pub(crate) struct Line {
    len: AtomicUsize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    /// In the order of their numbers.
    taken: VecDeque<Taken>,
}

struct Taken {
    number: u64,
    waker: Option<Waker>,
}

impl Line {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::SeqCst) == 0
    }

    /// Takes the last place.
    pub(crate) fn enter(&self) -> Place<'_> {
        let mut places = lock(&self.places);
        let number = places.next;
        places.next += 1;
        places.taken.push_back(Taken { number, waker: None });
        self.len.store(places.taken.len(), Ordering::SeqCst);
        Place { line: self, number }
    }
}

/// A place in the line. Dropping it lets the next one move up.
pub(crate) struct Place<'a> {
    line: &'a Line,
    number: u64,
}

impl Place<'_> {
    /// Waits until the place is the first.
    pub(crate) async fn first(&self) {
        poll_fn(|cx| {
            let mut places = lock(&self.line.places);
            let at = places.taken.partition_point(|taken| taken.number < self.number);
            if at == 0 {
                return Poll::Ready(());
            }
            if let Some(mine) = places.taken.get_mut(at) {
                mine.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let next = {
            let mut places = lock(&self.line.places);
            let at = places.taken.partition_point(|taken| taken.number < self.number);
            // Its own waker goes when the lock is free: that may be a user's code.
            let mine = places.taken.remove(at);
            self.line.len.store(places.taken.len(), Ordering::SeqCst);
            let next = (at == 0).then(|| places.taken.front_mut()?.waker.take()).flatten();
            (mine, next)
        };
        if let (_, Some(waker)) = next {
            waker.wake();
        }
    }
}

//! Marks: up to where this process has taken what a lane had, so that claims need not walk over what
//! is gone.
//!
//! A mark is no promise: what others hand back, or commit late, lies before it. So every claim that
//! a mark leaves short looks again from the head, and every so often one starts there anyway. Only
//! where that has become dear, since the server cannot tidy up, is it done less often, but every
//! second.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A place in a lane: a due time and an age.
pub(crate) type Place = (i64, i64);

/// How often a claim starts from the head at least, if that is cheap.
const OFTEN: Duration = Duration::from_millis(250);

/// A search that goes over no more entries of the index is no matter. They are counted, since the
/// time that it takes says as much of the machine.
const CHEAP: i64 = 2_000;

/// How long there is no other search, for each entry that the last one went over: some twenty times
/// as long as that took. At most, it is [`RARELY`].
const AFTER_EACH: Duration = Duration::from_micros(20);
const RARELY: Duration = Duration::from_secs(1);

/// Where a claim searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Behind the marks alone: from the head it has become dear.
    Behind = 0,
    /// Behind the marks, and if that is not enough, from the head.
    BehindFirst = 1,
    /// From the head at once.
    Head = 2,
}

/// The marks of a process.
#[derive(Default)]
pub(crate) struct Marks {
    lanes: RefCell<HashMap<i64, Place>>,
    /// When a search from the head ended last, and over how much it went.
    swept: Cell<Option<(Instant, i64)>>,
}

impl Marks {
    /// The marks to claim by, and how.
    pub(crate) fn of_claim(&self) -> (Vec<(i64, Place)>, Search) {
        let search = match self.swept.get() {
            None => Search::Head,
            Some((at, walked)) => {
                let pause = match u32::try_from(walked) {
                    Ok(walked) if i64::from(walked) <= CHEAP => Duration::ZERO,
                    Ok(walked) => AFTER_EACH.saturating_mul(walked).min(RARELY),
                    Err(_) => RARELY,
                };
                match at.elapsed() {
                    since if since < pause => Search::Behind,
                    since if since < OFTEN => Search::BehindFirst,
                    _ => Search::Head,
                }
            }
        };
        let lanes = self.lanes.borrow();
        (lanes.iter().map(|(&lane, &place)| (lane, place)).collect(), search)
    }

    /// Notes a search from the head, and over how many entries of the index it went.
    pub(crate) fn swept(&self, walked: i64) {
        self.swept.set(Some((Instant::now(), walked)));
    }

    /// Notes that all there was up to this place is taken.
    pub(crate) fn rises(&self, lane: i64, place: Place) {
        let mut lanes = self.lanes.borrow_mut();
        let mark = lanes.entry(lane).or_insert(place);
        *mark = (*mark).max(place);
    }

    /// Notes that there may be more right behind this place, which a search from the head came to.
    pub(crate) fn falls(&self, lane: i64, place: Place) {
        self.lanes.borrow_mut().insert(lane, place);
    }

    /// Notes that anything may wait anywhere.
    pub(crate) fn clear(&self) {
        self.lanes.borrow_mut().clear();
    }

    /// Notes that something waits in a lane that is due then, or at an unknown time.
    pub(crate) fn waits(&self, lane: i64, due: Option<i64>) {
        let mut lanes = self.lanes.borrow_mut();
        if lanes.get(&lane).is_some_and(|&(mark, _)| due.is_none_or(|due| due <= mark)) {
            lanes.remove(&lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_rises_and_falls_with_what_comes_before_it() {
        let marks = Marks::default();
        assert_eq!(marks.of_claim(), (vec![], Search::Head));
        marks.swept(0);
        marks.rises(1, (10, 3));
        marks.rises(1, (10, 2));
        assert_eq!(marks.of_claim(), (vec![(1, (10, 3))], Search::BehindFirst));
        marks.falls(1, (10, 1));
        assert_eq!(marks.of_claim().0, [(1, (10, 1))]);
        marks.waits(1, Some(11));
        marks.waits(2, None);
        assert_eq!(marks.of_claim().0.len(), 1);
        marks.waits(1, Some(10));
        assert_eq!(marks.of_claim().0, []);
    }

    #[test]
    fn a_search_from_the_head_that_is_dear_is_rare() {
        let marks = Marks::default();
        marks.swept(1_000_000);
        marks.rises(1, (10, 3));
        assert_eq!(marks.of_claim(), (vec![(1, (10, 3))], Search::Behind));
    }
}

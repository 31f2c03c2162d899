//! What to fire now: the step from one high-water mark to the next.

use std::time::Duration;

use super::{Missed, Schedule};
use crate::time::Timestamp;

/// How late an instant may be before it counts as missed, for [`Missed::Skip`].
///
/// Longer than a store's poll and a process's start, so that an ordinary hand-over drops nothing.
pub const MISSED_AFTER: Duration = Duration::from_secs(10);

/// The most instants that one call of [`Schedule::due`] fires.
pub const MAX_CATCH_UP: usize = 1_000;

/// What [`Schedule::due`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The instants to fire, the oldest first; at most [`MAX_CATCH_UP`].
    pub fire: Vec<Timestamp>,
    /// The high-water mark afterwards: every instant up to it is fired or dropped. Never below
    /// the mark that was given.
    pub mark: Timestamp,
    /// The first instant after `mark`, which is when to ask again. It is later than now, unless
    /// [`MAX_CATCH_UP`] cut this call short: then it is overdue, so ask again at once.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// Which instants in (`mark`, `now`] to fire, by the policy for missed ones.
    ///
    /// `anchor` is when the schedule was made; a new schedule's `mark` is anything before it.
    /// What comes back is to be stored and fired in one step. For each policy:
    ///
    /// - [`Missed::Once`]: the latest instant alone.
    /// - [`Missed::Skip`]: those late by no more than [`MISSED_AFTER`]; the rest are dropped.
    /// - [`Missed::All`]: each of them, [`MAX_CATCH_UP`] a call. The mark moves only as far as
    ///   they were fired, so calls go on where the last one stopped, and there is no bound over
    ///   all calls: an hourly schedule that missed a year owes 8,760 tasks.
    ///
    /// If the clock went back (`now` < `mark`) nothing fires, and the next instant is the first
    /// after the mark: no instant fires twice.
    ///
    /// A call costs one search backwards and one forwards, whatever time has passed, and one
    /// forwards for each further instant that it fires.
    #[must_use]
    pub fn due(&self, anchor: Timestamp, mark: Timestamp, now: Timestamp) -> Due {
        let (fire, mark) = match self.cadence.last_until(anchor, now) {
            Some(latest) if latest > mark => match self.missed {
                Missed::Once => (vec![latest], latest),
                Missed::Skip => {
                    let missed = now - MISSED_AFTER - Duration::from_micros(1);
                    self.up_to(latest, anchor, mark.max(missed))
                }
                Missed::All => self.up_to(latest, anchor, mark),
            },
            _ => (Vec::new(), mark),
        };
        Due { next: self.cadence.next_after(anchor, mark), fire, mark }
    }

    /// The instants after `after` up to `latest`, within the bound, and the mark that they leave.
    fn up_to(
        &self,
        latest: Timestamp,
        anchor: Timestamp,
        after: Timestamp,
    ) -> (Vec<Timestamp>, Timestamp) {
        let next = |&after: &Timestamp| {
            self.cadence.next_after(anchor, after).filter(|&next| next <= latest)
        };
        let fire: Vec<_> = std::iter::successors(next(&after), next).take(MAX_CATCH_UP).collect();
        let mark = fire.last().copied().unwrap_or(latest);
        (fire, mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Cadence, Interval};
    use proptest::prelude::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn every(secs: u64, missed: Missed) -> Schedule {
        Schedule::every(Duration::from_secs(secs)).unwrap().missed(missed)
    }

    const POLICIES: [Missed; 3] = [Missed::Once, Missed::Skip, Missed::All];

    #[test]
    fn the_first_tick_is_the_anchor() {
        for missed in POLICIES {
            let due = every(60, missed).due(at(100), Timestamp::MIN, at(100));
            assert_eq!(due, Due { fire: vec![at(100)], mark: at(100), next: Some(at(160)) });
            let early = every(60, missed).due(at(100), Timestamp::MIN, at(99));
            assert_eq!(early, Due { fire: vec![], mark: Timestamp::MIN, next: Some(at(100)) });
        }
    }

    #[test]
    fn an_instant_fires_once() {
        for missed in POLICIES {
            let schedule = every(60, missed);
            let due = schedule.due(at(0), at(60), at(121));
            assert_eq!(due, Due { fire: vec![at(120)], mark: at(120), next: Some(at(180)) });
            let again = schedule.due(at(0), due.mark, at(179));
            assert_eq!(again, Due { fire: vec![], mark: at(120), next: Some(at(180)) });
        }
    }

    #[test]
    fn once_fires_the_latest_alone() {
        let due = every(60, Missed::Once).due(at(0), at(60), at(335));
        assert_eq!(due, Due { fire: vec![at(300)], mark: at(300), next: Some(at(360)) });
    }

    #[test]
    fn skip_drops_what_is_late_and_remembers_it() {
        let schedule = every(60, Missed::Skip);
        let late = schedule.due(at(0), at(60), at(310) + Duration::from_micros(1));
        assert_eq!(late, Due { fire: vec![], mark: at(300), next: Some(at(360)) });
        let later = schedule.due(at(0), at(60), at(359));
        assert_eq!(later, late);
        let just = schedule.due(at(0), at(60), at(310));
        assert_eq!(just, Due { fire: vec![at(300)], mark: at(300), next: Some(at(360)) });
        // A short period has several instants within the tolerance.
        let due = every(4, Missed::Skip).due(at(0), at(0), at(101));
        assert_eq!(due.fire, [at(92), at(96), at(100)]);
    }

    #[test]
    fn all_fires_each_in_bounded_steps() {
        let schedule = every(1, Missed::All);
        let (mut mark, mut fired, mut calls) = (at(0), Vec::new(), 0);
        loop {
            let due = schedule.due(at(0), mark, at(2_500));
            assert!(due.fire.len() <= MAX_CATCH_UP && due.next > Some(due.mark));
            (mark, calls) = (due.mark, calls + 1);
            fired.extend(due.fire);
            if due.next > Some(at(2_500)) {
                break;
            }
        }
        assert_eq!(calls, 3);
        assert_eq!(fired, (1..=2_500).map(at).collect::<Vec<_>>());
    }

    #[test]
    fn a_clock_that_went_back_fires_nothing() {
        for missed in POLICIES {
            let due = every(60, missed).due(at(0), at(600), at(120));
            assert_eq!(due, Due { fire: vec![], mark: at(600), next: Some(at(660)) });
        }
    }

    #[test]
    fn ten_missed_years_of_seconds_cost_no_walk() {
        let (anchor, now) = (at(0), at(10 * 365 * 86_400));
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for text in ["every 1s", "cron * * * * * * @ Europe/Berlin", "cron * * 2,4 * * *"] {
                for missed in POLICIES {
                    let cadence: Cadence = text.parse().unwrap();
                    let due = Schedule::from(cadence).missed(missed).due(anchor, anchor, now);
                    assert!(due.mark > anchor && due.fire.len() <= MAX_CATCH_UP);
                }
            }
            done.send(()).unwrap();
        });
        // Milliseconds, where a walk over 315 million instants would take minutes.
        finished.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        for missed in POLICIES {
            let far = Schedule::every(Duration::MAX).unwrap().missed(missed);
            assert_eq!(far.due(at(0), at(0), Timestamp::MAX).next, None);
            let near = every(1, missed).due(Timestamp::MAX, Timestamp::MIN, Timestamp::MAX);
            assert_eq!((near.fire, near.next), (vec![Timestamp::MAX], None));
        }
    }

    proptest! {
        /// Against the definition: a list of all instants.
        #[test]
        fn policies_are_as_defined(
            period_ms in 1_000_u64..20_000, anchor in 0_i64..50_000_000,
            mark in 0_i64..100_000_000, now in 0_i64..100_000_000,
        ) {
            let interval = Interval::new(Duration::from_millis(period_ms)).unwrap();
            let [anchor, mark, now] = [anchor, mark, now].map(Timestamp::from_micros);
            let instants: Vec<_> = (0..200)
                .map(|n| anchor + Duration::from_millis(period_ms * n))
                .filter(|&t| mark < t && t <= now)
                .collect();
            for missed in POLICIES {
                let due = Schedule::from(Cadence::Interval(interval)).missed(missed)
                    .due(anchor, mark, now);
                let expected: Vec<_> = match missed {
                    Missed::Once => instants.last().copied().into_iter().collect(),
                    Missed::All => instants.clone(),
                    Missed::Skip => instants.iter().copied()
                        .filter(|&t| now.saturating_since(t) <= MISSED_AFTER)
                        .collect(),
                };
                prop_assert_eq!(due.fire, expected);
                prop_assert_eq!(due.mark, instants.last().copied().unwrap_or(mark));
                prop_assert!(due.next > Some(mark.max(now)));
            }
        }
    }
}

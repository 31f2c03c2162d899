//! Where a store's wake-ups arrive, and where they go.

use std::sync::{Arc, OnceLock};

use conveyor_core::Timestamp;
use conveyor_core::store::{Wake, WakeSink};
use event_listener::Event;

use crate::line::Line;
use crate::permits::Sort;
use crate::pool::Pool;
use crate::sync::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use crate::waiters::Waiters;

/// The engine's ear: the store calls it, and it wakes whom it concerns.
pub(crate) struct Signals {
    /// Set once, when the manager is built.
    pools: OnceLock<Vec<Arc<Pool>>>,
    pub(crate) waiters: Waiters,
    /// A bounded store has room again.
    pub(crate) room: Event,
    /// Who waits for it.
    pub(crate) line: Line,
    /// Maintenance has something to do earlier than it thought.
    pub(crate) maintain: Event,
    /// The earliest due time that maintenance plans for, in microseconds; the latest there is, if
    /// it plans for none.
    planned: AtomicI64,
    /// A worker has a limited concurrency: only then news are counted.
    limits: AtomicBool,
    /// How often something may have become claimable.
    news: AtomicU64,
    /// A schedule changed.
    pub(crate) schedules: Event,
}

impl Default for Signals {
    fn default() -> Self {
        Signals {
            pools: OnceLock::new(),
            waiters: Waiters::default(),
            room: Event::new(),
            line: Line::default(),
            maintain: Event::new(),
            planned: AtomicI64::new(i64::MAX),
            limits: AtomicBool::new(false),
            news: AtomicU64::new(1),
            schedules: Event::new(),
        }
    }
}

impl Signals {
    pub(crate) fn pools(&self) -> &[Arc<Pool>] {
        self.pools.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_pools(&self, pools: Vec<Arc<Pool>>) {
        assert!(self.pools.set(pools).is_ok(), "invariant: a manager is built once");
    }

    /// Notes that maintenance will look at the due tasks at that time.
    pub(crate) fn plan(&self, due: Option<Timestamp>) {
        self.planned.store(due.map_or(i64::MAX, Timestamp::as_micros), Ordering::SeqCst);
    }

    /// Counts news from now on, for the sake of a limited kind.
    pub(crate) fn count_news(&self) {
        self.limits.store(true, Ordering::SeqCst);
    }

    /// The number of the last news: what it told of is in the store.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::SeqCst)
    }

    /// Notes that there is something in the store, before anybody is woken for it.
    pub(crate) fn note_news(&self) {
        if self.limits.load(Ordering::SeqCst) {
            self.news.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Wakes every idle consumer.
    pub(crate) fn wake_all(&self) {
        self.note_news();
        for pool in self.pools() {
            pool.idle.wake_all();
        }
    }

    /// Has idle consumers of each pool look whether there is something that nobody told of.
    pub(crate) fn poll(&self) {
        self.note_news();
        self.look();
    }

    /// Has an idle consumer look that finds what these do.
    pub(crate) fn look_as(&self, sort: Sort) {
        self.pools()[sort.pool].idle.wake(sort.min, 1);
    }

    /// Has idle consumers of each pool look for what was told of already.
    pub(crate) fn look(&self) {
        for pool in self.pools() {
            pool.look();
        }
    }
}

impl WakeSink for Signals {
    fn wake(&self, wake: Wake<'_>) {
        match wake {
            Wake::Claimable { queue, priority, count } => {
                self.note_news();
                for pool in self.pools().iter().filter(|pool| pool.idle.len() > 0) {
                    if pool.serves(queue) {
                        pool.idle.wake(priority, count);
                    }
                }
            }
            Wake::Due(at) => {
                if at.as_micros() < self.planned.load(Ordering::SeqCst) {
                    self.maintain.notify(usize::MAX);
                }
            }
            Wake::Room => _ = self.room.notify(usize::MAX),
            Wake::Ended { task, end } => self.waiters.tell(task, end),
            Wake::CancelRequested(task) => {
                for seat in self.pools().iter().flat_map(|pool| pool.seats.iter()) {
                    if seat.cancel_task(task) {
                        break;
                    }
                }
            }
            Wake::ScheduleChanged => _ = self.schedules.notify(usize::MAX),
            // A later version's hint: looking once is always right.
            _ => self.poll(),
        }
    }

    fn watches_ends(&self) -> bool {
        self.waiters.are_there()
    }
}

//! Wake-ups: hints that come, sooner or later, to who asked for them. More of them do no harm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conveyor_core::store::{ScheduleDefinition, Verdict, Wake, WakeSink};
use conveyor_core::{End, Kind, Priority, Schedule, TaskId, Timestamp};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{fail, give_back, retry_after, settle};

/// How long a hint may take. Whoever needs it longer has one that is of no use.
const SOON: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Claimable(String, Priority),
    Due(Timestamp),
    Room,
    Ended(TaskId, Option<End>),
    CancelRequested(TaskId),
    ScheduleChanged,
    Other,
}

/// Somebody who is told.
#[derive(Default)]
pub(super) struct Listener {
    told: Mutex<Vec<Told>>,
    news: Condvar,
    watches: AtomicBool,
}

impl WakeSink for Listener {
    fn wake(&self, wake: Wake<'_>) {
        let told = match wake {
            Wake::Claimable { queue, priority, .. } => Told::Claimable(queue.to_string(), priority),
            Wake::Due(at) => Told::Due(at),
            Wake::Room => Told::Room,
            Wake::Ended { task, end } => Told::Ended(task, end.cloned()),
            Wake::CancelRequested(id) => Told::CancelRequested(id),
            Wake::ScheduleChanged => Told::ScheduleChanged,
            _ => Told::Other,
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        self.news.notify_all();
    }

    fn watches_ends(&self) -> bool {
        self.watches.load(Ordering::SeqCst)
    }
}

impl Listener {
    pub(super) fn of(s: &Setup) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        let weak = Arc::downgrade(&listener);
        s.store.subscribe(weak);
        listener
    }

    /// Forgets what it was told so far, to hear only of `what` comes.
    fn hears(&self, s: &Setup, act: impl FnOnce(), what: impl Fn(&Told) -> bool) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        act();
        let start = Instant::now();
        loop {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = told.iter().find(|told| what(told)) {
                return found.clone();
            }
            assert!(start.elapsed() < SOON, "it is not told; all it is told is {told:?}");
            drop(self.news.wait_timeout(told, Duration::from_millis(10)));
            // A driver may need somebody to wait for it.
            s.now();
        }
    }

    /// Hears that there is something to claim in a queue, at that priority or a higher one.
    pub(super) fn hears_of(&self, s: &Setup, queue: &str, priority: Priority, act: impl FnOnce()) {
        self.hears(s, act, |told| match told {
            Told::Claimable(of, at) => of == queue && *at >= priority,
            _ => false,
        });
    }
}

pub fn what_is_enqueued_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    listener.hears_of(&s, "q", Priority::LOW, || _ = s.enqueue(task().priority(Priority::LOW)));
    let batch = || {
        s.enqueue_all([task(), task().queue("x").priority(Priority::HIGH), task().queue("x")]);
    };
    listener.hears_of(&s, "x", Priority::HIGH, batch);
}

pub fn what_another_process_enqueues_is_told(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let listener = Listener::of(&s);
    listener.hears_of(&s, "q", Priority::NORMAL, || _ = other.enqueue(task()));
}

pub fn what_a_settle_makes_claimable_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    let claimed = s.active(A, task());
    listener.hears_of(&s, "q", Priority::NORMAL, || _ = s.settle(&claimed, give_back()));
    let mut end = settle(&s.claim_one(A), Verdict::Succeed);
    end.children = vec![task().queue("x")];
    listener.hears_of(&s, "x", Priority::NORMAL, || _ = s.settle_as(end));
}

pub fn a_delay_is_told_by_its_due_time(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    let is_due = |told: &Told| matches!(told, Told::Due(_));
    let mut id = None;
    let told = listener.hears(&s, || id = Some(s.enqueue(task().delay(s.ticks(9)))), is_due);
    assert_eq!(told, Told::Due(s.info(id.expect("it was enqueued")).due));
    let claimed = s.active(A, task());
    let retry = || _ = s.settle(&claimed, retry_after(s.ticks(3)));
    let told = listener.hears(&s, retry, is_due);
    assert_eq!(told, Told::Due(s.info(claimed.fence.task).due));
}

pub fn what_is_promoted_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    s.enqueue(task().delay(s.ticks(1)).priority(Priority::HIGH));
    s.advance(1);
    listener.hears_of(&s, "q", Priority::HIGH, || _ = s.promote());
}

pub fn what_is_rescued_is_told(suite: &Suite) {
    let s = suite.watched();
    let listener = Listener::of(&s);
    s.active(A, task());
    listener.hears_of(&s, "q", Priority::NORMAL, || _ = s.rescue_after_death());
}

pub fn what_a_resumed_queue_has_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    s.pause("q", true);
    s.enqueue(task().priority(Priority::HIGH));
    listener.hears_of(&s, "q", Priority::HIGH, || s.pause("q", false));
}

pub fn room_in_a_bounded_store_is_told(suite: &Suite) {
    let s = suite.bounded(1);
    let listener = Listener::of(&s);
    let claimed = s.active(A, task());
    let is_room = |told: &Told| *told == Told::Room;
    listener.hears(&s, || _ = s.settle(&claimed, Verdict::Succeed), is_room);
    let id = s.enqueue(task());
    listener.hears(&s, || _ = s.cancel(id), is_room);
}

pub fn ends_are_told_to_who_watches_them_and_to_nobody_else(suite: &Suite) {
    let s = suite.watched();
    let (watching, other) = (Listener::of(&s), Listener::of(&s));
    watching.watches.store(true, Ordering::SeqCst);
    let hears = |id: TaskId, act: &dyn Fn()| {
        let told = watching.hears(&s, act, |told| matches!(told, Told::Ended(of, _) if *of == id));
        let Told::Ended(_, end) = told else { panic!("{told:?}") };
        let is = s.info(id).end;
        assert!(end.is_none() || end == is, "{end:?} is told, it is {is:?}");
    };
    for verdict in [Verdict::Succeed, fail()] {
        let claimed = s.active(A, task());
        hears(claimed.fence.task, &|| _ = s.settle(&claimed, verdict.clone()));
    }
    let queued = s.enqueue(task());
    hears(queued, &|| _ = s.cancel(queued));
    let dead = s.active(B, task()).fence.task;
    s.cancel(dead);
    hears(dead, &|| _ = s.rescue_after_death());
    let told = other.told.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!told.iter().any(|told| matches!(told, Told::Ended(..))), "{told:?}");
}

pub fn a_request_to_cancel_a_running_task_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    let id = s.active(A, task()).fence.task;
    listener.hears(&s, || _ = s.cancel(id), |told| *told == Told::CancelRequested(id));
}

pub fn a_schedule_that_is_put_replaced_or_removed_is_told(suite: &Suite) {
    let s = suite.open();
    let listener = Listener::of(&s);
    let name = Kind::from_static("work");
    let put = |period| {
        let schedule = Schedule::every(Duration::from_secs(period)).expect("a period above 1 ms");
        s.done(s.store.put_schedule(ScheduleDefinition { name: name.clone(), schedule }));
    };
    let is_changed = |told: &Told| *told == Told::ScheduleChanged;
    listener.hears(&s, || put(10), is_changed);
    listener.hears(&s, || put(20), is_changed);
    listener.hears(&s, || s.done(s.store.remove_schedule(&name)), is_changed);
}

pub fn a_listener_that_is_gone_harms_nobody(suite: &Suite) {
    let s = suite.open();
    let gone = Listener::of(&s);
    let listener = Listener::of(&s);
    drop(gone);
    listener.hears_of(&s, "q", Priority::NORMAL, || _ = s.enqueue(task()));
}

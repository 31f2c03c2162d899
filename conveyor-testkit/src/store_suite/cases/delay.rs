//! Delays: nothing starts before its time, and nothing is forgotten when it has come.

use conveyor_core::task::Start;
use conveyor_core::{TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, sorted};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{retry_after, snooze_for};

pub fn a_delayed_task_is_never_early_and_needs_no_promotion(suite: &Suite) {
    let s = suite.open();
    let after = s.enqueue(task().delay(s.ticks(5)));
    let at = s.enqueue(task().start(Start::At(s.now() + s.ticks(5))));
    s.advance(4);
    assert_eq!(s.ask(A).ids(), []);
    assert_eq!((s.state(after), s.state(at)), (TaskState::Scheduled, TaskState::Scheduled));
    s.advance(1);
    assert_eq!(sorted(s.ask(A).ids()), sorted([after, at]));
}

pub fn an_instant_is_kept_to_the_microsecond(suite: &Suite) {
    let s = suite.open();
    for micros in [1, 999, 1_000, 999_999] {
        let at = s.now() + s.ticks(50) + std::time::Duration::from_micros(micros);
        let id = s.enqueue(task().start(Start::At(at)));
        assert_eq!(s.info(id).due, at);
    }
}

pub fn a_retry_and_a_snooze_are_never_early(suite: &Suite) {
    let s = suite.open();
    for verdict in [retry_after(s.ticks(5)), snooze_for(s.ticks(5))] {
        let claimed = s.active(A, task());
        let id = claimed.fence.task;
        s.advance(1);
        let settle = || {
            s.settle(&claimed, verdict.clone());
            s.info(id)
        };
        s.check_time(settle, |now| now + s.ticks(5), |info| info.due);
        s.advance(4);
        assert_eq!(s.ask(A).ids(), [], "{verdict:?}");
        s.advance(1);
        assert_eq!(s.ask(A).ids(), [id], "{verdict:?}");
    }
}

pub fn a_promotion_tells_what_is_due_next(suite: &Suite) {
    let s = suite.open();
    assert_eq!(s.promote(), None);
    let third = s.enqueue(task().delay(s.ticks(6)));
    let first = s.enqueue(task().delay(s.ticks(2)));
    let second = s.enqueue(task().delay(s.ticks(4)));
    let due = |id: TaskId| Some(s.info(id).due);
    assert_eq!(s.promote(), due(first));
    s.advance(4);
    assert_eq!(s.promote(), due(third));
    assert_eq!((s.state(first), s.state(second)), (TaskState::Queued, TaskState::Queued));
    assert_eq!(s.state(third), TaskState::Scheduled);
    s.advance(2);
    assert_eq!(s.promote(), None);
    assert_eq!(s.counts().queued, 3);
}

pub fn promotions_of_a_few_at_a_time_come_to_an_end(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..25).map(|_| task().delay(s.ticks(1))));
    let later = s.enqueue(task().delay(s.ticks(9)));
    s.advance(1);
    for calls in 1.. {
        assert!(calls < 25, "what is due is promoted again and again");
        match s.done(s.store.promote(4)) {
            // Some are left: ask again.
            Some(next) if next <= s.now() => {}
            next => {
                assert_eq!(next, Some(s.info(later).due));
                break;
            }
        }
    }
    assert_eq!(s.counts().queued, 25);
}

pub fn a_promotion_of_none_only_looks(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task().delay(s.ticks(2)));
    assert_eq!(s.done(s.store.promote(0)), Some(s.info(id).due));
}

pub fn a_cancelled_delay_is_no_longer_due(suite: &Suite) {
    let s = suite.open();
    let ids = s.enqueue_all((0..300).map(|at| task().delay(s.ticks(1 + at / 10))));
    let (gone, kept) = ids.split_at(200);
    s.cancel_all(gone);
    assert_eq!(s.promote(), Some(s.info(kept[0]).due));
    s.advance(30);
    assert_eq!(s.ask(A).ids(), kept);
}

pub fn a_herd_that_is_due_at_one_instant_is_claimed_in_its_order(suite: &Suite) {
    let s = suite.open();
    let at = Start::At(s.now() + s.ticks(1));
    let herd = s.enqueue_all((0..2_000).map(|_| task().start(at)));
    s.advance(1);
    assert!(s.ask(A).room(1_500).ids() == herd[..1_500]);
    assert!(s.ask(A).ids() == herd[1_500..]);
}

//! Cancel: what waits ends at once, what runs is told, and the request outlives a crash.

use conveyor_core::store::{Budgets, CancelReply, EndState, Renewed, RescuedAs, Verdict};
use conveyor_core::{End, TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{cancel, fail, hand_back, park, retry, retry_after, snooze_for};

fn is_cancelled(s: &Setup, id: TaskId) -> bool {
    matches!(s.end(id), EndState::Ended(End::Cancelled(_)))
}

pub fn a_task_that_waits_ends_at_once_and_never_starts(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let parked = claimed.fence.task;
    s.settle(&claimed, park());
    let queued = s.enqueue(task());
    let scheduled = s.enqueue(task().delay(s.ticks(5)));
    for id in [queued, scheduled, parked] {
        assert_eq!(s.cancel(id), CancelReply::Cancelled);
        assert!(is_cancelled(&s, id));
        assert_eq!(s.is_unchanged("a repeat", || s.cancel(id)), CancelReply::AlreadyEnded);
    }
    s.advance(12);
    s.promote();
    assert_eq!(s.ask(A).ids(), []);
    assert_eq!(s.counts().cancelled, 3);
}

pub fn a_task_out_of_the_middle_leaves_the_order_of_the_others(suite: &Suite) {
    let s = suite.open();
    let all = s.enqueue_all((0..200).map(|_| task()));
    let (gone, left): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(|(at, _)| at % 3 != 0);
    let gone: Vec<TaskId> = gone.into_iter().map(|(_, id)| *id).collect();
    let left: Vec<TaskId> = left.into_iter().map(|(_, id)| *id).collect();
    assert!(s.cancel_all(&gone).iter().all(|reply| *reply == CancelReply::Cancelled));
    assert_eq!(s.ask(A).ids(), left);
}

pub fn a_suspect_is_cancelled_like_any_other(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task()).fence.task;
    s.rescue_after_death();
    assert_eq!(s.cancel(id), CancelReply::Cancelled);
    let claim = s.ask(A).alone().claim();
    assert!(claim.tasks.is_empty() && !claim.suspects, "{claim:?}");
}

pub fn an_active_task_is_marked_and_its_holder_told(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let id = claimed.fence.task;
    for _ in 0..2 {
        assert_eq!(s.cancel(id), CancelReply::Requested);
        assert_eq!(s.state(id), TaskState::Active);
        assert_eq!(s.renew(A, claimed.fence), Renewed::Held { cancel: true });
    }
    assert_eq!(s.counts().cancelled, 0);
}

pub fn a_request_beats_retry_snooze_return_and_park(suite: &Suite) {
    let s = suite.open();
    let delay = s.ticks(9);
    let verdicts = [retry(), retry_after(delay), snooze_for(delay), hand_back(), park()];
    for (cancelled, verdict) in (1..).zip(verdicts) {
        let claimed = s.active(A, task());
        s.cancel(claimed.fence.task);
        s.settle(&claimed, verdict.clone());
        assert!(is_cancelled(&s, claimed.fence.task), "{verdict:?}");
        assert_eq!(s.counts().cancelled, cancelled, "{verdict:?}");
        assert_eq!(s.ask(A).ids(), [], "{verdict:?}");
    }
    s.advance(12);
    assert_eq!(s.ask(A).ids(), []);
}

pub fn an_attempt_that_is_not_made_again_is_not_counted_as_if(suite: &Suite) {
    let s = suite.open();
    for verdict in [retry(), snooze_for(s.ticks(9)), hand_back()] {
        let claimed = s.active(A, task());
        s.cancel(claimed.fence.task);
        s.settle(&claimed, verdict.clone());
        let counts = s.counts();
        assert_eq!((counts.retried, counts.snoozed, counts.returned), (0, 0, 0), "{verdict:?}");
        let errors = u32::from(verdict == retry());
        assert_eq!(s.info(claimed.fence.task).budgets.errors, errors, "what it cost stays");
    }
}

pub fn an_attempt_that_ends_the_task_after_the_request_ends_it_as_it_says(suite: &Suite) {
    let s = suite.open();
    let ends = [
        (Verdict::Succeed, End::Succeeded),
        (fail(), End::Failed("no hope".into())),
        (cancel(), End::Cancelled("no point".into())),
    ];
    for (verdict, end) in ends {
        let claimed = s.active(A, task());
        s.cancel(claimed.fence.task);
        s.settle(&claimed, verdict);
        assert_eq!(s.end(claimed.fence.task), EndState::Ended(end));
    }
}

pub fn a_request_ends_the_task_at_its_rescue_and_costs_nothing(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task()).fence.task;
    s.cancel(id);
    let rescued = s.rescue_after_death().rescued;
    assert_eq!((rescued[0].id, rescued[0].rescued_as), (id, RescuedAs::Cancelled));
    assert!(is_cancelled(&s, id));
    assert_eq!((s.info(id).budgets, s.counts().cancelled), (Budgets::default(), 1));
}

pub fn a_request_outlives_an_interruption_and_others_crashes(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.several(3);
    s.cancel(claimed[0].fence.task);
    s.cancel(claimed[1].fence.task);
    s.settle(&claimed[0], Verdict::Interrupt);
    s.rescue_after_death();
    assert!(is_cancelled(&s, claimed[0].fence.task), "interrupted");
    assert!(is_cancelled(&s, claimed[1].fence.task), "in company");
    assert_eq!(s.state(claimed[2].fence.task), TaskState::Queued, "nobody asked");
}

pub fn requests_are_answered_in_order(suite: &Suite) {
    let s = suite.open();
    let active = s.active(A, task()).fence.task;
    let queued = s.enqueue(task());
    let unknown = TaskId::from_u128(u128::MAX);
    let expected = [
        CancelReply::Unknown,
        CancelReply::Cancelled,
        CancelReply::Requested,
        CancelReply::AlreadyEnded,
    ];
    assert_eq!(s.cancel_all(&[unknown, queued, active, queued]), expected);
}

pub fn a_request_reaches_the_holder_from_any_process(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let claimed = s.active(A, task());
    assert_eq!(other.cancel(claimed.fence.task), CancelReply::Requested);
    assert_eq!(s.renew(A, claimed.fence), Renewed::Held { cancel: true });
    let waiting = s.enqueue(task());
    assert_eq!(other.cancel(waiting), CancelReply::Cancelled);
    assert_eq!(s.ask(B).ids(), []);
}

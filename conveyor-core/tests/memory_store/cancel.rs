//! Cancel: what waits ends at once, what runs is told, and the request outlives a crash.

use conveyor_core::store::{CancelReply, EndState, Renewed, Verdict};
use conveyor_core::{End, TaskId, TaskState};

use crate::setup::{
    A, C, Set, Setup, cancel, done, fail, hand_back, park, retry, secs, snooze, task,
};

fn request(s: &Setup, id: TaskId) -> CancelReply {
    done(s.store.cancel(&[id])).remove(0)
}

fn is_cancelled(s: &Setup, id: TaskId) -> bool {
    matches!(s.end(id), EndState::Ended(End::Cancelled(_)))
}

#[test]
fn a_task_that_waits_ends_at_once_and_never_starts() {
    let s = Setup::new();
    let queued = s.enqueue(task());
    let scheduled = s.enqueue(task().delay(secs(5)));
    let claimed = s.active(A, task().priority(conveyor_core::Priority::HIGH));
    let parked = claimed.fence.task;
    s.settle(&claimed, park());
    for id in [queued, scheduled, parked] {
        assert_eq!(request(&s, id), CancelReply::Cancelled);
        assert!(is_cancelled(&s, id));
        assert_eq!(request(&s, id), CancelReply::AlreadyEnded);
    }
    s.advance(secs(60));
    assert_eq!(s.ask(A).ids(), []);
    assert_eq!(s.counts().cancelled, 3);
}

#[test]
fn a_task_out_of_the_middle_leaves_the_order_of_the_others() {
    let s = Setup::new();
    let ids: Vec<TaskId> = (0..200).map(|_| s.enqueue(task())).collect();
    let (gone, left): (Vec<TaskId>, Vec<TaskId>) = ids.iter().partition(|id| id.as_u128() % 3 != 0);
    done(s.store.cancel(&gone));
    assert_eq!(s.ask(A).ids(), left);
}

#[test]
fn a_suspect_is_cancelled_like_any_other() {
    let s = Setup::watched();
    let id = s.active(A, task()).fence.task;
    s.rescue_after_death();
    assert_eq!(request(&s, id), CancelReply::Cancelled);
    assert_eq!(s.ask(A).alone().ids(), []);
    assert!(!s.ask(A).claim().suspects);
}

#[test]
fn an_active_task_is_marked_and_its_holder_told() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    let id = claimed.fence.task;
    for _ in 0..2 {
        assert_eq!(request(&s, id), CancelReply::Requested);
        assert_eq!(s.state(id), TaskState::Active);
        assert_eq!(s.renew(A, claimed.fence), Renewed::Held { cancel: true });
    }
    assert_eq!(s.counts().cancelled, 0);
}

#[test]
fn a_request_beats_retry_snooze_return_and_park() {
    for verdict in [retry(secs(0)), retry(secs(9)), snooze(secs(9)), hand_back(), park()] {
        let s = Setup::new();
        let claimed = s.active(A, task());
        request(&s, claimed.fence.task);
        s.settle(&claimed, verdict.clone());
        assert!(is_cancelled(&s, claimed.fence.task), "{verdict:?}");
        assert_eq!(s.counts().cancelled, 1, "{verdict:?}");
        s.advance(secs(60));
        assert_eq!(s.ask(A).ids(), [], "{verdict:?}");
    }
}

#[test]
fn an_attempt_that_ends_the_task_after_the_request_ends_it_as_it_says() {
    let ends = [
        (Verdict::Succeed, End::Succeeded),
        (fail(), End::Failed("no hope".into())),
        (cancel(), End::Cancelled("no point".into())),
    ];
    for (verdict, end) in ends {
        let s = Setup::new();
        let claimed = s.active(A, task());
        request(&s, claimed.fence.task);
        s.settle(&claimed, verdict);
        assert_eq!(s.end(claimed.fence.task), EndState::Ended(end));
    }
}

#[test]
fn a_request_outlives_the_death_of_the_holder() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    request(&s, claimed.fence.task);
    s.rescue_after_death();
    assert!(is_cancelled(&s, claimed.fence.task), "alone");

    s.enqueue(task());
    s.enqueue(task());
    let claimed = s.ask(A).tasks();
    request(&s, claimed[0].fence.task);
    s.settle(&claimed[0], Verdict::Interrupt);
    s.rescue_after_death();
    assert!(is_cancelled(&s, claimed[0].fence.task), "interrupted, and in company");
    assert_eq!(s.state(claimed[1].fence.task), TaskState::Queued);
    s.rescue(C);
}

#[test]
fn requests_are_answered_in_order() {
    let s = Setup::new();
    let active = s.active(A, task()).fence.task;
    let queued = s.enqueue(task());
    let unknown = TaskId::from_u128(u128::MAX);
    let replies = done(s.store.cancel(&[unknown, queued, active, queued]));
    let expected = [
        CancelReply::Unknown,
        CancelReply::Cancelled,
        CancelReply::Requested,
        CancelReply::AlreadyEnded,
    ];
    assert_eq!(replies, expected);
}

#[test]
fn an_attempt_that_is_not_made_again_is_not_counted_as_if() {
    for verdict in [retry(secs(9)), snooze(secs(9)), hand_back()] {
        let s = Setup::new();
        let claimed = s.active(A, task());
        request(&s, claimed.fence.task);
        s.settle(&claimed, verdict.clone());
        let counts = s.counts();
        let again = (counts.retried, counts.snoozed, counts.returned);
        assert_eq!((again, counts.cancelled), ((0, 0, 0), 1), "{verdict:?}");
        let errors = u32::from(verdict == retry(secs(9)));
        assert_eq!(s.info(claimed.fence.task).budgets.errors, errors, "what it cost stays");
    }
}

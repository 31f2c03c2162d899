//! Attempts: how each that did not end its task ended, who held it and when; and who ended it.

use conveyor_core::store::{AttemptEnd, Claimed, PAST_ATTEMPTS, PastAttempt, TaskInfo, Verdict};
use conveyor_core::{Incarnation, TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, CRASH_BUDGET, Setup};
use crate::store_suite::task::task;
use crate::store_suite::verdict::{
    cancel, fail, give_back, hand_back, park, retry, retry_after, snooze, snooze_for,
};

type Told = (u64, Incarnation, AttemptEnd);

/// The attempts of a task, without their times.
fn attempts(s: &Setup, id: TaskId) -> Vec<Told> {
    let told = |attempt: PastAttempt| (attempt.epoch, attempt.by, attempt.ended);
    s.info(id).attempts.into_iter().map(told).collect()
}

fn failed() -> AttemptEnd {
    AttemptEnd::Failed("no luck".into())
}

fn parked() -> AttemptEnd {
    AttemptEnd::Parked("no sense".into())
}

/// Lets the process die that holds a task of these.
fn die(s: &Setup, held: &[Claimed]) {
    let rescued = s.rescue_after_death().rescued;
    assert_eq!(rescued.len(), held.len(), "all that the dead process held");
}

pub fn each_verdict_that_ends_no_task_leaves_its_attempt(suite: &Suite) {
    let s = suite.open();
    let table = [
        (Verdict::Succeed, None),
        (fail(), None),
        (cancel(), None),
        (retry(), Some(failed())),
        (retry_after(s.ticks(100_000)), Some(failed())),
        (snooze(), Some(AttemptEnd::Snoozed)),
        (snooze_for(s.ticks(100_000)), Some(AttemptEnd::Snoozed)),
        (hand_back(), Some(AttemptEnd::Returned)),
        (give_back(), None),
        (park(), Some(parked())),
    ];
    for (verdict, ended) in table {
        let claimed = s.active(A, task());
        let id = claimed.fence.task;
        assert_eq!(attempts(&s, id), [], "{verdict:?}: none is over yet");
        s.settle(&claimed, verdict.clone());
        let expected: Vec<Told> = ended.into_iter().map(|ended| (1, A, ended)).collect();
        assert_eq!(attempts(&s, id), expected, "{verdict:?}");
        s.cancel(id);
        assert_eq!(attempts(&s, id), expected, "{verdict:?}: also after the end");
    }
}

pub fn an_attempt_is_dated_by_the_stores_clock(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.advance(3);
    s.check_time(
        || {
            s.settle(&claimed, retry());
            s.info(claimed.fence.task)
        },
        |now| now,
        |info| info.attempts[0].at,
    );
    let again = s.claim_one(A);
    let first = s.info(again.fence.task).attempts;
    s.advance(3);
    s.settle(&again, snooze());
    let both = s.info(again.fence.task).attempts;
    assert_eq!(both[0], first[0], "what is over stays as it was");
    assert!(both[1].at >= first[0].at + s.ticks(3), "{both:?}");
}

pub fn attempts_are_told_in_order_with_epoch_and_holder(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task());
    s.settle(&s.claim_one(A), retry());
    s.settle(&s.claim_one(B), give_back());
    s.settle(&s.claim_one(B), snooze());
    s.settle(&s.claim_one(A), hand_back());
    s.settle(&s.claim_one(B), park());
    let expected = [
        (1, A, failed()),
        (3, B, AttemptEnd::Snoozed),
        (4, A, AttemptEnd::Returned),
        (5, B, parked()),
    ];
    assert_eq!(attempts(&s, id), expected);
}

pub fn each_rescue_that_ends_no_task_leaves_its_attempt(suite: &Suite) {
    let s = suite.watched();
    let both = s.several(2);
    die(&s, &both);
    let [first, second] = [both[0].fence.task, both[1].fence.task];
    assert_eq!(attempts(&s, first), [(1, A, AttemptEnd::Suspected)]);
    assert_eq!(attempts(&s, second), [(1, A, AttemptEnd::Suspected)]);
    let alone = s.claim_suspect(B);
    die(&s, std::slice::from_ref(&alone));
    let expected = [(1, A, AttemptEnd::Suspected), (2, B, AttemptEnd::Crashed)];
    assert_eq!(attempts(&s, alone.fence.task), expected);
    let interrupted = s.claim_suspect(A);
    s.settle(&interrupted, Verdict::Interrupt);
    let before = attempts(&s, interrupted.fence.task).len();
    die(&s, std::slice::from_ref(&interrupted));
    let told = attempts(&s, interrupted.fence.task);
    assert_eq!(told.len(), before + 1);
    assert_eq!(
        told.last(),
        Some(&(interrupted.fence.epoch, A, AttemptEnd::Interrupted)),
        "the mark alone is no end, the rescue is"
    );
}

pub fn a_rescue_dates_the_attempt_that_it_takes_back(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    let lease_ends = s.now() + s.lease();
    die(&s, std::slice::from_ref(&claimed));
    let at = s.info(claimed.fence.task).attempts[0].at;
    assert!((lease_ends..=s.now()).contains(&at), "{at} is no time of a rescue");
}

pub fn an_interrupted_attempt_that_returns_after_all_is_what_it_says(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    s.settle(&claimed, retry());
    assert_eq!(attempts(&s, claimed.fence.task), [(1, A, failed())]);
}

pub fn no_more_than_the_last_sixteen_attempts_are_kept(suite: &Suite) {
    assert_eq!(PAST_ATTEMPTS, 16);
    let s = suite.open();
    let id = s.enqueue(task());
    for made in 1..=20_u64 {
        let verdict = if made % 2 == 0 { retry() } else { snooze() };
        s.settle(&s.claim_one(A), verdict);
        let of = |epoch| (epoch, A, if epoch % 2 == 0 { failed() } else { AttemptEnd::Snoozed });
        let first = made.saturating_sub(16) + 1;
        assert_eq!(attempts(&s, id), (first..=made).map(of).collect::<Vec<_>>());
    }
    assert_eq!(s.info(id).epoch, 20);
}

pub fn what_changes_nothing_leaves_no_attempt(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let id = claimed.fence.task;
    let mut stranger = claimed.clone();
    stranger.fence.incarnation = B;
    s.settle(&stranger, retry());
    assert_eq!(attempts(&s, id), [], "fenced");
    s.settle(&claimed, retry());
    s.settle(&claimed, snooze());
    assert_eq!(attempts(&s, id), [(1, A, failed())], "a repeat");
}

pub fn a_request_that_turns_a_verdict_into_an_end_leaves_no_attempt(suite: &Suite) {
    let s = suite.open();
    for verdict in [retry(), snooze(), hand_back(), park()] {
        let claimed = s.active(A, task());
        let id = claimed.fence.task;
        s.cancel(id);
        s.settle(&claimed, verdict.clone());
        let TaskInfo { attempts, ended_by, state, .. } = s.info(id);
        assert_eq!((attempts, ended_by, state), (vec![], Some(A), TaskState::Ended), "{verdict:?}");
    }
}

pub fn who_held_a_task_when_it_ended_is_told(suite: &Suite) {
    let s = suite.watched();
    for verdict in [Verdict::Succeed, fail(), cancel()] {
        let claimed = s.active(A, task());
        let id = claimed.fence.task;
        assert_eq!(s.info(id).ended_by, None, "{verdict:?}: it has not ended");
        s.settle(&claimed, verdict.clone());
        let TaskInfo { attempts, ended_by, holder, .. } = s.info(id);
        assert_eq!((attempts, ended_by, holder), (vec![], Some(A), None), "{verdict:?}");
    }
    let once = s.active(B, task());
    s.settle(&once, retry());
    assert_eq!(s.info(once.fence.task).ended_by, None);
    s.cancel(once.fence.task);
    assert_eq!(s.info(once.fence.task).ended_by, None, "nobody held it then");
    let never = s.enqueue(task());
    s.cancel(never);
    assert_eq!(s.info(never).ended_by, None);
}

pub fn who_held_a_task_that_a_rescue_ended_is_told(suite: &Suite) {
    let s = suite.watched();
    let mut claimed = s.active(A, task());
    let id = claimed.fence.task;
    for crash in 1..=CRASH_BUDGET {
        die(&s, std::slice::from_ref(&claimed));
        if crash < CRASH_BUDGET {
            claimed = s.claim_suspect(if crash % 2 == 0 { A } else { B });
        }
    }
    let last = if CRASH_BUDGET.is_multiple_of(2) { B } else { A };
    assert_eq!(s.info(id).ended_by, Some(last));
    assert_eq!(attempts(&s, id).len() as u32, CRASH_BUDGET - 1, "the last is no past one");
    let cancelled = s.active(A, task());
    s.cancel(cancelled.fence.task);
    die(&s, std::slice::from_ref(&cancelled));
    let info = s.info(cancelled.fence.task);
    assert_eq!((info.attempts, info.ended_by), (vec![], Some(A)));
}

pub fn attempts_go_with_their_task(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.settle(&claimed, retry());
    s.settle(&s.claim_one(A), Verdict::Succeed);
    let next = s.active(A, task());
    s.settle(&next, snooze());
    assert_eq!(attempts(&s, next.fence.task), [(1, A, AttemptEnd::Snoozed)], "its own alone");
}

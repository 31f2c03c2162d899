//! The fence: what does not hold the task changes nothing, not even a number.

use conveyor_core::store::{Claimed, Renewed, Settled, Verdict};
use conveyor_core::{Fence, Incarnation, TaskId};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, C, Setup};
use crate::store_suite::task::task;
use crate::store_suite::verdict::{every_verdict, give_back, settle};

/// Settles with that fence must be refused: with a child and marks, so that any of them taking
/// effect shows.
fn is_refused(s: &Setup, claimed: &Claimed, fence: Fence, why: &str) {
    for verdict in every_verdict() {
        let what = format!("{why}: {verdict:?}");
        let mut stale = settle(claimed, verdict);
        stale.fence = fence;
        stale.children = vec![task()];
        (stale.panicked, stale.timed_out) = (true, true);
        let settled = s.is_unchanged(&what, || s.settle_as(stale));
        assert_eq!(settled, Settled::Fenced, "{what}");
    }
}

pub fn a_settle_whose_fence_is_not_current_changes_nothing(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let fence = claimed.fence;
    is_refused(&s, &claimed, Fence { epoch: 0, ..fence }, "an epoch before");
    is_refused(&s, &claimed, Fence { epoch: 2, ..fence }, "an epoch to come");
    is_refused(&s, &claimed, Fence { incarnation: B, ..fence }, "another process");
    is_refused(&s, &claimed, Fence { incarnation: Incarnation::new(0), ..fence }, "nobody");
    let unknown = TaskId::from_u128(u128::MAX);
    is_refused(&s, &claimed, Fence { task: unknown, ..fence }, "an unknown task");
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied, "and the holder's is good");
}

pub fn a_settle_of_a_task_that_was_never_claimed_changes_nothing(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let id = s.enqueue(task());
    for (epoch, incarnation) in [(0, A), (1, A), (0, Incarnation::new(0))] {
        is_refused(&s, &claimed, Fence { task: id, epoch, incarnation }, "never claimed");
    }
}

pub fn a_settle_after_the_next_claim_changes_nothing(suite: &Suite) {
    for by in [A, B] {
        let s = suite.open();
        let first = s.active(A, task());
        s.settle(&first, give_back());
        let second = s.claim_one(by);
        is_refused(&s, &first, first.fence, "an epoch before");
        assert_eq!(s.settle(&second, Verdict::Succeed), Settled::Applied);
        is_refused(&s, &first, first.fence, "ended by the next attempt");
    }
}

pub fn a_settle_after_a_rescue_changes_nothing(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    s.rescue_after_death();
    is_refused(&s, &claimed, claimed.fence, "taken back");
    s.claim_suspect(B);
    is_refused(&s, &claimed, claimed.fence, "claimed by another");
}

pub fn a_settle_of_a_task_that_crashed_changes_nothing(suite: &Suite) {
    let s = suite.watched();
    let mut claimed = s.active(A, task());
    for _ in 0..2 {
        s.rescue_after_death();
        claimed = s.claim_suspect(A);
    }
    s.rescue_after_death();
    is_refused(&s, &claimed, claimed.fence, "ended as crashed");
}

pub fn a_renewal_whose_fence_is_not_current_changes_nothing(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    let current = claimed.fence;
    s.watch(1);
    let before = s.rescue(C).next;
    s.advance(1);
    for (by, fence) in [
        (A, Fence { epoch: 0, ..current }),
        (A, Fence { epoch: 2, ..current }),
        (A, Fence { incarnation: B, ..current }),
        (B, current),
        (B, Fence { incarnation: B, ..current }),
        (A, Fence { task: TaskId::from_u128(u128::MAX), ..current }),
    ] {
        let what = format!("{by} renews {fence:?}");
        let renewed = s.is_unchanged(&what, || s.renew(by, fence));
        assert_eq!(renewed, Renewed::Lost, "{what}");
    }
    assert_eq!(s.rescue(C).next, before, "and nothing was extended");
}

pub fn a_renewal_after_the_settle_is_lost(suite: &Suite) {
    let s = suite.open();
    for verdict in every_verdict() {
        let claimed = s.active(A, task());
        s.settle(&claimed, verdict.clone());
        let what = format!("a renewal after {verdict:?}");
        let renewed = s.is_unchanged(&what, || s.renew(A, claimed.fence));
        assert_eq!(renewed, Renewed::Lost, "{what}");
        if verdict == Verdict::Interrupt {
            s.settle(&claimed, Verdict::Succeed);
        } else {
            s.cancel(claimed.fence.task);
        }
    }
}

pub fn a_renewal_after_a_rescue_or_another_claim_is_lost(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    s.rescue_after_death();
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    let again = s.claim_suspect(A);
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    assert_eq!(s.renew(A, again.fence), Renewed::Held { cancel: false });
}

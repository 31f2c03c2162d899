//! Renew: a lease is extended by its current fence, and by no other.

use conveyor_core::store::{Renewed, Settled, Verdict};
use conveyor_core::{Fence, TaskId};

use crate::setup::{A, B, C, LEASE, Setup, TICK, done, every_verdict, hand_back, task};

const HELD: Renewed = Renewed::Held { cancel: false };

#[test]
fn a_renewal_holds_the_lease_for_another_term() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    for _ in 0..4 {
        s.watch_until(LEASE);
        assert_eq!(s.renew(A, claimed.fence), HELD);
        assert_eq!(s.rescue(B).rescued, []);
    }
    let rescue = s.rescue(B);
    assert_eq!(rescue.next, Some(s.now() + LEASE));
    s.watch_until(LEASE);
    assert_eq!(s.rescue(B).rescued.len(), 1);
}

#[test]
fn a_renewal_whose_fence_is_current_succeeds_also_after_the_lease_ran_out() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.advance(LEASE + LEASE / 2);
    assert_eq!(s.renew(A, claimed.fence), HELD);
    assert_eq!(s.rescue(B).rescued, []);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

#[test]
fn a_renewal_whose_fence_is_not_current_is_lost() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    let current = claimed.fence;
    let before = s.rescue(C).next;
    s.advance(TICK);
    for (by, fence) in [
        (A, Fence { epoch: 2, ..current }),
        (A, Fence { incarnation: B, ..current }),
        (B, current),
        (B, Fence { incarnation: B, ..current }),
        (A, Fence { task: TaskId::from_u128(u128::MAX), ..current }),
    ] {
        assert_eq!(s.renew(by, fence), Renewed::Lost, "{by} {fence:?}");
    }
    assert_eq!(s.rescue(C).next, before, "and nothing was extended");
}

#[test]
fn a_renewal_after_the_settle_is_lost() {
    for verdict in every_verdict() {
        let s = Setup::new();
        let claimed = s.active(A, task());
        s.settle(&claimed, verdict.clone());
        assert_eq!(s.renew(A, claimed.fence), Renewed::Lost, "{verdict:?}");
    }
}

#[test]
fn a_renewal_after_a_rescue_or_another_claim_is_lost() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.rescue_after_death();
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    let again = s.claim_suspect(A);
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    assert_eq!(s.renew(A, again.fence), HELD);
}

#[test]
fn an_interrupted_lease_is_not_renewed_and_runs_out() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    s.watch_for(LEASE / 2);
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    s.advance(LEASE / 2);
    assert_eq!(s.rescue(C).rescued.len(), 1);
}

#[test]
fn renewals_are_answered_in_order_and_tell_of_a_cancel() {
    let s = Setup::new();
    for _ in 0..3 {
        s.enqueue(task());
    }
    let claimed = s.ask(A).tasks();
    let fences: Vec<Fence> = claimed.iter().map(|claimed| claimed.fence).collect();
    done(s.store.cancel(&[fences[1].task]));
    s.settle(&claimed[2], hand_back());
    let replies = done(s.store.renew(A, &fences, LEASE));
    assert_eq!(replies, [HELD, Renewed::Held { cancel: true }, Renewed::Lost]);
}

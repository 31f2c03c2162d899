//! Renew: a lease holds for another term, and its holder hears what it must know.

use conveyor_core::Fence;
use conveyor_core::store::{Renewed, Settled, Verdict};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, C, LEASE};
use crate::store_suite::task::task;
use crate::store_suite::verdict::give_back;

const HELD: Renewed = Renewed::Held { cancel: false };

pub fn a_renewal_holds_the_lease_for_another_term(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    for _ in 0..4 {
        s.watch_until(LEASE - 1);
        assert_eq!(s.rescue(B).rescued, []);
        assert_eq!(s.renew(A, claimed.fence), HELD);
    }
    s.watch_until(LEASE - 1);
    assert_eq!(s.rescue(B).rescued, []);
    s.advance(1);
    assert_eq!(s.rescue(B).rescued.len(), 1);
}

pub fn a_renewal_is_good_also_after_the_lease_ran_out(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.advance(LEASE * 3);
    assert_eq!(s.renew(A, claimed.fence), HELD);
    s.rescue(B);
    s.watch_until(LEASE - 1);
    assert_eq!(s.rescue(B).rescued, []);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

pub fn an_interrupted_lease_is_not_renewed_and_runs_out(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    s.watch(LEASE / 2);
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    s.advance(LEASE / 2);
    assert_eq!(s.rescue(C).rescued.len(), 1);
}

pub fn renewals_are_answered_in_order_and_tell_of_a_cancel(suite: &Suite) {
    let s = suite.open();
    let claimed = s.several(4);
    let mut fences: Vec<Fence> = claimed.iter().map(|claimed| claimed.fence).collect();
    s.cancel(fences[1].task);
    s.settle(&claimed[2], give_back());
    fences.reverse();
    let told = Renewed::Held { cancel: true };
    assert_eq!(s.renew_all(A, &fences), [HELD, Renewed::Lost, told, HELD]);
}

pub fn many_leases_are_renewed_at_once(suite: &Suite) {
    let s = suite.watched();
    let fences: Vec<Fence> = s.several(2_000).iter().map(|claimed| claimed.fence).collect();
    s.watch_until(LEASE - 1);
    assert!(s.renew_all(A, &fences).iter().all(|renewed| *renewed == HELD));
    s.watch_until(LEASE - 1);
    assert_eq!(s.rescue(B).rescued, []);
}

//! The key: held as long as its task is live, and free in the very step that ends it.

use conveyor_core::TaskState;
use conveyor_core::store::{Enqueued, RescuedAs, Settled, Verdict};

use crate::setup::{
    A, B, Set, Setup, cancel, done, fail, hand_back, park, retry, secs, settle, snooze, task,
};

fn is_held(s: &Setup) -> bool {
    let before = s.counts().enqueued;
    match s.offer(task().key("k")) {
        Enqueued::Duplicate(_) => true,
        Enqueued::Accepted => {
            assert_eq!(s.counts().enqueued, before + 1);
            false
        }
        reply @ Enqueued::Full { .. } => panic!("{reply:?}"),
    }
}

#[test]
fn a_key_is_held_through_delay_and_claim() {
    let s = Setup::new();
    s.enqueue(task().key("k").delay(secs(5)));
    assert!(is_held(&s), "scheduled");
    s.advance(secs(5));
    assert!(is_held(&s), "due");
    s.promote(1);
    assert!(is_held(&s), "queued");
    s.claim_one(A);
    assert!(is_held(&s), "active");
    s.advance(secs(3600));
    assert!(is_held(&s), "its lease ran out");
}

#[test]
fn a_key_is_held_through_retry_snooze_return_and_park() {
    for verdict in
        [retry(secs(0)), retry(secs(9)), snooze(secs(9)), hand_back(), Verdict::Interrupt, park()]
    {
        let s = Setup::new();
        let claimed = s.active(A, task().key("k"));
        assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Applied);
        assert!(is_held(&s), "{verdict:?}");
    }
}

#[test]
fn a_key_is_held_through_crashes_until_the_last() {
    let s = Setup::watched();
    s.enqueue(task().key("k"));
    s.claim_one(A);
    for expected in [RescuedAs::Charged, RescuedAs::Charged, RescuedAs::Crashed] {
        assert!(is_held(&s));
        let rescued = s.rescue_after_death().rescued;
        assert_eq!(rescued[0].rescued_as, expected);
        if expected == RescuedAs::Charged {
            s.claim_suspect(B);
        }
    }
    assert!(!is_held(&s));
}

#[test]
fn a_key_is_held_through_anothers_crash_and_an_interruption() {
    let s = Setup::watched();
    s.enqueue(task().key("k"));
    s.enqueue(task());
    assert_eq!(s.ask(A).ids().len(), 2);
    assert_eq!(s.rescue_after_death().rescued.len(), 2);
    assert!(is_held(&s), "a suspect");
    let suspect = s.claim_suspect(B);
    s.settle(&suspect, Verdict::Interrupt);
    assert_eq!(s.rescue_after_death().rescued[0].rescued_as, RescuedAs::Interrupted);
    assert!(is_held(&s), "interrupted");
}

#[test]
fn a_key_is_free_when_a_verdict_ends_the_task() {
    for verdict in [Verdict::Succeed, fail(), cancel()] {
        let s = Setup::new();
        let claimed = s.active(A, task().key("k"));
        s.settle(&claimed, verdict.clone());
        assert!(!is_held(&s), "{verdict:?}");
        assert!(is_held(&s), "{verdict:?}: by the next one");
    }
}

#[test]
fn a_key_is_free_when_a_request_ends_the_task() {
    let queued = |s: &Setup| s.enqueue(task().key("k"));
    let scheduled = |s: &Setup| s.enqueue(task().key("k").delay(secs(5)));
    let parked = |s: &Setup| {
        let claimed = s.active(A, task().key("k"));
        s.settle(&claimed, park());
        claimed.fence.task
    };
    for prepare in [&queued as &dyn Fn(&Setup) -> _, &scheduled, &parked] {
        let s = Setup::new();
        let id = prepare(&s);
        done(s.store.cancel(&[id]));
        assert_eq!(s.state(id), TaskState::Ended);
        assert!(!is_held(&s));
    }
}

#[test]
fn a_key_of_a_running_task_is_held_until_its_cancelled_attempt_returns() {
    for verdict in [retry(secs(9)), snooze(secs(9)), hand_back(), park(), Verdict::Succeed] {
        let s = Setup::new();
        let claimed = s.active(A, task().key("k"));
        done(s.store.cancel(&[claimed.fence.task]));
        assert!(is_held(&s), "{verdict:?}: it still runs");
        s.settle(&claimed, verdict.clone());
        assert!(!is_held(&s), "{verdict:?}");
    }
}

#[test]
fn the_end_and_the_release_are_one_step_with_the_children() {
    let s = Setup::new();
    let claimed = s.active(A, task().key("k"));
    let heir = task().key("k");
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = vec![heir.clone()];
    assert_eq!(s.settle_as(end), Settled::Applied);
    assert_eq!(s.state(heir.id), TaskState::Queued);
    assert_eq!(s.counts().duplicates, 0);
}

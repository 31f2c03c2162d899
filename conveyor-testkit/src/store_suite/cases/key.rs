//! The key: held as long as its task is live, and free in the very step that ends it.

use conveyor_core::store::{CancelReply, Enqueued, NewTask, RescuedAs, Settled, Verdict};
use conveyor_core::{Key, TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{
    cancel, every_verdict, fail, hand_back, park, retry, settle, snooze,
};

/// Who holds the key `k` of the kind `work`. If nobody does, the task that asked holds it then.
fn holder(s: &Setup) -> Option<TaskId> {
    match s.offer(task().key("k")) {
        Enqueued::Duplicate(holder) => Some(holder.expect("nobody else is at it")),
        Enqueued::Accepted => None,
        full @ Enqueued::Full { .. } => panic!("{full:?}"),
    }
}

pub fn a_duplicate_is_refused_and_names_the_holder(suite: &Suite) {
    let s = suite.open();
    let live = s.enqueue(task().key("k"));
    for other in
        [task().key("k"), task().key("k").queue("elsewhere"), task().key("k").delay(s.ticks(1))]
    {
        let id = other.id;
        let reply = s.offer(other);
        assert!(matches!(reply, Enqueued::Duplicate(Some(id)) if id == live), "{reply:?}");
        assert_eq!(s.end(id), conveyor_core::store::EndState::Gone, "it is not there");
    }
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (1, 3));
}

pub fn a_key_belongs_to_its_kind_and_no_key_to_nobody(suite: &Suite) {
    let s = suite.open();
    for new in
        [task().key("k"), task().key("k").kind("other"), task().key("another"), task(), task()]
    {
        s.enqueue(new);
    }
    let counts = s.counts();
    assert_eq!((counts.queued, counts.duplicates), (5, 0));
}

pub fn keys_that_look_alike_are_not_the_same(suite: &Suite) {
    let s = suite.open();
    let keys = ["k", "K", "k ", " k", "k%", "k_", "k*", "ｋ", "é", "e\u{301}", "1", "01", "1.0"];
    for key in keys {
        s.enqueue(NewTask { key: Some(Key::from_static(key)), ..task() });
    }
    assert_eq!(s.counts().queued, keys.len() as u64);
}

pub fn a_key_is_held_through_delay_and_claim(suite: &Suite) {
    let s = suite.open();
    let id = Some(s.enqueue(task().key("k").delay(s.ticks(5))));
    assert_eq!(holder(&s), id, "scheduled");
    s.advance(5);
    assert_eq!(holder(&s), id, "due");
    s.promote();
    assert_eq!(holder(&s), id, "queued");
    s.claim_one(A);
    assert_eq!(holder(&s), id, "active");
    s.advance(15);
    assert_eq!(holder(&s), id, "its lease ran out");
}

pub fn a_key_is_held_through_every_verdict_that_is_no_end(suite: &Suite) {
    let s = suite.open();
    for verdict in every_verdict().into_iter().filter(|verdict| !verdict.is_end()) {
        let claimed = s.active(A, task().key("k"));
        assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Applied);
        assert_eq!(holder(&s), Some(claimed.fence.task), "{verdict:?}");
        // Out of the way of the next one.
        if s.cancel(claimed.fence.task) == CancelReply::Requested {
            s.settle(&claimed, Verdict::Succeed);
        }
    }
}

pub fn a_key_is_held_through_crashes_until_the_last(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task().key("k")).fence.task;
    for expected in [RescuedAs::Charged, RescuedAs::Charged, RescuedAs::Crashed] {
        assert_eq!(holder(&s), Some(id));
        assert_eq!(s.rescue_after_death().rescued[0].rescued_as, expected);
        if expected == RescuedAs::Charged {
            s.claim_suspect(B);
        }
    }
    assert_eq!(holder(&s), None);
}

pub fn a_key_is_held_through_anothers_crash_and_an_interruption(suite: &Suite) {
    let s = suite.watched();
    let id = s.enqueue(task().key("k"));
    s.enqueue(task());
    assert_eq!(s.ask(A).ids().len(), 2);
    assert_eq!(s.rescue_after_death().rescued.len(), 2);
    assert_eq!(holder(&s), Some(id), "a suspect");
    let suspect = s.claim_suspect(B);
    s.settle(&suspect, Verdict::Interrupt);
    assert_eq!(s.rescue_after_death().rescued[0].rescued_as, RescuedAs::Interrupted);
    assert_eq!(holder(&s), Some(id), "interrupted");
}

pub fn a_key_is_free_when_a_verdict_ends_the_task(suite: &Suite) {
    let s = suite.open();
    let mut claimed = s.active(A, task().key("k"));
    for verdict in [Verdict::Succeed, fail(), cancel()] {
        s.settle(&claimed, verdict.clone());
        assert_eq!(holder(&s), None, "{verdict:?}");
        claimed = s.claim_one(A);
        assert_eq!(holder(&s), Some(claimed.fence.task), "{verdict:?}: the next one has it");
    }
}

pub fn a_key_is_free_when_a_request_ends_the_task(suite: &Suite) {
    let queued = |s: &Setup| s.enqueue(task().key("k"));
    let scheduled = |s: &Setup| s.enqueue(task().key("k").delay(s.ticks(5)));
    let parked = |s: &Setup| {
        let claimed = s.active(A, task().key("k"));
        s.settle(&claimed, park());
        claimed.fence.task
    };
    for prepare in [&queued as &dyn Fn(&Setup) -> TaskId, &scheduled, &parked] {
        let s = suite.open();
        let id = prepare(&s);
        assert_eq!((s.cancel(id), s.state(id)), (CancelReply::Cancelled, TaskState::Ended));
        assert_eq!(holder(&s), None);
    }
}

pub fn a_key_of_a_running_task_is_held_until_its_cancelled_attempt_returns(suite: &Suite) {
    for verdict in [retry(), snooze(), hand_back(), park(), Verdict::Succeed] {
        let s = suite.open();
        let claimed = s.active(A, task().key("k"));
        s.cancel(claimed.fence.task);
        assert_eq!(holder(&s), Some(claimed.fence.task), "{verdict:?}: it still runs");
        s.settle(&claimed, verdict.clone());
        assert_eq!(holder(&s), None, "{verdict:?}");
    }
}

pub fn the_end_and_the_release_are_one_step_with_the_children(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task().key("k"));
    let heir = task().key("k");
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = vec![heir.clone()];
    assert_eq!(s.settle_as(end), Settled::Applied);
    assert_eq!((s.state(heir.id), s.counts().duplicates), (TaskState::Queued, 0));
    assert_eq!(holder(&s), Some(heir.id));
}

pub fn a_key_is_one_for_all_processes(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let id = s.enqueue(task().key("k"));
    assert_eq!(holder(&other), Some(id));
    let claimed = other.claim_one(B);
    other.settle(&claimed, Verdict::Succeed);
    assert_eq!(holder(&s), None);
}

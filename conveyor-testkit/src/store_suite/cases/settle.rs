//! Settle: how an attempt ended takes effect, once.

use conveyor_core::metrics::Counts;
use conveyor_core::store::{EndState, Settle, Settled, Verdict};
use conveyor_core::{End, Fence, TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{
    cancel, every_verdict, fail, give_back, hand_back, park, retry, retry_after, settle, snooze,
    snooze_for,
};

pub fn each_verdict_does_what_it_says(suite: &Suite) {
    let s = suite.open();
    let delay = s.ticks(5);
    let table = [
        (Verdict::Succeed, TaskState::Ended, Some(End::Succeeded)),
        (fail(), TaskState::Ended, Some(End::Failed("no hope".into()))),
        (cancel(), TaskState::Ended, Some(End::Cancelled("no point".into()))),
        (retry_after(delay), TaskState::Scheduled, None),
        (snooze_for(delay), TaskState::Scheduled, None),
        (Verdict::Interrupt, TaskState::Active, None),
        (park(), TaskState::Parked, None),
        (hand_back(), TaskState::Queued, None),
        (give_back(), TaskState::Queued, None),
        (snooze(), TaskState::Queued, None),
        (retry(), TaskState::Queued, None),
    ];
    for (verdict, state, end) in table {
        let claimed = s.active(A, task());
        let id = claimed.fence.task;
        assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Applied, "{verdict:?}");
        let info = s.info(id);
        assert_eq!((info.state, &info.end), (state, &end), "{verdict:?}");
        let holder = (state == TaskState::Active).then_some(A);
        assert_eq!((info.holder, info.epoch), (holder, 1), "{verdict:?}");
        assert_eq!(s.end(id), end.map_or(EndState::Live, EndState::Ended), "{verdict:?}");
        if state == TaskState::Queued {
            s.cancel(id);
        }
        s.counts();
    }
}

pub fn why_it_failed_or_is_parked_is_kept(suite: &Suite) {
    let s = suite.open();
    let failed = s.active(A, task());
    s.settle(&failed, retry_after(s.ticks(5)));
    assert_eq!(s.info(failed.fence.task).note.as_deref(), Some("no luck"));
    let parked = s.active(A, task());
    s.settle(&parked, park());
    assert_eq!(s.info(parked.fence.task).note.as_deref(), Some("no sense"));
}

pub fn each_verdict_is_counted_as_what_it_was(suite: &Suite) {
    let s = suite.open();
    let mut before = Counts::default();
    for verdict in every_verdict() {
        let claimed = s.active(A, task());
        let mut as_said = settle(&claimed, verdict.clone());
        (as_said.panicked, as_said.timed_out) = (true, true);
        s.settle_as(as_said);
        let now = s.counts();
        let rose = [
            now.processed - before.processed,
            now.failed - before.failed,
            now.cancelled - before.cancelled,
            now.retried - before.retried,
            now.snoozed - before.snoozed,
            now.returned - before.returned,
            now.panicked - before.panicked,
            now.timed_out - before.timed_out,
            now.crashed - before.crashed,
        ];
        let is = |counted: bool| u64::from(counted);
        let expected = [
            is(verdict == Verdict::Succeed),
            is(verdict == fail()),
            is(verdict == cancel()),
            is(matches!(verdict, Verdict::Retry { .. })),
            is(matches!(verdict, Verdict::Snooze { .. })),
            is(verdict == hand_back()),
            1,
            1,
            0,
        ];
        assert_eq!(rose, expected, "{verdict:?}");
        s.cancel(claimed.fence.task);
        before = s.counts();
    }
}

pub fn a_settle_that_is_sent_again_is_answered_already_and_changes_nothing(suite: &Suite) {
    let s = suite.open();
    for verdict in every_verdict() {
        let claimed = s.active(A, task().key("k"));
        let mut once = settle(&claimed, verdict.clone());
        (once.panicked, once.timed_out) = (true, true);
        if verdict.is_end() {
            once.children = vec![task().kind("child")];
        }
        assert_eq!(s.settle_as(once.clone()), Settled::Applied, "{verdict:?}");
        let what = format!("{verdict:?} again");
        for _ in 0..2 {
            let again = s.is_unchanged(&what, || s.settle_as(once.clone()));
            assert_eq!(again, Settled::Already, "{what}");
        }
        if verdict == Verdict::Interrupt {
            s.settle(&claimed, Verdict::Succeed);
        } else {
            s.cancel(claimed.fence.task);
        }
    }
}

pub fn a_settle_is_a_repeat_also_after_the_task_moved_on(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let verdict = retry_after(s.ticks(1));
    s.settle(&claimed, verdict.clone());
    s.advance(1);
    s.promote();
    assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Already, "promoted");
    s.cancel(claimed.fence.task);
    assert_eq!(s.settle(&claimed, verdict), Settled::Already, "cancelled");
}

pub fn a_batch_is_settled_in_order_each_element_for_itself(suite: &Suite) {
    let s = suite.open();
    let claimed = s.several(3);
    let stranger = Fence { incarnation: B, ..claimed[1].fence };
    let batch = vec![
        settle(&claimed[0], Verdict::Succeed),
        settle(&claimed[0], Verdict::Succeed),
        Settle { fence: stranger, ..settle(&claimed[1], Verdict::Succeed) },
        settle(&claimed[1], fail()),
        settle(&claimed[2], retry_after(s.ticks(5))),
    ];
    let expected =
        [Settled::Applied, Settled::Already, Settled::Fenced, Settled::Applied, Settled::Applied];
    assert_eq!(s.settle_all(batch), expected);
    let states = claimed.iter().map(|claimed| s.state(claimed.fence.task));
    let expected = [TaskState::Ended, TaskState::Ended, TaskState::Scheduled];
    assert_eq!(states.collect::<Vec<_>>(), expected);
}

pub fn a_batch_of_settles_may_be_large(suite: &Suite) {
    let s = suite.open();
    let batch = s.several(2_000).iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
    assert!(s.settle_all(batch).iter().all(|settled| *settled == Settled::Applied));
    assert_eq!(s.counts().processed, 2_000);
}

pub fn a_settle_is_good_after_the_lease_ran_out_while_nobody_took_the_task(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.advance(15);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

pub fn an_interrupted_attempt_that_returns_after_all_is_settled(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
    assert_eq!(s.end(claimed.fence.task), EndState::Ended(End::Succeeded));
}

pub fn a_parked_task_is_not_given_out_and_is_seen(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.settle(&claimed, park());
    s.advance(15);
    s.promote();
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.ask(B).alone().ids(), []);
    assert_eq!((s.state(claimed.fence.task), s.counts().parked), (TaskState::Parked, 1));
}

pub fn children_come_with_the_settle_but_those_whose_key_is_taken(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    s.enqueue(task().key("taken").priority(conveyor_core::Priority::LOW));
    let (plain, keyed, later) = (task(), task().key("new"), task().delay(s.ticks(5)));
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children =
        vec![plain.clone(), task().key("taken"), keyed.clone(), task().key("new"), later.clone()];
    assert_eq!(s.settle_as(end), Settled::Applied);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (5, 2));
    assert_eq!(s.ask(A).ids()[..2], [plain.id, keyed.id]);
    assert_eq!(s.state(later.id), TaskState::Scheduled);
}

pub fn a_child_that_is_known_is_not_made_again(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    let child = task().kind("child");
    s.enqueue(child.clone());
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = vec![child.clone(), child];
    assert_eq!(s.settle_as(end), Settled::Applied);
    assert_eq!((s.counts().enqueued, s.counts().duplicates), (2, 0));
}

pub fn the_bound_of_a_store_does_not_apply_to_children(suite: &Suite) {
    let s = suite.bounded(1);
    let claimed = s.active(A, task());
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = (0..5).map(|_| task()).collect();
    let children: Vec<TaskId> = end.children.iter().map(|child| child.id).collect();
    s.settle_as(end);
    assert_eq!(s.ask(A).ids(), children);
}

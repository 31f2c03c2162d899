//! Ends: how tasks ended is known for as long as the retention says, and counted for ever.

use conveyor_core::store::{EndState, Settled, Verdict};
use conveyor_core::{End, Retention, TaskId, TaskState};

use crate::store_suite::setup::{A, MANY, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::fail;
use crate::store_suite::{StoreOptions, Suite};

/// How many ticks ends are kept, and half a tick, so that none is just that old.
const KEPT: u32 = 10;

fn keeping(suite: &Suite, count: usize) -> Setup {
    let tick = suite.harness().tick();
    let retention = Retention { count, age: tick * KEPT + tick / 2 };
    suite.open_with(StoreOptions { retention: Some(retention), ..StoreOptions::default() })
}

fn ended(s: &Setup) -> TaskId {
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Succeed);
    claimed.fence.task
}

fn prune(s: &Setup, limit: usize) -> usize {
    let pruned = s.done(s.store.prune(limit));
    assert!(pruned <= limit, "no more than the limit");
    pruned
}

pub fn ends_are_told_in_order(suite: &Suite) {
    let s = suite.open();
    let ok = ended(&s);
    let failed = s.active(A, task());
    s.settle(&failed, fail());
    let live = s.enqueue(task());
    let unknown = TaskId::from_u128(u128::MAX);
    let expected = [
        EndState::Live,
        EndState::Gone,
        EndState::Ended(End::Failed("no hope".into())),
        EndState::Ended(End::Succeeded),
        EndState::Live,
    ];
    assert_eq!(s.ends(&[live, unknown, failed.fence.task, ok, live]), expected);
}

pub fn ends_are_pruned_when_they_are_older_than_the_retention(suite: &Suite) {
    let s = keeping(suite, MANY);
    let old = [ended(&s), ended(&s)];
    s.advance(2);
    let newer = ended(&s);
    let live = s.enqueue(task().delay(s.ticks(3_600)));
    s.advance(KEPT - 2);
    assert_eq!(prune(&s, MANY), 0, "none is older");
    assert_eq!(s.ends(&old), [EndState::Ended(End::Succeeded), EndState::Ended(End::Succeeded)]);
    s.advance(1);
    assert_eq!(prune(&s, 1), 1);
    assert_eq!(s.ends(&old).iter().filter(|end| **end == EndState::Gone).count(), 1);
    assert_eq!(prune(&s, MANY), 1);
    assert_eq!(s.ends(&old), [EndState::Gone, EndState::Gone]);
    assert_eq!(s.end(newer), EndState::Ended(End::Succeeded));
    s.advance(KEPT * 2);
    assert_eq!((prune(&s, MANY), s.end(live)), (1, EndState::Live));
}

pub fn the_age_of_an_end_is_counted_from_the_end(suite: &Suite) {
    let s = keeping(suite, MANY);
    let claimed = s.active(A, task());
    s.advance(KEPT * 2);
    s.settle(&claimed, Verdict::Succeed);
    let cancelled = s.enqueue(task());
    s.advance(KEPT - 1);
    s.cancel(cancelled);
    s.advance(1);
    assert_eq!(prune(&s, MANY), 0);
    s.advance(1);
    assert_eq!(prune(&s, MANY), 1);
    assert_eq!((s.end(claimed.fence.task), s.state(cancelled)), (EndState::Gone, TaskState::Ended));
}

pub fn only_so_many_ends_are_kept_the_newest(suite: &Suite) {
    let s = keeping(suite, 3);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(ended(&s));
        s.advance(1);
    }
    let cancelled = s.enqueue(task());
    s.cancel(cancelled);
    s.advance(1);
    let crashed = s.active(A, task());
    s.settle(&crashed, fail());
    prune(&s, MANY);
    let known = |id: &TaskId| s.end(*id) != EndState::Gone;
    assert_eq!(ids.iter().map(known).collect::<Vec<_>>(), [false, false, false, true]);
    assert!(known(&cancelled) && known(&crashed.fence.task));
}

pub fn what_is_forgotten_stays_counted(suite: &Suite) {
    let s = keeping(suite, MANY);
    for _ in 0..5 {
        ended(&s);
    }
    s.advance(KEPT + 1);
    assert_eq!(prune(&s, MANY), 5);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.processed, counts.live()), (5, 5, 0));
    assert!(s.everything().0.is_empty());
}

pub fn a_forgotten_task_can_be_settled_no_more(suite: &Suite) {
    let s = keeping(suite, MANY);
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Succeed);
    s.advance(KEPT + 1);
    prune(&s, MANY);
    // It may have the place in the store now that the other had.
    let other = s.active(A, task());
    let settled = s.is_unchanged("it is forgotten", || s.settle(&claimed, Verdict::Succeed));
    assert_eq!(settled, Settled::Fenced);
    assert_eq!(s.info(other.fence.task).holder, Some(A));
}

pub fn a_key_outlives_the_end_of_nobody(suite: &Suite) {
    let s = keeping(suite, MANY);
    let claimed = s.active(A, task().key("k"));
    s.settle(&claimed, Verdict::Succeed);
    let heir = s.enqueue(task().key("k"));
    s.advance(KEPT + 1);
    assert_eq!(prune(&s, MANY), 1, "the one before, whose key is the heir's now");
    let reply = s.offer(task().key("k"));
    let holds = matches!(reply, conveyor_core::store::Enqueued::Duplicate(Some(id)) if id == heir);
    assert!(holds, "{reply:?}");
}

//! Ends: how long they are known, by count and by age.

use conveyor_core::store::{EndState, Verdict};
use conveyor_core::{End, Retention, TaskId};

use crate::setup::{A, Options, Set, Setup, TICK, done, fail, secs, task};

fn keeping(count: usize, age: u64) -> Setup {
    let retention = Retention { count, age: secs(age) };
    Setup::with(Options { retention: Some(retention), ..Options::default() })
}

fn ended(s: &Setup) -> TaskId {
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Succeed);
    claimed.fence.task
}

fn prune(s: &Setup, limit: usize) -> usize {
    done(s.store.prune(limit))
}

#[test]
fn ends_are_told_in_order() {
    let s = Setup::new();
    let ok = ended(&s);
    let failed = s.active(A, task());
    s.settle(&failed, fail());
    let live = s.enqueue(task());
    let unknown = TaskId::from_u128(u128::MAX);
    let states = done(s.store.ends(&[live, unknown, failed.fence.task, ok]));
    let expected = [
        EndState::Live,
        EndState::Gone,
        EndState::Ended(End::Failed("no hope".into())),
        EndState::Ended(End::Succeeded),
    ];
    assert_eq!(states, expected);
}

#[test]
fn only_so_many_ends_are_kept_the_newest() {
    let s = keeping(3, 3600);
    let ids: Vec<TaskId> = (0..5).map(|_| ended(&s)).collect();
    let cancelled = s.enqueue(task());
    done(s.store.cancel(&[cancelled]));
    let gone = ids.iter().filter(|&&id| s.end(id) == EndState::Gone).count();
    assert_eq!(gone, 3);
    assert_eq!(s.end(ids[3]), EndState::Ended(End::Succeeded));
    let counts = done(s.store.counters()).total();
    assert_eq!(counts.ended(), 6, "what is forgotten stays counted");
}

#[test]
fn only_so_many_ends_of_crashed_tasks_are_kept() {
    let s = keeping(3, 3600);
    s.keep_watch();
    for _ in 0..5 {
        let id = s.active(A, task()).fence.task;
        done(s.store.cancel(&[id]));
        assert_eq!(s.rescue_after_death().rescued.len(), 1);
    }
    assert_eq!(s.everything().0.len(), 3);
}

#[test]
fn ends_are_pruned_when_they_are_older_than_the_retention() {
    let s = keeping(100, 60);
    let old = [ended(&s), ended(&s)];
    s.advance(secs(1));
    let newer = ended(&s);
    let live = s.enqueue(task().delay(secs(3600)));
    s.advance(secs(59));
    assert_eq!(prune(&s, 100), 0, "just as old as the retention is not older");
    s.advance(TICK);
    assert_eq!(prune(&s, 1), 1);
    assert_eq!((s.end(old[0]), prune(&s, 100)), (EndState::Gone, 1));
    assert_eq!(s.end(old[1]), EndState::Gone);
    assert_eq!(s.end(newer), EndState::Ended(End::Succeeded));
    s.advance(secs(3000));
    assert_eq!((prune(&s, 100), s.end(live)), (1, EndState::Live));
}

#[test]
fn a_forgotten_task_can_be_settled_no_more() {
    let s = keeping(0, 60);
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Succeed);
    assert_eq!(s.end(claimed.fence.task), EndState::Gone);
    // Its place in the store is taken by another task, held by the same process.
    let other = s.active(A, task());
    let reply = s.settle(&claimed, Verdict::Succeed);
    assert_eq!(reply, conveyor_core::store::Settled::Fenced);
    assert_eq!(s.info(other.fence.task).holder, Some(A));
}

//! The ageing share: one claim in 16 goes to the oldest claimable task, so that none starves.

use conveyor_core::lanes::AGEING;
use conveyor_core::{Priority, TaskId};

use crate::setup::{A, Set, Setup, hand_back, task};

/// `low` old tasks, then `high` urgent ones.
fn old_and_urgent(s: &Setup, low: usize, high: usize) -> Vec<TaskId> {
    let low = (0..low).map(|_| s.enqueue(task().priority(Priority::LOW))).collect();
    for _ in 0..high {
        s.enqueue(task().priority(Priority::HIGH));
    }
    low
}

/// Which of the claims, counted from 1, took one of `low`.
fn turns(taken: &[TaskId], low: &[TaskId]) -> Vec<usize> {
    (1..).zip(taken).filter(|(_, id)| low.contains(id)).map(|(turn, _)| turn).collect()
}

#[test]
fn every_sixteenth_claim_takes_the_oldest() {
    assert_eq!(AGEING, 16);
    let s = Setup::new();
    let low = old_and_urgent(&s, 3, 100);
    let one_by_one: Vec<TaskId> = (0..24).flat_map(|_| s.ask(A).room(1).ids()).collect();
    let together = s.ask(A).room(40).ids();
    let taken = [one_by_one, together].concat();
    assert_eq!(turns(&taken, &low), [16, 32, 48]);
    assert_eq!(taken[15], low[0], "the oldest of them first");
}

#[test]
fn the_oldest_is_the_oldest_that_is_asked_for() {
    let s = Setup::new();
    s.enqueue(task().kind("unknown").priority(Priority::LOW));
    s.enqueue(task().queue("other").priority(Priority::LOW));
    let low = old_and_urgent(&s, 1, 20);
    assert_eq!(turns(&s.ask(A).ids(), &low)[0], 16);
}

#[test]
fn a_reserved_consumer_takes_no_part() {
    let s = Setup::new();
    let low = old_and_urgent(&s, 1, 100);
    let reserved = s.ask(A).at_least(Priority::HIGH).room(40).ids();
    assert!(turns(&reserved, &low).is_empty());
    let taken = s.ask(A).room(20).ids();
    assert_eq!(turns(&taken, &low), [16], "and uses up no turn of the others");
}

#[test]
fn any_task_starts_within_sixteen_claims_for_each_older_one() {
    let s = Setup::new();
    let low = old_and_urgent(&s, 8, 16 * 8);
    let taken = s.ask(A).room(16 * 8).ids();
    for (older, id) in low.iter().enumerate() {
        let start = taken.iter().position(|taken| taken == id).expect("it starts") + 1;
        assert!(start <= 16 * (older + 1), "{older} are older, and it took {start} claims");
    }
}

#[test]
fn a_task_that_is_handed_back_is_as_old_as_before() {
    let s = Setup::new();
    let low = old_and_urgent(&s, 2, 100);
    let first = s.ask(A).room(16).tasks();
    let oldest = first.last().unwrap();
    assert_eq!(oldest.fence.task, low[0]);
    s.settle(oldest, hand_back());
    assert_eq!(s.ask(A).room(16).ids().last(), Some(&low[0]));
}

#[test]
fn a_claim_that_takes_nothing_uses_up_no_turn() {
    let s = Setup::new();
    s.enqueue(task().kind("unknown"));
    for taken in 0..4 {
        s.enqueue(task());
        assert_eq!(s.ask(A).room(2).ids().len(), 1, "and no other after {taken}");
        assert_eq!(s.ask(A).ids(), []);
    }
    let low = old_and_urgent(&s, 1, 20);
    assert_eq!(turns(&s.ask(A).ids(), &low), [16 - 4]);
}

#[test]
fn queues_without_tasks_take_no_turn_from_the_others() {
    for asked in [["never seen", "q"], ["paused", "q"], ["q", "never seen"]] {
        let s = Setup::new();
        s.pause("paused", true);
        let low = old_and_urgent(&s, 1, 20);
        assert_eq!(turns(&s.ask(A).queues(&asked).ids(), &low), [16], "{asked:?}");
    }
}

#[test]
fn each_queue_has_its_share_however_the_requests_alternate() {
    let s = Setup::new();
    let low = s.enqueue(task().queue("x").priority(Priority::LOW));
    for _ in 0..200 {
        s.enqueue(task().priority(Priority::HIGH));
    }
    for claims in 1.. {
        if s.ask(A).queues(&["q", "x"]).room(1).ids() == [low] {
            break;
        }
        assert!(claims < 16, "the other queue starves");
        assert_eq!(s.ask(A).room(1).ids().len(), 1, "of the one queue alone");
    }
}

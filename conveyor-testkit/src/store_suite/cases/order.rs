//! Order: by priority, then due time, then age; but one claim in 16 goes to the oldest.

use conveyor_core::lanes::AGEING;
use conveyor_core::task::Start;
use conveyor_core::{Priority, TaskId};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{give_back, hand_back, retry, snooze};

pub fn claims_go_by_priority_then_due_time_then_age(suite: &Suite) {
    let s = suite.open();
    let late = s.enqueue(task().delay(s.ticks(2)));
    let soon = s.enqueue(task().delay(s.ticks(1)));
    let normal = [s.enqueue(task()), s.enqueue(task())];
    let low = s.enqueue(task().priority(Priority::LOW));
    let high = s.enqueue(task().priority(Priority::HIGH));
    let odd = s.enqueue(task().priority(Priority::new(1)));
    let past = s.enqueue(task().start(Start::At(s.now() - s.ticks(1))));
    s.advance(2);
    let order = [high, odd, past, normal[0], normal[1], soon, late, low];
    assert_eq!(s.ask(A).ids(), order);
}

pub fn the_age_is_the_order_of_acceptance_not_of_ids(suite: &Suite) {
    let s = suite.open();
    let mut batch: Vec<_> = (0..20).map(|_| task()).collect();
    batch.sort_by_key(|task| std::cmp::Reverse(task.id));
    let mut expected = s.enqueue_all(batch);
    expected.push(s.enqueue(task()));
    expected.extend(s.enqueue_all((0..5).map(|_| task())));
    let one_by_one: Vec<TaskId> = (0..15).flat_map(|_| s.ask(A).room(1).ids()).collect();
    let together = s.ask(A).ids();
    assert_eq!([one_by_one, together].concat(), expected);
}

pub fn kinds_and_queues_do_not_change_the_order(suite: &Suite) {
    let s = suite.open();
    let names = [("q", "a"), ("x", "b"), ("q", "b"), ("x", "a")];
    let new = (0..12).map(|at| names[at % 4]).map(|(queue, kind)| task().queue(queue).kind(kind));
    let all = s.enqueue_all(new);
    let ask = || s.ask(A).queues(&["x", "q"]).kinds(&["b", "a"]);
    assert_eq!([ask().room(5).ids(), ask().ids()].concat(), all);
}

pub fn a_hand_back_keeps_its_place(suite: &Suite) {
    let s = suite.open();
    let all = s.enqueue_all((0..4).map(|_| task()));
    s.advance(1);
    let claimed = s.ask(A).room(2).tasks();
    let later = s.enqueue(task());
    s.settle(&claimed[1], give_back());
    s.settle(&claimed[0], hand_back());
    assert_eq!(s.ask(B).ids(), [&all[..], &[later]].concat());
}

pub fn a_retry_and_a_snooze_go_by_their_new_due_time(suite: &Suite) {
    for verdict in [retry(), snooze()] {
        let s = suite.open();
        let all = s.enqueue_all((0..3).map(|_| task()));
        s.advance(1);
        s.settle(&s.claim_one(A), verdict.clone());
        assert_eq!(s.ask(B).ids(), [all[1], all[2], all[0]], "{verdict:?}");
    }
}

/// So many old tasks, then so many urgent ones.
fn old_and_urgent(s: &Setup, low: usize, high: usize) -> Vec<TaskId> {
    let low = s.enqueue_all((0..low).map(|_| task().priority(Priority::LOW)));
    s.enqueue_all((0..high).map(|_| task().priority(Priority::HIGH)));
    low
}

/// How many of the claims took one of `low`.
fn count(taken: &[TaskId], low: &[TaskId]) -> usize {
    taken.iter().filter(|id| low.contains(id)).count()
}

/// Whether `aged` of so many claims are what one in sixteen means, wherever the count began.
fn is_the_share(aged: usize, claims: usize) -> bool {
    let every = AGEING as usize;
    (claims / every..=claims.div_ceil(every)).contains(&aged)
}

pub fn one_claim_in_sixteen_takes_the_oldest(suite: &Suite) {
    let s = suite.open();
    let low = old_and_urgent(&s, 10, 100);
    let mut taken = Vec::new();
    for room in [[1; 24].as_slice(), &[40], &[7; 4]].concat() {
        taken.extend(s.ask(A).room(room).ids());
        let aged = count(&taken, &low);
        assert!(is_the_share(aged, taken.len()), "{aged} of {}", taken.len());
    }
    let aged: Vec<_> = taken.into_iter().filter(|id| low.contains(id)).collect();
    assert_eq!(aged, low[..aged.len()], "the oldest of them first");
}

pub fn the_share_is_kept_when_several_processes_claim(suite: &Suite) {
    let s = suite.open();
    let low = old_and_urgent(&s, 20, 200);
    let mut taken = Vec::new();
    for _ in 0..32 {
        taken.extend(s.ask(A).room(1).ids());
        taken.extend(s.ask(B).room(3).ids());
    }
    assert_eq!(taken.len(), 128);
    // Whether it is counted for each process or for all of them.
    assert!((6..=10).contains(&count(&taken, &low)), "{} of 128", count(&taken, &low));
}

pub fn any_task_starts_within_sixteen_claims_for_each_older_one(suite: &Suite) {
    let s = suite.open();
    let low = old_and_urgent(&s, 8, 16 * 8);
    let taken: Vec<TaskId> = (0..16 * 8).flat_map(|_| s.ask(A).room(1).ids()).collect();
    for (older, id) in low.iter().enumerate() {
        let start = taken.iter().position(|taken| taken == id).expect("it starts") + 1;
        assert!(start <= 16 * (older + 1), "{older} are older, and it took {start} claims");
    }
}

pub fn the_oldest_is_the_oldest_that_is_asked_for(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task().kind("unknown").priority(Priority::LOW));
    s.enqueue(task().queue("other").priority(Priority::LOW));
    s.pause("paused", true);
    s.enqueue(task().queue("paused").priority(Priority::LOW));
    let low = old_and_urgent(&s, 4, 40);
    let taken = s.ask(A).queues(&["q", "paused", "never seen"]).room(32).ids();
    assert_eq!((taken.len(), count(&taken, &low)), (32, 2));
}

pub fn a_reserved_consumer_takes_no_part_in_ageing(suite: &Suite) {
    let s = suite.open();
    let low = old_and_urgent(&s, 4, 100);
    let reserved = s.ask(A).at_least(Priority::HIGH).room(40).ids();
    assert_eq!((reserved.len(), count(&reserved, &low)), (40, 0));
    let taken = s.ask(A).room(32).ids();
    assert_eq!(count(&taken, &low), 2, "and uses up no turn of the others");
}

pub fn a_task_that_is_handed_back_is_as_old_as_before(suite: &Suite) {
    let s = suite.open();
    let low = old_and_urgent(&s, 2, 100);
    let mut turns = 0;
    while turns < 3 {
        let claimed = s.claim_one(A);
        if claimed.priority == Priority::LOW {
            assert_eq!(claimed.fence.task, low[0]);
            s.settle(&claimed, hand_back());
            turns += 1;
        }
    }
}

pub fn each_queue_has_its_share_however_the_requests_alternate(suite: &Suite) {
    let s = suite.open();
    let low = s.enqueue(task().queue("x").priority(Priority::LOW));
    s.enqueue_all((0..200).map(|_| task().priority(Priority::HIGH)));
    for claims in 1.. {
        if s.ask(A).queues(&["q", "x"]).room(1).ids() == [low] {
            break;
        }
        assert!(claims < 32, "the other queue starves");
        assert_eq!(s.ask(A).room(1).ids().len(), 1, "of the one queue alone");
    }
}

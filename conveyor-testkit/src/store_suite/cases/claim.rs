//! Claim: who asks gets what it has room for, and nobody else has it then.

use conveyor_core::store::{Claimed, Settled, Verdict};
use conveyor_core::{Incarnation, Priority, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, ids};
use crate::store_suite::task::{Set, encoded, task};
use crate::store_suite::verdict::give_back;

pub fn kinds_that_are_not_named_are_left_alone_whatever_their_place(suite: &Suite) {
    let s = suite.open();
    let unknown = s.enqueue(task().kind("unknown").priority(Priority::CRITICAL));
    // More than one turn of the ageing share, which goes to the oldest.
    let known = s.enqueue_all((0..40).map(|_| task()));
    assert_eq!(s.ask(A).kinds(&["never seen", "work"]).ids(), known);
    let info = s.info(unknown);
    assert_eq!((info.state, info.epoch, info.holder), (TaskState::Queued, 0, None));
    assert_eq!(info.budgets, Default::default(), "it costs nothing to wait");
}

pub fn many_tasks_of_an_unknown_kind_hide_nobody(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..3_000).map(|_| task().kind("unknown").priority(Priority::HIGH)));
    s.enqueue_all((0..3_000).map(|_| task().kind("unknown").delay(s.ticks(1))));
    let known = s.enqueue(task().delay(s.ticks(2)));
    s.advance(2);
    assert_eq!(s.ask(A).ids(), [known]);
    assert_eq!(s.counters().kind("unknown").live(), 6_000, "they wait, and are seen");
}

pub fn queues_are_taken_from_as_if_they_were_one(suite: &Suite) {
    let s = suite.open();
    let first = s.enqueue(task().queue("x"));
    let second = s.enqueue(task().queue("y"));
    let other = s.enqueue(task().queue("z"));
    let third = s.enqueue(task().queue("x"));
    let urgent = s.enqueue(task().queue("y").priority(Priority::HIGH));
    let asked = ["y", "x", "never seen"];
    assert_eq!(s.ask(A).queues(&asked).ids(), [urgent, first, second, third]);
    assert_eq!(s.state(other), TaskState::Queued);
}

pub fn who_names_no_queue_or_no_kind_gets_nothing(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task());
    assert_eq!(s.ask(A).queues(&[]).ids(), []);
    assert_eq!(s.ask(A).kinds(&[]).ids(), []);
    assert_eq!(s.counts().queued, 1);
}

pub fn nothing_below_the_least_priority_is_taken(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task());
    let high = s.enqueue(task().priority(Priority::HIGH));
    let critical = s.enqueue(task().priority(Priority::CRITICAL));
    assert_eq!(s.ask(A).at_least(Priority::HIGH).ids(), [critical, high]);
    assert_eq!(s.counts().queued, 1);
}

pub fn no_more_is_taken_than_there_is_room_for(suite: &Suite) {
    let s = suite.open();
    let all = s.enqueue_all((0..5).map(|_| task()));
    assert_eq!(s.ask(A).room(0).ids(), []);
    assert_eq!(s.ask(A).room(2).ids(), all[..2]);
    assert_eq!(s.ask(B).room(9).ids(), all[2..]);
}

pub fn no_more_of_a_kind_is_taken_than_it_has_room_for(suite: &Suite) {
    let s = suite.open();
    let a = s.enqueue_all((0..3).map(|_| task().kind("a")));
    let b = s.enqueue_all((0..3).map(|_| task().kind("b")));
    let taken = s.ask(A).rooms(&[("a", 1), ("b", 2)]).room(9).ids();
    assert_eq!(taken, [a[0], b[0], b[1]]);
    assert_eq!(s.ask(A).rooms(&[("a", 0), ("b", 9)]).ids(), [b[2]]);
    assert_eq!(s.ask(A).rooms(&[("a", 9)]).ids(), a[1..]);
}

pub fn a_kind_without_room_leaves_the_room_to_others(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..3).map(|_| task().kind("a").priority(Priority::HIGH)));
    let b = s.enqueue_all((0..3).map(|_| task().kind("b")));
    let taken = s.ask(A).rooms(&[("a", 1), ("b", 9)]).room(3).ids();
    assert_eq!(taken[1..], b[..2]);
}

pub fn each_claim_of_a_task_has_the_next_epoch(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task());
    for epoch in 1..5 {
        let by = if epoch % 2 == 0 { A } else { B };
        let claimed = s.claim_one(by);
        let fence = claimed.fence;
        assert_eq!((fence.task, fence.epoch, fence.incarnation), (id, epoch, by));
        let info = s.info(id);
        assert_eq!((info.epoch, info.holder, info.state), (epoch, Some(by), TaskState::Active));
        s.settle(&claimed, give_back());
        let info = s.info(id);
        assert_eq!((info.epoch, info.holder, info.state), (epoch, None, TaskState::Queued));
    }
}

pub fn a_claimed_task_is_nobody_elses(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task());
    s.claim_one(A);
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.ask(A).ids(), [], "nor its own a second time");
}

pub fn a_task_that_one_process_claimed_is_held_in_anothers_eyes_too(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let id = s.enqueue(task());
    let claimed = other.claim_one(B);
    assert_eq!((claimed.fence.task, s.info(id).holder), (id, Some(B)));
    assert_eq!(s.ask(A).ids(), []);
    assert_eq!(other.settle(&claimed, Verdict::Succeed), Settled::Applied);
    assert_eq!(s.state(id), TaskState::Ended);
}

pub fn a_request_that_is_sent_again_is_answered_with_the_same_claims(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..5).map(|_| task()));
    let request = s.ask(A).room(3);
    let first = request.tasks();
    let again = s.is_unchanged("a repeat", || request.tasks());
    let told = |claimed: &Claimed| (claimed.fence, claimed.ticket, encoded(&claimed.payload));
    assert_eq!(first.len(), 3);
    let (first, again): (Vec<_>, Vec<_>) =
        (first.iter().map(told).collect(), again.iter().map(told).collect());
    assert_eq!(first, again);
    assert_eq!(s.ask(A).ids().len(), 2, "another request takes the others");
}

pub fn a_request_that_is_sent_again_gets_only_what_is_held_still(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..4).map(|_| task()));
    let request = s.ask(A).room(3);
    let first = request.tasks();
    s.settle(&first[1], Verdict::Succeed);
    assert_eq!(request.ids(), [first[0].fence.task, first[2].fence.task]);
}

pub fn a_request_is_known_also_after_many_others(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..60).map(|_| task()));
    let request = s.ask(A).room(2);
    let first = request.ids();
    for _ in 0..50 {
        assert_eq!(s.ask(A).room(1).ids().len(), 1);
    }
    assert_eq!(request.ids(), first);
}

pub fn a_token_is_a_number_of_its_own_process(suite: &Suite) {
    let s = suite.open();
    let tasks = [s.enqueue(task()), s.enqueue(task())];
    assert_eq!(s.ask(A).token(7).room(1).ids(), tasks[..1]);
    assert_eq!(s.ask(B).token(7).room(1).ids(), tasks[1..]);
    assert_eq!(s.ask(A).token(7).room(1).ids(), tasks[..1]);
}

pub fn a_new_process_is_no_old_one_that_had_its_token(suite: &Suite) {
    let s = suite.open();
    let old = s.active(A, task());
    s.settle(&old, give_back());
    let new = Incarnation::new(0xabc);
    let claimed = s.ask(new).token(1).tasks();
    assert_eq!((ids(&claimed), claimed[0].fence.epoch), (vec![old.fence.task], 2));
}

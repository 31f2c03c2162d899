//! Claim: what goes out, in which order, and what stays.

use conveyor_core::store::{Claimed, Settled, Verdict};
use conveyor_core::task::Start;
use conveyor_core::{Priority, TaskId, TaskState};

use crate::setup::{A, B, Set, Setup, TICK, done, hand_back, secs, task};

#[test]
fn claims_go_by_priority_then_due_time_then_age() {
    let s = Setup::new();
    let late = s.enqueue(task().delay(secs(2)));
    let soon = s.enqueue(task().delay(secs(1)));
    let normal = [s.enqueue(task()), s.enqueue(task())];
    let low = s.enqueue(task().priority(Priority::LOW));
    let high = s.enqueue(task().priority(Priority::HIGH));
    let past = s.enqueue(task().start(Start::At(s.now() - secs(1))));
    s.advance(secs(2));
    let order = [high, past, normal[0], normal[1], soon, late, low];
    assert_eq!(s.ask(A).ids(), order);
}

#[test]
fn nothing_below_the_least_priority_is_taken() {
    let s = Setup::new();
    s.enqueue(task());
    let high = s.enqueue(task().priority(Priority::HIGH));
    let critical = s.enqueue(task().priority(Priority::CRITICAL));
    let taken = s.ask(A).at_least(Priority::HIGH).ids();
    assert_eq!(taken, [critical, high]);
    assert_eq!(s.counts().queued, 1);
}

#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let s = Setup::new();
    for _ in 0..5 {
        s.enqueue(task());
    }
    assert_eq!(s.ask(A).room(0).ids(), []);
    assert_eq!(s.ask(A).room(2).ids().len(), 2);
    assert_eq!(s.ask(A).ids().len(), 3);
}

#[test]
fn no_more_of_a_kind_is_taken_than_it_has_room_for() {
    let s = Setup::new();
    let a: Vec<TaskId> = (0..3).map(|_| s.enqueue(task().kind("a"))).collect();
    let b: Vec<TaskId> = (0..3).map(|_| s.enqueue(task().kind("b"))).collect();
    let taken = s.ask(A).rooms(&[("a", 1), ("b", 2)]).room(9).ids();
    assert_eq!(taken, [a[0], b[0], b[1]]);
    assert_eq!(s.ask(A).rooms(&[("a", 0), ("b", 9)]).ids(), [b[2]]);
}

#[test]
fn unknown_kinds_are_left_alone_whatever_their_place() {
    let s = Setup::new();
    let unknown = s.enqueue(task().kind("unknown").priority(Priority::CRITICAL));
    // More than one turn of the ageing share, which goes to the oldest.
    let known: Vec<TaskId> = (0..40).map(|_| s.enqueue(task())).collect();
    assert_eq!(s.ask(A).kinds(&["never seen", "work"]).ids(), known);
    let info = s.info(unknown);
    assert_eq!((info.state, info.epoch), (TaskState::Queued, 0));
}

#[test]
fn queues_are_taken_from_as_if_they_were_one() {
    let s = Setup::new();
    let first = s.enqueue(task().queue("x"));
    let second = s.enqueue(task().queue("y"));
    let other = s.enqueue(task().queue("z"));
    let third = s.enqueue(task().queue("x"));
    let urgent = s.enqueue(task().queue("y").priority(Priority::HIGH));
    let asked = ["y", "x", "never seen"];
    assert_eq!(s.ask(A).queues(&asked).ids(), [urgent, first, second, third]);
    assert_eq!(s.state(other), TaskState::Queued);
}

#[test]
fn a_paused_queue_gives_out_nothing_until_it_is_resumed() {
    let s = Setup::new();
    let running = s.active(A, task());
    s.pause("q", true);
    let waiting = s.enqueue(task());
    let elsewhere = s.enqueue(task().queue("other"));
    assert_eq!(s.ask(A).queues(&["q", "other"]).ids(), [elsewhere]);
    assert_eq!(s.settle(&running, Verdict::Succeed), Settled::Applied);
    s.pause("q", false);
    assert_eq!(s.ask(A).ids(), [waiting]);

    s.pause("not yet there", true);
    s.enqueue(task().queue("not yet there"));
    assert_eq!(s.ask(A).queues(&["not yet there"]).ids(), []);
}

#[test]
fn each_claim_of_a_task_has_the_next_epoch() {
    let s = Setup::new();
    let id = s.enqueue(task());
    for epoch in 1..5 {
        let by = if epoch % 2 == 0 { A } else { B };
        let claimed = s.claim_one(by);
        let fence = claimed.fence;
        assert_eq!((fence.task, fence.epoch, fence.incarnation), (id, epoch, by));
        let info = s.info(id);
        assert_eq!((info.epoch, info.holder), (epoch, Some(by)));
        s.settle(&claimed, hand_back());
    }
}

#[test]
fn a_claimed_task_is_nobody_elses() {
    let s = Setup::new();
    s.enqueue(task());
    s.claim_one(A);
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.ask(A).ids(), []);
}

#[test]
fn a_delayed_task_is_never_early_and_needs_no_promotion() {
    let s = Setup::new();
    let id = s.enqueue(task().delay(secs(10)));
    let at = s.enqueue(task().start(Start::At(s.now() + secs(10))));
    s.advance(secs(10) - TICK);
    assert_eq!(s.ask(A).ids(), []);
    assert_eq!(s.state(id), TaskState::Scheduled);
    s.advance(TICK);
    assert_eq!(s.ask(A).ids(), [id, at]);
}

#[test]
fn a_promotion_takes_so_many_and_tells_what_is_due_next() {
    let s = Setup::new();
    assert_eq!(s.promote(9), None);
    let start = s.now();
    let third = s.enqueue(task().delay(secs(3)));
    let first = s.enqueue(task().delay(secs(1)));
    let second = s.enqueue(task().delay(secs(2)));
    assert_eq!(s.promote(9), Some(start + secs(1)));
    s.advance(secs(2));
    assert_eq!(s.promote(1), Some(start + secs(2)), "one is due, but beyond the limit");
    assert_eq!((s.state(first), s.state(second)), (TaskState::Queued, TaskState::Scheduled));
    assert_eq!(s.promote(9), Some(start + secs(3)));
    assert_eq!((s.state(second), s.state(third)), (TaskState::Queued, TaskState::Scheduled));
    s.advance(secs(1));
    assert_eq!(s.promote(9), None);
    assert_eq!(s.counts().queued, 3);
}

#[test]
fn a_cancelled_delay_is_no_longer_due() {
    let s = Setup::new();
    let start = s.now();
    let ids: Vec<TaskId> = (1..300).map(|n| s.enqueue(task().delay(secs(n)))).collect();
    let (gone, kept) = ids.split_at(200);
    done(s.store.cancel(gone));
    assert_eq!(s.promote(0), Some(start + secs(201)));
    s.advance(secs(1000));
    assert_eq!(s.ask(A).ids(), kept);
}

#[test]
fn a_herd_that_is_due_at_one_instant_hides_nobody() {
    let s = Setup::new();
    for _ in 0..2000 {
        s.enqueue(task().kind("unknown").delay(secs(1)));
    }
    let known = s.enqueue(task().delay(secs(2)));
    s.advance(secs(2));
    assert_eq!(s.ask(A).ids(), [known]);
}

#[test]
fn a_claim_of_more_than_a_herd_is_filled() {
    let s = Setup::new();
    let herd: Vec<TaskId> = (0..2000).map(|_| s.enqueue(task().delay(secs(1)))).collect();
    s.advance(secs(1));
    assert!(s.ask(A).room(1500).ids() == herd[..1500], "all of them, in order");
}

#[test]
fn a_request_that_is_sent_again_is_answered_with_the_same_claims() {
    let s = Setup::new();
    for _ in 0..5 {
        s.enqueue(task());
    }
    let request = s.ask(A).room(3);
    let first = request.tasks();
    let before = s.everything();
    s.advance(secs(1));
    let again = request.tasks();
    assert_eq!(again.len(), 3);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((first.fence, first.ticket), (again.fence, again.ticket));
        let payload = |claimed: &Claimed| claimed.payload.downcast_ref::<u64>().copied();
        assert_eq!(payload(first), payload(again));
    }
    assert_eq!(s.everything(), before);

    s.settle(&first[1], Verdict::Succeed);
    let held = [first[0].fence.task, first[2].fence.task];
    assert_eq!(request.ids(), held, "of which one is settled");
    assert_eq!(s.ask(A).ids().len(), 2, "another request takes the others");
}

#[test]
fn a_token_is_a_number_of_its_own_process() {
    let s = Setup::new();
    let ids = [s.enqueue(task()), s.enqueue(task())];
    assert_eq!(s.ask(A).token(7).room(1).ids(), ids[..1]);
    assert_eq!(s.ask(B).token(7).room(1).ids(), ids[1..]);
    assert_eq!(s.ask(A).token(7).room(1).ids(), ids[..1]);
}

#[test]
fn a_request_for_a_suspect_that_is_sent_again_is_answered_with_the_same_one() {
    let s = Setup::watched();
    s.active(A, task());
    s.rescue_after_death();
    let request = s.ask(B).alone();
    let first = request.tasks().remove(0);
    let again = request.tasks().remove(0);
    assert_eq!(first.fence, again.fence);
    assert_eq!(s.settle(&again, Verdict::Succeed), Settled::Applied);
    assert_eq!(s.settle(&first, Verdict::Succeed), Settled::Already);
}

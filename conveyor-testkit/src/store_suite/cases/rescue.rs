//! Rescue: what dead processes held is taken back, and only the culprit pays.

use conveyor_core::store::{Budgets, EndState, Renewed, Rescued, RescuedAs, Settled, Verdict};
use conveyor_core::{End, Priority, TaskId, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, C, CRASH_BUDGET, LEASE, ids};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{fail, give_back, hand_back, park, retry, retry_after, snooze};

fn how(rescued: &[Rescued]) -> Vec<RescuedAs> {
    rescued.iter().map(|rescued| rescued.rescued_as).collect()
}

pub fn nothing_is_taken_back_before_its_lease_ran_out(suite: &Suite) {
    let s = suite.watched();
    let before = s.now();
    let claimed = s.active(A, task());
    let after = s.now();
    s.watch_until(LEASE - 1);
    let rescue = s.rescue(B);
    assert_eq!(rescue.rescued, []);
    let ends = before + s.lease()..=after + s.lease();
    assert!(ends.contains(&rescue.next.expect("a lease to wait for")), "{rescue:?}, not {ends:?}");
    s.advance(1);
    let rescue = s.rescue(B);
    let expected = Rescued {
        id: claimed.fence.task,
        kind: claimed.kind.clone(),
        from: A,
        rescued_as: RescuedAs::Charged,
    };
    assert_eq!((rescue.rescued, rescue.next), (vec![expected], None));
    assert_eq!(s.rescue(B).rescued, [], "once");
}

pub fn a_process_leaves_its_own_leases_alone_but_the_interrupted(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.several(2);
    s.settle(&claimed[1], Verdict::Interrupt);
    s.watch_until(LEASE);
    let rescued = s.rescue(A).rescued;
    assert_eq!(how(&rescued), [RescuedAs::Interrupted]);
    assert_eq!(rescued[0].id, claimed[1].fence.task);
}

pub fn an_interrupted_task_is_free_and_claimable_with_others(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.several(2);
    s.settle(&claimed[0], Verdict::Interrupt);
    s.settle(&claimed[1], Verdict::Interrupt);
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Interrupted; 2]);
    let again = s.ask(B).tasks();
    assert_eq!(ids(&again), ids(&claimed));
    for claimed in again {
        assert_eq!(claimed.budgets, Budgets { interruptions: 1, ..Budgets::default() });
        let info = s.info(claimed.fence.task);
        assert_eq!((claimed.fence.epoch, info.suspect), (2, false));
    }
    assert_eq!(s.counts().returned, 2);
}

pub fn a_task_that_dies_alone_is_charged_until_the_budget_ends_it(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task()).fence.task;
    for crashes in 1..CRASH_BUDGET {
        assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Charged]);
        assert_eq!(s.info(id).budgets.crashes, crashes);
        assert_eq!(s.claim_suspect(A).fence.epoch, u64::from(crashes) + 1);
    }
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Crashed]);
    assert_eq!(s.end(id), EndState::Ended(End::Crashed));
    let counts = s.counts();
    assert_eq!((counts.crashed, counts.returned), (1, 0));
    assert_eq!(s.ask(B).alone().ids(), [], "it is over");
}

pub fn tasks_that_die_together_become_suspects_at_no_cost(suite: &Suite) {
    let s = suite.watched();
    let claimed = s.several(3);
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Suspect; 3]);
    for claimed in &claimed {
        let info = s.info(claimed.fence.task);
        assert_eq!((info.state, info.suspect, info.holder), (TaskState::Queued, true, None));
        assert_eq!(info.budgets, Budgets { interruptions: 1, ..Budgets::default() });
    }
    assert_eq!(s.counts().returned, 3);
}

pub fn tasks_of_two_dead_processes_are_not_each_others_company(suite: &Suite) {
    let s = suite.watched();
    s.active(A, task());
    s.active(B, task());
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Charged; 2]);
}

pub fn two_leases_of_a_dead_process_that_end_at_different_times_are_suspects_both(suite: &Suite) {
    for later_first in [false, true] {
        let s = suite.watched();
        let claimed = s.several(2);
        s.watch(LEASE / 2);
        s.renew(A, claimed[usize::from(later_first)].fence);
        assert_eq!(how(&s.watch(LEASE / 2).rescued), [RescuedAs::Suspect]);
        assert_eq!(how(&s.watch(LEASE / 2).rescued), [RescuedAs::Suspect]);
        for claimed in &claimed {
            assert_eq!(s.info(claimed.fence.task).budgets.crashes, 0);
        }
    }
}

pub fn a_task_beside_an_interrupted_one_did_not_die_alone(suite: &Suite) {
    for other_first in [false, true] {
        let s = suite.watched();
        let claimed = s.several(2);
        if other_first {
            s.watch(1);
            s.renew(A, claimed[0].fence);
        }
        s.settle(&claimed[0], Verdict::Interrupt);
        s.watch(LEASE + 1);
        let info = s.info(claimed[1].fence.task);
        assert_eq!((info.budgets.crashes, info.suspect), (0, true));
    }
}

pub fn a_process_that_lost_a_lease_and_lived_on_dies_alone_later(suite: &Suite) {
    for claims in [false, true] {
        let s = suite.watched();
        let claimed = s.several(2);
        s.watch(LEASE / 2);
        s.renew(A, claimed[1].fence);
        assert_eq!(how(&s.watch(LEASE / 2).rescued), [RescuedAs::Suspect]);
        // A sign of life.
        if claims {
            s.ask(A).tasks();
        } else {
            s.renew(A, claimed[1].fence);
        }
        let rescued = s.rescue_after_death().rescued;
        assert_eq!(how(&rescued), [RescuedAs::Charged], "it claims: {claims}");
    }
}

pub fn a_bystander_is_never_charged_however_often_others_crash(suite: &Suite) {
    let s = suite.watched();
    let culprit = s.enqueue(task());
    let bystander = s.enqueue(task());
    s.ask(A).tasks();
    s.rescue_after_death();
    for _ in 0..CRASH_BUDGET {
        assert_eq!(s.claim_suspect(A).fence.task, culprit);
        s.rescue_after_death();
    }
    assert_eq!(s.end(culprit), EndState::Ended(End::Crashed));
    let alone = s.claim_suspect(A);
    assert_eq!((alone.fence.task, alone.budgets.crashes), (bystander, 0));
    s.settle(&alone, Verdict::Succeed);
    assert_eq!(s.end(bystander), EndState::Ended(End::Succeeded));
}

pub fn a_suspect_is_given_only_to_who_asks_for_it_alone(suite: &Suite) {
    let s = suite.watched();
    s.several(2);
    s.rescue_after_death();
    let claim = s.ask(B).claim();
    assert!(claim.tasks.is_empty() && claim.suspects, "{claim:?}");
    assert!(!s.ask(B).kinds(&["other"]).claim().suspects, "not of a kind that it knows");
    assert!(!s.ask(B).queues(&["other"]).claim().suspects, "not of a queue that it serves");
    assert!(!s.ask(B).at_least(Priority::HIGH).claim().suspects, "not urgent enough");
    assert_eq!(s.ask(B).kinds(&["other"]).alone().ids(), []);
    assert_eq!(s.ask(B).queues(&["other"]).alone().ids(), []);
    assert_eq!(s.ask(B).at_least(Priority::HIGH).alone().ids(), []);
    let ordinary = s.enqueue(task());
    assert_eq!(s.ask(B).ids(), [ordinary]);
    assert_eq!(s.ask(A).alone().tasks().len(), 1, "one at a time");
}

pub fn a_suspect_is_given_only_to_who_holds_nothing_else(suite: &Suite) {
    let s = suite.watched();
    s.several(1);
    s.rescue_after_death();
    let other = s.active(B, task());
    let claim = s.ask(B).alone().claim();
    assert!(claim.tasks.is_empty() && claim.suspects, "{claim:?}");
    s.settle(&other, Verdict::Succeed);
    assert_eq!(s.ask(B).alone().ids().len(), 1);
}

pub fn who_holds_a_suspect_is_given_nothing_more_until_it_is_settled(suite: &Suite) {
    let s = suite.watched();
    s.several(2);
    s.rescue_after_death();
    let suspect = s.claim_suspect(B);
    let ordinary = s.enqueue(task());
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.ask(B).alone().ids(), []);
    assert_eq!(s.ask(C).room(1).ids(), [ordinary], "but others are");
    s.settle(&suspect, retry_after(s.ticks(60)));
    let ordinary = s.enqueue(task());
    assert_eq!(s.ask(B).ids(), [ordinary]);
}

pub fn who_asks_for_a_suspect_is_given_nothing_else(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task());
    let claim = s.ask(A).alone().claim();
    assert!(claim.tasks.is_empty() && !claim.suspects, "{claim:?}");
}

pub fn a_suspect_needs_room_as_any_other_task(suite: &Suite) {
    let s = suite.watched();
    s.several(1);
    s.rescue_after_death();
    assert_eq!(s.ask(B).room(0).alone().ids(), []);
    assert_eq!(s.ask(B).rooms(&[("work", 0)]).alone().ids(), []);
    s.pause("q", true);
    assert_eq!(s.ask(B).alone().ids(), [], "and its queue must not be paused");
}

pub fn suspects_keep_their_order(suite: &Suite) {
    let s = suite.watched();
    let late = s.enqueue(task().delay(s.ticks(1)));
    let first = s.enqueue(task());
    let high = s.enqueue(task().priority(Priority::HIGH));
    s.watch(1);
    s.ask(A).tasks();
    s.rescue_after_death();
    let mut order = Vec::new();
    for _ in 0..3 {
        let suspect = s.claim_suspect(B);
        order.push(suspect.fence.task);
        s.settle(&suspect, Verdict::Succeed);
    }
    assert_eq!(order, [high, first, late]);
}

pub fn a_suspect_that_came_back_alive_is_one_no_more(suite: &Suite) {
    let s = suite.watched();
    for verdict in [retry(), snooze(), Verdict::Succeed, fail(), park()] {
        s.several(1);
        s.rescue_after_death();
        let suspect = s.claim_suspect(B);
        let id = suspect.fence.task;
        assert_eq!(s.settle(&suspect, verdict.clone()), Settled::Applied);
        let info = s.info(id);
        assert!(!info.suspect, "{verdict:?}");
        if info.state == TaskState::Queued {
            assert_eq!(s.ask(B).ids(), [id], "{verdict:?}");
            s.cancel(id);
            s.rescue_after_death();
        }
    }
}

pub fn a_suspect_that_was_handed_back_is_one_still(suite: &Suite) {
    let s = suite.watched();
    s.several(1);
    s.rescue_after_death();
    for verdict in [hand_back(), give_back()] {
        let suspect = s.claim_suspect(B);
        s.settle(&suspect, verdict);
        assert_eq!(s.ask(B).ids(), []);
    }
    s.claim_suspect(B);
}

pub fn suspects_are_told_of_also_when_their_kind_has_no_room_left_in_this_claim(suite: &Suite) {
    let s = suite.watched();
    s.several(2);
    s.rescue_after_death();
    s.enqueue(task());
    let claim = s.ask(B).rooms(&[("work", 1)]).claim();
    assert_eq!(claim.tasks.len(), 1);
    assert!(claim.suspects, "else a steady load would hide them for ever");
    s.settle(&claim.tasks[0], Verdict::Succeed);
    let claim = s.ask(B).rooms(&[("work", 1)]).alone().claim();
    assert!(claim.tasks.len() == 1 && claim.suspects, "another one waits");
}

pub fn a_request_for_a_suspect_that_is_sent_again_is_answered_with_the_same_one(suite: &Suite) {
    let s = suite.watched();
    s.several(2);
    s.rescue_after_death();
    let request = s.ask(B).alone();
    let first = request.tasks().remove(0);
    let again = request.tasks().remove(0);
    assert_eq!((first.fence, first.ticket), (again.fence, again.ticket));
}

pub fn a_rescued_task_keeps_its_place(suite: &Suite) {
    let s = suite.watched();
    let all = s.enqueue_all((0..3).map(|_| task()));
    for claimed in s.ask(A).room(2).tasks() {
        s.settle(&claimed, Verdict::Interrupt);
    }
    let later = s.enqueue(task());
    s.rescue_after_death();
    let order: Vec<TaskId> = all.into_iter().chain([later]).collect();
    assert_eq!(s.ask(B).ids(), order);
}

pub fn a_rescued_task_has_what_it_was_enqueued_with(suite: &Suite) {
    let s = suite.watched();
    let mut new = task().key("k");
    (new.timeout, new.retries) = (Some(s.ticks(3)), Some(7));
    let before = s.active(A, new);
    s.rescue_after_death();
    let after = s.claim_suspect(B);
    let told = |claimed: &conveyor_core::store::Claimed| {
        let payload = crate::store_suite::task::encoded(&claimed.payload);
        let names = (claimed.kind.clone(), claimed.queue.clone(), claimed.key.clone());
        (payload, names, claimed.timeout, claimed.retries, claimed.priority)
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!((after.fence.epoch, after.fence.incarnation), (2, B));
}

pub fn a_rescue_takes_no_more_than_its_limit_and_says_when_to_ask_again(suite: &Suite) {
    let s = suite.watched();
    s.several(5);
    s.watch_until(LEASE);
    let rescue = s.rescue_at_most(C, 2);
    assert_eq!(how(&rescue.rescued), [RescuedAs::Suspect; 2]);
    assert!(rescue.next.is_some_and(|next| next <= s.now()), "at once: {:?}", rescue.next);
    let rescue = s.rescue_at_most(C, 3);
    assert_eq!((how(&rescue.rescued), rescue.next), (vec![RescuedAs::Suspect; 3], None));
}

pub fn nothing_is_taken_back_for_one_lease_after_the_start(suite: &Suite) {
    let s = suite.open();
    s.active(A, task());
    s.advance(LEASE * 3);
    let rescue = s.check_time(
        || s.rescue(B),
        |now| now + s.lease(),
        |rescue| rescue.next.expect("a lease to wait for"),
    );
    assert_eq!(rescue.rescued, []);
    s.watch_until(LEASE - 1);
    assert_eq!(s.rescue(B).rescued, []);
    s.advance(1);
    assert_eq!(how(&s.rescue(B).rescued), [RescuedAs::Charged], "and then as ever");
}

pub fn nothing_is_taken_back_for_one_lease_after_a_silence(suite: &Suite) {
    // Longer than two thirds of a lease: then every lease may have run out.
    for silence in [LEASE * 2 / 3 + 1, LEASE * 3] {
        let s = suite.watched();
        let claimed = s.active(A, task());
        s.advance(silence);
        assert_eq!(s.rescue(B).rescued, []);
        s.watch_until(LEASE - 1);
        assert_eq!(s.rescue(B).rescued, [], "after {silence}");
        assert_eq!(s.renew(A, claimed.fence), Renewed::Held { cancel: false });
        s.watch_until(LEASE - 1);
        assert_eq!(s.rescue(B).rescued, [], "renewed after {silence}");
        s.advance(1);
        assert_eq!(s.rescue(B).rescued.len(), 1, "and then as ever");
    }
}

pub fn a_short_silence_holds_up_no_rescue(suite: &Suite) {
    let s = suite.watched();
    s.active(A, task());
    s.advance(LEASE * 2 / 3);
    s.rescue(C);
    s.advance(LEASE - LEASE * 2 / 3);
    assert_eq!(how(&s.rescue(C).rescued), [RescuedAs::Charged]);
}

pub fn a_clock_that_jumps_ahead_and_back_holds_up_rescues_for_one_lease(suite: &Suite) {
    let s = suite.watched();
    s.set_back(0);
    s.active(A, task());
    s.advance(LEASE * 1_000);
    s.rescue(C);
    let during = s.active(B, task());
    s.set_back(LEASE * 1_000);
    s.rescue(C);
    s.watch(LEASE / 2);
    assert_eq!(s.renew(B, during.fence), Renewed::Held { cancel: false });
    s.watch_until(LEASE / 2 - 1);
    assert_eq!(s.rescue(C).rescued, []);
    s.advance(1);
    assert_eq!(s.rescue(C).rescued.len(), 1, "the one that nobody renewed");
}

pub fn who_rescues_another_process_sees_its_claims_through_any_handle(suite: &Suite) {
    let s = suite.watched();
    let other = s.again();
    let claimed = s.active(A, task());
    s.watch_until(LEASE);
    let rescued = other.rescue(B).rescued;
    assert_eq!((rescued[0].id, how(&rescued)), (claimed.fence.task, vec![RescuedAs::Charged]));
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Fenced);
}

//! Rescue: what dead processes held is taken back, and only the culprit pays.

use std::time::Duration;

use conveyor_core::store::{
    Budgets, Claimed, EndState, RescueRequest, Rescued, RescuedAs, Settled, Verdict,
};
use conveyor_core::{End, TaskId, TaskState};

use crate::setup::{
    A, B, C, CRASH_BUDGET, LEASE, Set, Setup, TICK, done, fail, hand_back, park, retry, secs,
    snooze, task,
};

fn how(rescued: &[Rescued]) -> Vec<RescuedAs> {
    rescued.iter().map(|rescued| rescued.rescued_as).collect()
}

fn several(s: &Setup, count: usize) -> Vec<Claimed> {
    for _ in 0..count {
        s.enqueue(task());
    }
    let claimed = s.ask(A).tasks();
    assert_eq!(claimed.len(), count);
    claimed
}

#[test]
fn nothing_is_taken_back_before_its_lease_ran_out() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.watch_until(LEASE - TICK);
    let rescue = s.rescue(B);
    assert_eq!((rescue.rescued, rescue.next), (vec![], Some(s.now() + TICK)));
    s.advance(TICK);
    let rescue = s.rescue(B);
    let expected = Rescued {
        id: claimed.fence.task,
        kind: claimed.kind.clone(),
        from: A,
        rescued_as: RescuedAs::Charged,
    };
    assert_eq!((rescue.rescued, rescue.next), (vec![expected], None));
}

#[test]
fn a_process_leaves_its_own_leases_alone_but_the_interrupted() {
    let s = Setup::watched();
    let claimed = several(&s, 2);
    s.settle(&claimed[1], Verdict::Interrupt);
    s.watch_until(LEASE);
    let rescued = s.rescue(A).rescued;
    assert_eq!(rescued.len(), 1);
    assert_eq!(
        (rescued[0].id, rescued[0].rescued_as),
        (claimed[1].fence.task, RescuedAs::Interrupted)
    );
}

#[test]
fn an_interrupted_task_is_free_and_claimable_with_others() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Interrupted]);
    let again = s.claim_one(B);
    assert_eq!(again.budgets, Budgets { interruptions: 1, ..Budgets::default() });
    assert_eq!((again.fence.epoch, s.info(again.fence.task).suspect), (2, false));
    assert_eq!(s.counts().returned, 1);
}

#[test]
fn a_task_that_dies_alone_is_charged_until_the_budget_ends_it() {
    let s = Setup::watched();
    let id = s.active(A, task()).fence.task;
    for crashes in 1..CRASH_BUDGET {
        assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Charged]);
        assert_eq!(s.info(id).budgets.crashes, crashes);
        assert_eq!(s.claim_suspect(A).fence.epoch, u64::from(crashes) + 1);
    }
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Crashed]);
    assert_eq!(s.end(id), EndState::Ended(End::Crashed));
    let info = s.info(id);
    assert_eq!(info.budgets, Budgets { crashes: CRASH_BUDGET, ..Budgets::default() });
    let counts = s.counts();
    assert_eq!((counts.crashed, counts.returned), (1, 0));
}

#[test]
fn tasks_that_die_together_become_suspects_at_no_cost() {
    let s = Setup::watched();
    let claimed = several(&s, 3);
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Suspect; 3]);
    for claimed in &claimed {
        let info = s.info(claimed.fence.task);
        assert_eq!((info.state, info.suspect), (TaskState::Queued, true));
        assert_eq!(info.budgets, Budgets { interruptions: 1, ..Budgets::default() });
    }
    assert_eq!(s.counts().returned, 3);
}

#[test]
fn two_leases_of_a_dead_process_that_end_at_different_times_are_suspects_both() {
    for later_first in [false, true] {
        let s = Setup::watched();
        let claimed = several(&s, 2);
        s.advance(LEASE / 2);
        s.rescue(C);
        s.renew(A, claimed[usize::from(later_first)].fence);
        s.advance(LEASE / 2);
        assert_eq!(how(&s.rescue(C).rescued), [RescuedAs::Suspect]);
        s.advance(LEASE / 2);
        assert_eq!(how(&s.rescue(C).rescued), [RescuedAs::Suspect]);
        for claimed in &claimed {
            assert_eq!(s.info(claimed.fence.task).budgets.crashes, 0);
        }
    }
}

#[test]
fn a_bystander_is_never_charged_however_often_others_crash() {
    let s = Setup::watched();
    let culprit = s.enqueue(task());
    let bystander = s.enqueue(task());
    s.ask(A).tasks();
    s.rescue_after_death();
    for _ in 0..CRASH_BUDGET {
        let alone = s.claim_suspect(A);
        assert_eq!(alone.fence.task, culprit);
        s.rescue_after_death();
    }
    assert_eq!(s.end(culprit), EndState::Ended(End::Crashed));
    let alone = s.claim_suspect(A);
    assert_eq!((alone.fence.task, alone.budgets.crashes), (bystander, 0));
    s.settle(&alone, Verdict::Succeed);
    assert_eq!(s.end(bystander), EndState::Ended(End::Succeeded));
}

#[test]
fn a_suspect_is_given_only_to_who_asks_for_it_alone() {
    let s = Setup::watched();
    several(&s, 2);
    s.rescue_after_death();
    let claim = s.ask(B).claim();
    assert!(claim.tasks.is_empty() && claim.suspects, "{claim:?}");
    let claim = s.ask(B).kinds(&["other"]).claim();
    assert!(!claim.suspects, "not of a kind that it knows");
    let claim = s.ask(B).queues(&["other"]).claim();
    assert!(!claim.suspects, "not of a queue that it serves");
    let ordinary = s.enqueue(task());
    assert_eq!(s.ask(B).ids(), [ordinary]);
    assert_eq!(s.ask(A).alone().tasks().len(), 1);
}

#[test]
fn a_suspect_is_given_only_to_who_holds_nothing_else() {
    let s = Setup::watched();
    several(&s, 1);
    s.rescue_after_death();
    let other = s.active(B, task());
    let claim = s.ask(B).alone().claim();
    assert!(claim.tasks.is_empty() && claim.suspects);
    s.settle(&other, Verdict::Succeed);
    assert_eq!(s.ask(B).alone().ids().len(), 1);
}

#[test]
fn who_holds_a_suspect_is_given_nothing_more_until_it_is_settled() {
    let s = Setup::watched();
    several(&s, 2);
    s.rescue_after_death();
    let suspect = s.claim_suspect(B);
    let ordinary = s.enqueue(task());
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.ask(B).alone().ids(), []);
    s.settle(&suspect, retry(secs(60)));
    assert_eq!(s.ask(B).ids(), [ordinary]);
}

#[test]
fn who_asks_for_a_suspect_is_given_nothing_else() {
    let s = Setup::new();
    s.enqueue(task());
    let claim = s.ask(A).alone().claim();
    assert!(claim.tasks.is_empty() && !claim.suspects);
}

#[test]
fn suspects_keep_their_order() {
    let s = Setup::watched();
    let late = s.enqueue(task().delay(TICK));
    let first = s.enqueue(task());
    let high = s.enqueue(task().priority(conveyor_core::Priority::HIGH));
    s.advance(TICK);
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

#[test]
fn a_suspect_that_came_back_alive_is_one_no_more() {
    for verdict in [retry(secs(0)), snooze(secs(0)), Verdict::Succeed, fail(), park()] {
        let s = Setup::watched();
        several(&s, 1);
        s.rescue_after_death();
        let suspect = s.claim_suspect(B);
        let id = suspect.fence.task;
        assert_eq!(s.settle(&suspect, verdict.clone()), Settled::Applied);
        if s.state(id) == TaskState::Queued {
            assert!(!s.info(id).suspect, "{verdict:?}");
            assert_eq!(s.ask(B).ids(), [id], "{verdict:?}");
        }
    }
}

#[test]
fn a_suspect_that_was_handed_back_is_one_still() {
    let s = Setup::watched();
    several(&s, 1);
    s.rescue_after_death();
    for verdict in [hand_back(), Verdict::Return { started: false }] {
        let suspect = s.claim_suspect(B);
        s.settle(&suspect, verdict);
        assert_eq!(s.ask(B).ids(), []);
    }
    s.claim_suspect(B);
}

#[test]
fn a_rescued_task_keeps_its_place() {
    let s = Setup::watched();
    let ids: Vec<TaskId> = (0..3).map(|_| s.enqueue(task())).collect();
    let claimed = s.ask(A).room(2).tasks();
    for claimed in &claimed {
        s.settle(claimed, Verdict::Interrupt);
    }
    s.enqueue(task());
    s.rescue_after_death();
    assert_eq!(s.ask(B).ids()[..3], ids);
}

#[test]
fn nothing_is_taken_back_for_one_lease_after_the_start() {
    let s = Setup::new();
    s.active(A, task());
    s.advance(secs(24 * 3600));
    let rescue = s.rescue(B);
    assert_eq!((rescue.rescued, rescue.next), (vec![], Some(s.now() + LEASE)));
    s.watch_until(LEASE - TICK);
    assert_eq!(s.rescue(B).rescued, []);
    s.advance(TICK);
    assert_eq!(s.rescue(B).rescued.len(), 1);
}

#[test]
fn nothing_is_taken_back_for_one_lease_after_a_silence_or_a_jump_of_the_clock() {
    let s = Setup::watched();
    let claimed = s.active(A, task());
    s.advance(secs(24 * 3600));
    assert_eq!(s.rescue(B).rescued, []);
    assert_eq!(s.renew(A, claimed.fence), conveyor_core::store::Renewed::Held { cancel: false });
    s.watch_until(LEASE - TICK);
    assert_eq!(s.rescue(B).rescued, []);
    s.advance(TICK);
    assert_eq!(s.rescue(B).rescued.len(), 1, "and then as ever");
}

#[test]
fn a_rescue_takes_no_more_than_its_limit_and_says_when_to_ask_again() {
    let s = Setup::watched();
    several(&s, 5);
    s.watch_until(LEASE);
    let rescue = s.rescue_at_most(C, 2);
    assert_eq!(how(&rescue.rescued), [RescuedAs::Suspect; 2]);
    assert_eq!(rescue.next, Some(s.now()));
    let rescue = s.rescue_at_most(C, 3);
    assert_eq!((how(&rescue.rescued), rescue.next), (vec![RescuedAs::Suspect; 3], None));
}

#[test]
fn a_cancelled_task_ends_at_the_rescue_and_is_not_charged() {
    let s = Setup::watched();
    let id = s.active(A, task()).fence.task;
    done(s.store.cancel(&[id]));
    assert_eq!(how(&s.rescue_after_death().rescued), [RescuedAs::Cancelled]);
    assert!(matches!(s.end(id), EndState::Ended(End::Cancelled(_))));
    assert_eq!(s.info(id).budgets, Budgets::default());
    assert_eq!(s.counts().cancelled, 1);
}

#[test]
fn suspects_are_told_of_also_when_the_kind_has_no_room_left_in_this_claim() {
    let s = Setup::watched();
    several(&s, 2);
    s.rescue_after_death();
    s.enqueue(task());
    let claim = s.ask(B).rooms(&[("work", 1)]).claim();
    assert_eq!(claim.tasks.len(), 1);
    assert!(claim.suspects, "else a steady load would hide them for ever");
    s.settle(&claim.tasks[0], Verdict::Succeed);
    let claim = s.ask(B).rooms(&[("work", 1)]).alone().claim();
    assert!(claim.tasks.len() == 1 && claim.suspects, "another one waits");
}

#[test]
fn a_suspect_needs_room_as_any_other_task() {
    let s = Setup::watched();
    several(&s, 1);
    s.rescue_after_death();
    assert_eq!(s.ask(B).room(0).alone().ids(), []);
    assert_eq!(s.ask(B).rooms(&[("work", 0)]).alone().ids(), []);
}

#[test]
fn a_task_beside_an_interrupted_one_did_not_die_alone() {
    for other_first in [false, true] {
        let s = Setup::watched();
        let claimed = several(&s, 2);
        if other_first {
            s.advance(secs(1));
            s.renew(A, claimed[0].fence);
        }
        s.settle(&claimed[0], Verdict::Interrupt);
        s.watch_until(LEASE);
        s.rescue(C);
        s.advance(secs(1));
        s.rescue(C);
        let info = s.info(claimed[1].fence.task);
        assert_eq!((info.budgets.crashes, info.suspect), (0, true));
    }
}

#[test]
fn a_process_that_lost_a_lease_and_lived_on_dies_alone_later() {
    for sign_of_life in ["a claim", "a renewal"] {
        let s = Setup::watched();
        let claimed = several(&s, 2);
        s.advance(LEASE / 2);
        s.rescue(C);
        s.renew(A, claimed[1].fence);
        s.advance(LEASE / 2);
        assert_eq!(how(&s.rescue(C).rescued), [RescuedAs::Suspect]);
        if sign_of_life == "a claim" {
            s.ask(A).tasks();
        } else {
            s.renew(A, claimed[1].fence);
        }
        let rescued = s.rescue_after_death().rescued;
        assert_eq!(how(&rescued), [RescuedAs::Charged], "{sign_of_life}");
    }
}

#[test]
fn a_task_that_ended_is_no_suspect() {
    let s = Setup::watched();
    several(&s, 1);
    s.rescue_after_death();
    let suspect = s.claim_suspect(B);
    s.settle(&suspect, Verdict::Succeed);
    assert!(!s.info(suspect.fence.task).suspect);
}

#[test]
fn a_clock_that_jumps_ahead_and_back_holds_up_rescues_for_one_lease() {
    let year = secs(365 * 24 * 3600);
    let s = Setup::watched();
    s.active(A, task());
    s.advance(year);
    s.rescue(C);
    let during = s.active(B, task());
    s.clock.set_back(year);
    assert_eq!(s.rescue(C).next, Some(s.now() + LEASE));
    s.renew(B, during.fence);
    s.watch_until(LEASE - TICK);
    assert_eq!(s.rescue(C).rescued, []);
    s.advance(TICK);
    assert_eq!(s.rescue(C).rescued.len(), 2);
}

#[test]
fn a_lease_without_end_is_no_overflow() {
    let s = Setup::new();
    s.active(A, task());
    for _ in 0..2 {
        let rescue = done(s.store.rescue(RescueRequest {
            by: B,
            lease: Duration::MAX,
            crash_budget: CRASH_BUDGET,
            limit: 1,
        }));
        assert_eq!(rescue.rescued, []);
        s.advance(secs(1));
    }
}

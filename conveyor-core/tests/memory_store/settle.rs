//! Settle: how an attempt ended takes effect once, and only by the current fence.

use conveyor_core::store::{Budgets, Claimed, EndState, Settle, Settled, Verdict};
use conveyor_core::{End, Fence, Incarnation, TaskId, TaskState};

use crate::setup::{
    A, B, Options, Set, Setup, TICK, cancel, done, every_verdict, fail, hand_back, park, retry,
    secs, settle, snooze, task,
};

#[test]
fn each_verdict_does_what_it_says() {
    let none = Budgets::default();
    let error = Budgets { errors: 1, ..none };
    let interruption = Budgets { interruptions: 1, ..none };
    let table = [
        (Verdict::Succeed, TaskState::Ended, none, Some(End::Succeeded)),
        (fail(), TaskState::Ended, error, Some(End::Failed("no hope".into()))),
        (cancel(), TaskState::Ended, none, Some(End::Cancelled("no point".into()))),
        (retry(secs(5)), TaskState::Scheduled, error, None),
        (retry(secs(0)), TaskState::Queued, error, None),
        (snooze(secs(5)), TaskState::Scheduled, Budgets { snoozes: 1, ..none }, None),
        (hand_back(), TaskState::Queued, interruption, None),
        (Verdict::Return { started: false }, TaskState::Queued, none, None),
        (Verdict::Interrupt, TaskState::Active, none, None),
        (park(), TaskState::Parked, none, None),
    ];
    for (verdict, state, budgets, end) in table {
        let s = Setup::new();
        let claimed = s.active(A, task());
        assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Applied);
        let info = s.info(claimed.fence.task);
        assert_eq!((info.state, info.budgets), (state, budgets), "{verdict:?}");
        assert_eq!(info.end, end, "{verdict:?}");
        let ends = end.map_or(EndState::Live, EndState::Ended);
        assert_eq!(s.end(claimed.fence.task), ends, "{verdict:?}");
        let note = match &verdict {
            Verdict::Retry { error, .. } => Some(error.clone()),
            Verdict::Park { reason } => Some(reason.clone()),
            _ => None,
        };
        assert_eq!(info.note, note, "{verdict:?}");
        s.counts();
    }
}

#[test]
fn each_verdict_is_counted_as_what_it_was() {
    for verdict in every_verdict() {
        let s = Setup::new();
        let claimed = s.active(A, task());
        let mut as_said = settle(&claimed, verdict.clone());
        (as_said.panicked, as_said.timed_out) = (true, true);
        s.settle_as(as_said);
        let counts = s.counts();
        let is = |counted: bool| u64::from(counted);
        assert_eq!(counts.processed, is(verdict == Verdict::Succeed), "{verdict:?}");
        assert_eq!(counts.failed, is(verdict == fail()), "{verdict:?}");
        assert_eq!(counts.cancelled, is(verdict == cancel()), "{verdict:?}");
        assert_eq!(counts.retried, is(verdict == retry(secs(5))), "{verdict:?}");
        assert_eq!(counts.snoozed, is(verdict == snooze(secs(5))), "{verdict:?}");
        assert_eq!(counts.returned, is(verdict == hand_back()), "{verdict:?}");
        assert_eq!((counts.panicked, counts.timed_out), (1, 1), "{verdict:?}");
        assert_eq!(counts.crashed, 0, "{verdict:?}");
    }
}

/// Settles that must be refused: with a child and marks, so that any of them taking effect shows.
fn refused(s: &Setup, claimed: &Claimed, fence: Fence, why: &str) {
    for verdict in every_verdict() {
        let before = s.everything();
        let reply = s.settle_as(Settle {
            fence,
            ticket: claimed.ticket,
            verdict: verdict.clone(),
            children: vec![task()],
            panicked: true,
            timed_out: true,
        });
        assert_eq!(reply, Settled::Fenced, "{why}: {verdict:?}");
        assert_eq!(s.everything(), before, "{why}: {verdict:?}");
    }
}

#[test]
fn a_settle_whose_fence_is_not_current_changes_nothing() {
    let s = Setup::new();
    let claimed = s.active(A, task().key("k"));
    let current = claimed.fence;
    refused(&s, &claimed, Fence { epoch: 2, ..current }, "a later epoch");
    refused(&s, &claimed, Fence { epoch: 0, ..current }, "an earlier epoch");
    refused(&s, &claimed, Fence { incarnation: B, ..current }, "another process");
    let unknown = TaskId::from_u128(u128::MAX);
    refused(&s, &claimed, Fence { task: unknown, ..current }, "an unknown task");
    let elsewhere = Claimed { ticket: u64::MAX, ..claimed.clone() };
    refused(&s, &elsewhere, current, "a ticket of no task");
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

#[test]
fn a_settle_of_an_unclaimed_task_changes_nothing() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Succeed);
    let id = s.enqueue(task());
    for incarnation in [A, Incarnation::new(0)] {
        let fence = Fence { task: id, epoch: 1, incarnation };
        for ticket in 0..3 {
            refused(&s, &Claimed { ticket, ..claimed.clone() }, fence, "never claimed");
        }
    }
}

#[test]
fn a_settle_after_a_rescue_changes_nothing() {
    let s = Setup::watched();
    let claimed = s.active(A, task().key("k"));
    assert_eq!(s.rescue_after_death().rescued.len(), 1);
    refused(&s, &claimed, claimed.fence, "rescued");
    let again = s.claim_suspect(A);
    refused(&s, &claimed, claimed.fence, "claimed again by the same process");
    assert_eq!(s.settle(&again, Verdict::Succeed), Settled::Applied);
    refused(&s, &claimed, claimed.fence, "ended");
}

#[test]
fn a_settle_after_the_task_was_claimed_again_changes_nothing() {
    for verdict in [retry(secs(0)), snooze(secs(0)), hand_back()] {
        let s = Setup::new();
        let claimed = s.active(A, task());
        s.settle(&claimed, verdict);
        for by in [B, A] {
            let again = s.claim_one(by);
            refused(&s, &claimed, claimed.fence, "claimed again");
            s.settle(&again, hand_back());
        }
    }
}

#[test]
fn a_repeated_settle_is_answered_already_and_changes_nothing() {
    for verdict in every_verdict() {
        let s = Setup::new();
        let claimed = s.active(A, task().key("k"));
        let mut once = settle(&claimed, verdict.clone());
        (once.panicked, once.timed_out) = (true, true);
        if verdict != Verdict::Interrupt {
            once.children = vec![task().key("child")];
        }
        assert_eq!(s.settle_as(once.clone()), Settled::Applied);
        let before = s.everything();
        for _ in 0..2 {
            assert_eq!(s.settle_as(once.clone()), Settled::Already, "{verdict:?}");
            assert_eq!(s.everything(), before, "{verdict:?}");
        }
    }
}

#[test]
fn a_settle_is_a_repeat_also_after_the_task_moved_on() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.settle(&claimed, retry(secs(1)));
    s.advance(secs(1));
    s.promote(1);
    assert_eq!(s.settle(&claimed, retry(secs(1))), Settled::Already, "promoted");
    done(s.store.cancel(&[claimed.fence.task]));
    assert_eq!(s.settle(&claimed, retry(secs(1))), Settled::Already, "cancelled");
}

#[test]
fn a_batch_is_settled_in_order_each_element_for_itself() {
    let s = Setup::new();
    s.enqueue(task());
    s.enqueue(task());
    let claimed = s.ask(A).tasks();
    let stranger = Fence { incarnation: B, ..claimed[1].fence };
    let batch = vec![
        settle(&claimed[0], Verdict::Succeed),
        settle(&claimed[0], Verdict::Succeed),
        Settle { fence: stranger, ..settle(&claimed[1], Verdict::Succeed) },
        settle(&claimed[1], fail()),
    ];
    let replies = done(s.store.settle(batch));
    let expected = [Settled::Applied, Settled::Already, Settled::Fenced, Settled::Applied];
    assert_eq!(replies, expected);
}

#[test]
fn a_settle_is_good_after_the_lease_ran_out_as_long_as_nobody_took_the_task() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.advance(secs(3600));
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

#[test]
fn an_interrupted_attempt_that_returns_after_all_is_settled() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Interrupt);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
    assert_eq!(s.end(claimed.fence.task), EndState::Ended(End::Succeeded));
}

#[test]
fn a_hand_back_keeps_its_place() {
    let s = Setup::new();
    let ids: Vec<TaskId> = (0..4).map(|_| s.enqueue(task())).collect();
    s.advance(secs(1));
    let claimed = s.ask(A).room(2).tasks();
    s.enqueue(task().delay(secs(1)));
    s.settle(&claimed[1], Verdict::Return { started: false });
    s.settle(&claimed[0], hand_back());
    assert_eq!(s.ask(B).ids(), ids);
}

#[test]
fn a_retry_and_a_snooze_are_never_early() {
    for verdict in [retry(secs(7)), snooze(secs(7))] {
        let s = Setup::new();
        let claimed = s.active(A, task());
        s.advance(secs(1));
        s.settle(&claimed, verdict);
        let id = claimed.fence.task;
        assert_eq!(s.info(id).due, s.now() + secs(7));
        s.advance(secs(7) - TICK);
        assert_eq!(s.ask(A).ids(), []);
        s.advance(TICK);
        assert_eq!(s.ask(A).ids(), [id]);
    }
}

#[test]
fn what_an_attempt_cost_goes_with_the_next_claim() {
    let s = Setup::new();
    s.enqueue(task());
    for verdict in [retry(secs(0)), snooze(secs(0)), hand_back(), retry(secs(0))] {
        s.settle(&s.claim_one(A), verdict);
    }
    let expected = Budgets { errors: 2, snoozes: 1, interruptions: 1, crashes: 0 };
    assert_eq!(s.claim_one(A).budgets, expected);
}

#[test]
fn a_parked_task_is_not_given_out() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.settle(&claimed, park());
    s.advance(secs(3600));
    assert_eq!(s.ask(B).ids(), []);
    assert_eq!(s.counts().parked, 1);
}

#[test]
fn children_come_with_the_settle_but_those_whose_key_is_taken() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    s.enqueue(task().key("taken"));
    let (plain, keyed, later) = (task(), task().key("new"), task().delay(secs(5)));
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children =
        vec![plain.clone(), task().key("taken"), keyed.clone(), task().key("new"), later.clone()];
    assert_eq!(s.settle_as(end), Settled::Applied);
    let (tasks, _) = s.everything();
    let live: Vec<TaskId> =
        tasks.iter().filter(|task| task.state.is_live()).map(|task| task.id).collect();
    assert_eq!(live[1..], [plain.id, keyed.id, later.id]);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (5, 2));
}

#[test]
fn the_bound_of_a_store_does_not_apply_to_children() {
    let s = Setup::with(Options { capacity: Some(1), ..Options::default() });
    let claimed = s.active(A, task());
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = (0..5).map(|_| task()).collect();
    s.settle_as(end);
    assert_eq!(s.counts().queued, 5);
}

//! Budgets: an error, a crash, an interruption and a snooze are each counted as what they were.

use conveyor_core::TaskState;
use conveyor_core::store::{Budgets, Verdict};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, CRASH_BUDGET};
use crate::store_suite::task::task;
use crate::store_suite::verdict::{cancel, fail, give_back, hand_back, park, retry, snooze};

const NONE: Budgets = Budgets { errors: 0, crashes: 0, interruptions: 0, snoozes: 0 };

pub fn each_verdict_costs_its_own(suite: &Suite) {
    let s = suite.open();
    let table = [
        (Verdict::Succeed, NONE),
        (fail(), Budgets { errors: 1, ..NONE }),
        (cancel(), NONE),
        (retry(), Budgets { errors: 1, ..NONE }),
        (snooze(), Budgets { snoozes: 1, ..NONE }),
        (hand_back(), Budgets { interruptions: 1, ..NONE }),
        (give_back(), NONE),
        (Verdict::Interrupt, NONE),
        (park(), NONE),
    ];
    for (verdict, cost) in table {
        let claimed = s.active(A, task());
        s.settle(&claimed, verdict.clone());
        assert_eq!(s.info(claimed.fence.task).budgets, cost, "{verdict:?}");
        if verdict == Verdict::Interrupt {
            s.settle(&claimed, Verdict::Succeed);
        } else {
            s.cancel(claimed.fence.task);
        }
        assert_eq!(s.info(claimed.fence.task).budgets, cost, "{verdict:?}: also after the end");
    }
}

pub fn what_it_cost_goes_with_the_next_claim(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task());
    for verdict in [retry(), snooze(), hand_back(), give_back(), retry(), snooze(), snooze()] {
        s.settle(&s.claim_one(A), verdict);
    }
    let cost = Budgets { errors: 2, snoozes: 3, interruptions: 1, crashes: 0 };
    assert_eq!(s.claim_one(A).budgets, cost);
}

pub fn a_crash_is_no_error_and_an_error_is_no_crash(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task()).fence.task;
    s.rescue_after_death();
    let suspect = s.claim_suspect(A);
    assert_eq!(suspect.budgets, Budgets { crashes: 1, ..NONE });
    s.settle(&suspect, retry());
    let claimed = s.claim_one(B);
    assert_eq!(claimed.budgets, Budgets { crashes: 1, errors: 1, ..NONE });
    s.settle(&claimed, Verdict::Interrupt);
    s.rescue_after_death();
    let cost = Budgets { crashes: 1, errors: 1, interruptions: 1, snoozes: 0 };
    assert_eq!(s.claim_one(B).budgets, cost);
    assert_eq!(s.info(id).budgets, cost);
}

pub fn snoozes_and_interruptions_never_use_a_task_up(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task());
    for _ in 0..50 {
        s.settle(&s.claim_one(A), snooze());
        s.settle(&s.claim_one(A), hand_back());
    }
    let info = s.info(id);
    assert_eq!(info.budgets, Budgets { snoozes: 50, interruptions: 50, ..NONE });
    assert_eq!((info.state, info.epoch), (TaskState::Queued, 100));
}

pub fn the_crash_budget_is_that_of_who_rescues(suite: &Suite) {
    let s = suite.watched();
    let id = s.active(A, task()).fence.task;
    for crashes in 1..CRASH_BUDGET {
        s.rescue_after_death();
        assert_eq!(s.info(id).budgets, Budgets { crashes, ..NONE });
        s.claim_suspect(A);
    }
    s.rescue_after_death();
    let info = s.info(id);
    assert_eq!(info.budgets, Budgets { crashes: CRASH_BUDGET, ..NONE });
    assert_eq!(info.state, TaskState::Ended);
}

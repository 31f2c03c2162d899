//! A caller's own transaction: what is enqueued or settled in it takes effect if and only if it
//! commits, and until then it is in nobody's way. A store without any has nothing to keep here.

use std::fmt::Debug;

use conveyor_core::store::{Claimed, EndState, Enqueued, Renewed, Settled, Verdict};
use conveyor_core::{End, Fence, Incarnation, Priority, TaskId};

use super::wake::Listener;
use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, LEASE, Setup, ids};
use crate::store_suite::task::{Set, task};
use crate::store_suite::transaction::open;
use crate::store_suite::verdict::{every_verdict, give_back, settle};

const HELD: Renewed = Renewed::Held { cancel: false };

/// Who holds the key of a task that was refused as a duplicate.
fn rivals(replies: &[Enqueued]) -> Vec<Option<TaskId>> {
    let rival = |reply: &Enqueued| match reply {
        Enqueued::Duplicate(rival) => *rival,
        _ => None,
    };
    replies.iter().map(rival).collect()
}

/// Settles with that fence must be refused.
fn is_refused(s: &Setup, claimed: &Claimed, fence: Fence, why: &str) {
    let mut stale = settle(claimed, Verdict::Succeed);
    stale.fence = fence;
    stale.children = vec![task()];
    let settled = s.is_unchanged(why, || {
        let mut transaction = s.begin();
        let settled = transaction.settle(stale);
        transaction.commit();
        settled
    });
    assert_eq!(settled, Settled::Fenced, "{why}");
}

pub fn what_is_enqueued_is_there_if_and_only_if_it_commits(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let (plain, keyed) = (task(), task().key("k"));
    let both = [plain.id, keyed.id];
    for commits in [false, true] {
        let mut transaction = s.begin();
        let before = s.everything();
        let replies = transaction.enqueue(vec![plain.clone(), keyed.clone()]);
        assert!(matches!(replies[..], [Enqueued::Accepted, Enqueued::Accepted]), "{replies:?}");
        assert_eq!(s.everything(), before, "nobody sees it before its end");
        if commits {
            transaction.commit();
            assert_eq!(s.ends(&both), [EndState::Live, EndState::Live]);
        } else {
            transaction.rollback();
            assert_eq!(s.everything(), before, "it was rolled back");
        }
    }
    assert_eq!(s.counts().enqueued, 2);
    assert_eq!(s.ask(A).ids(), both, "in their order");
}

pub fn a_known_id_is_accepted_again_in_it_and_nothing_happens(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let known = task().key("k");
    s.enqueue(known.clone());
    s.is_unchanged("a known id", || {
        let mut transaction = s.begin();
        let replies = transaction.enqueue(vec![known]);
        assert!(matches!(replies[..], [Enqueued::Accepted]), "{replies:?}");
        transaction.commit();
    });
}

pub fn a_key_is_checked_in_it(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let held = s.enqueue(task().key("held"));
    let first = task().key("own");
    let mut transaction = s.begin();
    let batch = vec![task().key("held"), first.clone(), task().key("own")];
    let replies = transaction.enqueue(batch);
    assert_eq!(rivals(&replies), [Some(held), None, Some(first.id)], "{replies:?}");
    let replies = transaction.enqueue(vec![task().key("own"), task().key("held")]);
    assert_eq!(rivals(&replies), [Some(first.id), Some(held)], "{replies:?}");
    transaction.commit();
    assert_eq!(rivals(&[s.offer(task().key("own"))]), [Some(first.id)]);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (2, 5));
}

pub fn a_key_goes_to_its_heir_if_it_commits(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let claimed = s.active(A, task().key("k"));
    let heir = task().key("k");
    for (commits, holder) in [(false, claimed.fence.task), (true, heir.id)] {
        let mut transaction = s.begin();
        assert_eq!(transaction.settle(settle(&claimed, Verdict::Succeed)), Settled::Applied);
        let replies = transaction.enqueue(vec![heir.clone()]);
        assert!(matches!(replies[..], [Enqueued::Accepted]), "{replies:?}");
        transaction.end(commits);
        assert_eq!(rivals(&[s.offer(task().key("k"))]), [Some(holder)], "commits: {commits}");
    }
}

pub fn a_key_that_it_holds_is_taken_until_its_end(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    for commits in [false, true] {
        let mut transaction = s.begin();
        let first = task().key("k");
        transaction.enqueue(vec![first.clone()]);
        // By whom, nobody can know yet.
        let batch = vec![task().key("k"), task()];
        let replies = transaction.meanwhile(|| s.offer_all(batch));
        let right = matches!(replies[..], [Enqueued::Duplicate(None), Enqueued::Accepted]);
        assert!(right, "{replies:?}");
        if commits {
            transaction.commit();
            assert_eq!(rivals(&[s.offer(task().key("k"))]), [Some(first.id)]);
        } else {
            transaction.rollback();
            s.cancel(s.enqueue(task().key("k")));
        }
    }
}

pub fn a_settle_that_is_rolled_back_leaves_the_attempt_as_it_was(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    s.keep_watch();
    let claimed = s.active(A, task().key("k"));
    s.is_unchanged("a rollback", || {
        let mut transaction = s.begin();
        let mut end = settle(&claimed, Verdict::Succeed);
        end.children = vec![task(), task().key("k")];
        assert_eq!(transaction.settle(end), Settled::Applied);
        transaction.rollback();
    });
    s.watch_until(LEASE - 1);
    assert_eq!(s.rescue(B).rescued, [], "its lease is as it was");
    assert_eq!(s.renew(A, claimed.fence), HELD);
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
}

pub fn a_settle_that_commits_ends_the_task_once(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let claimed = s.active(A, task().key("k"));
    let id = claimed.fence.task;
    let end = settle(&claimed, Verdict::Succeed);
    let mut transaction = s.begin();
    assert_eq!(transaction.settle(end.clone()), Settled::Applied);
    assert_eq!(transaction.settle(end.clone()), Settled::Already, "a repeat in it");
    assert_eq!(s.end(id), EndState::Live, "it is still open");
    transaction.commit();
    assert_eq!(s.end(id), EndState::Ended(End::Succeeded));
    assert_eq!(s.info(id).ended_by, Some(A));
    s.is_unchanged("a repeat", || {
        assert_eq!(s.settle_as(end.clone()), Settled::Already, "the engine's, afterwards");
        let mut transaction = s.begin();
        assert_eq!(transaction.settle(end), Settled::Already, "in another");
        transaction.commit();
    });
    assert_eq!(s.renew(A, claimed.fence), Renewed::Lost);
    assert_eq!(s.counts().processed, 1);
    assert!(matches!(s.offer(task().key("k")), Enqueued::Accepted), "its key is free");
}

pub fn a_verdict_does_in_it_what_it_does_elsewhere(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    for verdict in every_verdict() {
        let [one, other] = ["plain", "inside"].map(|kind| {
            s.enqueue(task().kind(kind));
            s.ask(A).kinds(&[kind]).room(1).tasks().remove(0)
        });
        assert_eq!(s.settle(&one, verdict.clone()), Settled::Applied, "{verdict:?}");
        let mut transaction = s.begin();
        let settled = transaction.settle(settle(&other, verdict.clone()));
        assert_eq!(settled, Settled::Applied, "{verdict:?}");
        transaction.commit();
        assert_eq!(outcome(&s, &other), outcome(&s, &one), "{verdict:?}");
        // Out of the way of the next one.
        s.cancel_all(&[one.fence.task, other.fence.task]);
    }
}

/// What became of a task and of what is counted, apart from times.
fn outcome(s: &Setup, claimed: &Claimed) -> impl PartialEq + Debug {
    let info = s.info(claimed.fence.task);
    let attempts: Vec<_> = info.attempts.into_iter().map(|attempt| attempt.ended).collect();
    let counts = s.counters().kind(claimed.kind.as_str());
    ((info.state, info.end, info.note, info.holder, info.ended_by), info.budgets, attempts, counts)
}

pub fn children_come_with_the_settle_if_it_commits(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let claimed = s.active(A, task().key("k"));
    s.enqueue(task().key("held").kind("child"));
    let (heir, child) = (task().key("k"), task().kind("child"));
    let duplicate = task().key("held").kind("child");
    let children = [heir.id, child.id, duplicate.id];
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = vec![heir, duplicate.clone(), child];
    for commits in [false, true] {
        let mut transaction = s.begin();
        assert_eq!(transaction.settle(end.clone()), Settled::Applied);
        assert_eq!(s.ends(&children), [const { EndState::Gone }; 3], "it is still open");
        transaction.end(commits);
        let state = if commits { EndState::Live } else { EndState::Gone };
        assert_eq!(s.ends(&children), [state.clone(), state, EndState::Gone]);
    }
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.processed, counts.duplicates), (4, 1, 1));
}

pub fn a_settle_whose_fence_is_not_current_changes_nothing_in_it(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    s.keep_watch();
    let first = s.active(A, task());
    let fence = first.fence;
    is_refused(&s, &first, Fence { epoch: 2, ..fence }, "an epoch to come");
    is_refused(&s, &first, Fence { incarnation: B, ..fence }, "another process");
    is_refused(&s, &first, Fence { incarnation: Incarnation::new(0), ..fence }, "nobody");
    s.settle(&first, give_back());
    let second = s.claim_one(A);
    is_refused(&s, &first, fence, "an epoch before");
    let rescued = s.rescue_after_death().rescued;
    assert!(rescued.iter().any(|rescued| rescued.id == second.fence.task), "{rescued:?}");
    is_refused(&s, &second, second.fence, "taken back");
}

pub fn an_open_one_is_in_nobodys_way(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let claimed = s.several(2);
    let [one, two] = [&claimed[0], &claimed[1]];
    let mut transaction = s.begin();
    transaction.enqueue(vec![task(), task().key("k").kind("new")]);
    transaction.settle(settle(one, Verdict::Succeed));
    transaction.meanwhile(|| {
        let new = s.enqueue_all([task().kind("new"), task().kind("new").key("another")]);
        let theirs = s.ask(B).kinds(&["new"]).tasks();
        assert_eq!(ids(&theirs), new, "a claim");
        assert_eq!(s.renew(B, theirs[0].fence), HELD, "a renewal");
        assert_eq!(s.settle(&theirs[0], Verdict::Succeed), Settled::Applied, "a settle");
        assert_eq!(s.settle(two, Verdict::Succeed), Settled::Applied, "of the same process");
        s.promote();
        s.rescue(B);
        s.counts();
    });
    transaction.commit();
    assert_eq!(s.counts().processed, 3);
}

pub fn what_it_settles_is_busy_and_not_taken_back(suite: &Suite) {
    for commits in [false, true] {
        let Some(s) = open(suite) else { return };
        s.keep_watch();
        let claimed = s.several(2);
        let fences = [claimed[0].fence, claimed[1].fence];
        let mut transaction = s.begin();
        transaction.settle(settle(&claimed[0], Verdict::Succeed));
        let rescued = transaction.meanwhile(|| {
            let renewed = s.done(s.store.renew(A, &fences, s.lease()));
            assert_eq!(renewed, [Renewed::Busy, HELD], "the one beside it is renewed");
            s.watch(LEASE + 1).rescued
        });
        let rescued: Vec<_> = rescued.iter().map(|rescued| rescued.id).collect();
        assert_eq!(rescued, [fences[1].task], "the one beside it is taken back");
        if commits {
            transaction.commit();
            assert_eq!(s.end(fences[0].task), EndState::Ended(End::Succeeded));
        } else {
            transaction.rollback();
            let rescued = s.watch(LEASE / 2).rescued;
            let rescued: Vec<_> = rescued.iter().map(|rescued| rescued.id).collect();
            assert_eq!(rescued, [fences[0].task], "its lease ran out meanwhile");
        }
    }
}

pub fn others_are_told_of_it_when_it_has_committed(suite: &Suite) {
    let Some(s) = open(suite) else { return };
    let listener = Listener::of(&s);
    let mut transaction = s.begin();
    transaction.enqueue(vec![task()]);
    listener.hears_of(&s, "q", Priority::NORMAL, || transaction.commit());
}

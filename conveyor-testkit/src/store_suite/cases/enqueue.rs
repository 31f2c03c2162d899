//! Enqueue: what comes in is accepted once, refused by its key, or given back for want of room.

use conveyor_core::store::{Enqueued, NewTask, Verdict};
use conveyor_core::task::Start;
use conveyor_core::{Priority, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, Setup};
use crate::store_suite::task::{Set, encoded, task};

pub fn an_accepted_task_is_there_as_it_was_given(suite: &Suite) {
    let s = suite.open();
    let delay = s.ticks(9);
    let mut new = task().kind("mail").queue("slow").key("k").priority(Priority::HIGH).delay(delay);
    new.timeout = Some(s.ticks(7));
    new.retries = Some(5);
    let enqueue = || s.info(s.enqueue(new.clone()));
    let info = s.check_time(enqueue, |now| now + delay, |info| info.due);
    assert_eq!(
        (info.kind, info.queue, info.key),
        (new.kind.clone(), new.queue.clone(), new.key.clone())
    );
    assert_eq!((info.priority, info.state), (Priority::HIGH, TaskState::Scheduled));
    assert_eq!((info.epoch, info.holder, info.suspect), (0, None, false));
    assert_eq!((info.budgets, info.note, info.end), (Default::default(), None, None));

    s.advance(9);
    let claimed = s.ask(A).queues(&["slow"]).kinds(&["mail"]).tasks().remove(0);
    assert_eq!(encoded(&claimed.payload), encoded(&new.payload));
    assert_eq!((claimed.kind.as_str(), claimed.queue.as_str()), ("mail", "slow"));
    assert_eq!(claimed.key, new.key);
    assert_eq!((claimed.timeout, claimed.retries), (new.timeout, new.retries));
    assert_eq!((claimed.priority, claimed.cancel), (Priority::HIGH, false));
}

pub fn a_task_that_says_nothing_of_timeout_and_retries_has_none_of_the_stores(suite: &Suite) {
    let claimed = suite.open().active(A, task());
    assert_eq!((claimed.timeout, claimed.retries, claimed.key), (None, None, None));
}

pub fn a_known_id_is_accepted_again_and_nothing_happens(suite: &Suite) {
    let s = suite.open();
    let new = task().key("k");
    let id = s.enqueue(new.clone());
    let again = |state: &str| {
        let reply = s.is_unchanged(state, || s.offer(new.clone()));
        assert!(matches!(reply, Enqueued::Accepted), "{state}: {reply:?}");
    };
    again("queued");
    let claimed = s.claim_one(A);
    again("active");
    s.settle(&claimed, Verdict::Succeed);
    again("ended");
    assert_eq!((s.state(id), s.counts().enqueued), (TaskState::Ended, 1));
}

pub fn an_id_that_is_in_a_batch_twice_is_one_task(suite: &Suite) {
    let s = suite.open();
    let new = task().key("k");
    let other = NewTask { key: None, ..task() };
    for reply in s.offer_all(vec![new.clone(), other.clone(), new, other]) {
        assert!(matches!(reply, Enqueued::Accepted), "{reply:?}");
    }
    assert_eq!(s.counts().enqueued, 2);
}

pub fn a_batch_is_answered_in_order_each_element_for_itself(suite: &Suite) {
    let s = suite.open();
    let (first, second) = (task().key("k"), task().key("l"));
    let batch = vec![
        task(),
        first.clone(),
        task().key("k"),
        second.clone(),
        task().key("l"),
        first.clone(),
        task().key("k").kind("other"),
    ];
    let holder = |reply: &Enqueued| match reply {
        Enqueued::Accepted => None,
        Enqueued::Duplicate(holder) => Some(*holder),
        full @ Enqueued::Full { .. } => panic!("{full:?}"),
    };
    let holders: Vec<_> = s.offer_all(batch).iter().map(holder).collect();
    let (first, second) = (Some(Some(first.id)), Some(Some(second.id)));
    assert_eq!(holders, [None, None, first, None, second, None, None]);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (4, 2));
}

pub fn an_empty_batch_is_answered_with_nothing(suite: &Suite) {
    let s = suite.open();
    assert!(s.offer_all(Vec::new()).is_empty());
    assert!(s.settle_all(Vec::new()).is_empty());
    assert!(s.renew_all(A, &[]).is_empty());
    assert!(s.cancel_all(&[]).is_empty());
    assert!(s.ends(&[]).is_empty());
    assert!(s.done(s.store.tick(Vec::new())).is_empty());
}

pub fn a_batch_may_be_large(suite: &Suite) {
    let s = suite.open();
    let ids = s.enqueue_all((0..3_000).map(|_| task()));
    assert_eq!(s.counts().queued, 3_000);
    assert!(s.ask(A).ids() == ids, "they are claimed in their order");
}

pub fn an_instant_that_has_passed_is_due_at_once(suite: &Suite) {
    let s = suite.open();
    let past = s.now() - s.ticks(5);
    let id = s.enqueue(task().start(Start::At(past)));
    let info = s.info(id);
    assert_eq!((info.due, info.state), (past, TaskState::Queued), "and keeps its place");
}

fn is_full(s: &Setup, task: NewTask, capacity: usize) -> bool {
    let (id, payload) = (task.id, encoded(&task.payload));
    match s.offer(task) {
        Enqueued::Accepted => false,
        Enqueued::Full { task, capacity: said } => {
            assert_eq!((task.id, encoded(&task.payload), said), (id, payload, capacity));
            true
        }
        other @ Enqueued::Duplicate(_) => panic!("{other:?}"),
    }
}

pub fn a_full_store_gives_the_task_back_until_there_is_room(suite: &Suite) {
    let s = suite.bounded(2);
    s.enqueue(task());
    let delayed = s.enqueue(task().delay(s.ticks(60)));
    let refused = task();
    assert!(is_full(&s, refused.clone(), 2));
    assert_eq!(s.counts().enqueued, 2);
    let claimed = s.claim_one(A);
    assert!(is_full(&s, refused.clone(), 2), "an active task is live");
    s.settle(&claimed, Verdict::Succeed);
    assert!(!is_full(&s, refused, 2), "an end makes room");
    s.cancel(delayed);
    assert!(!is_full(&s, task(), 2), "a cancel makes room");
    assert!(is_full(&s, task(), 2));
}

pub fn what_is_known_or_refused_anyway_needs_no_room(suite: &Suite) {
    let s = suite.bounded(2);
    let (ended, plain, keyed) = (task(), task(), task().key("k"));
    let claimed = s.active(A, ended.clone());
    s.settle(&claimed, Verdict::Succeed);
    s.enqueue(plain.clone());
    let id = s.enqueue(keyed.clone());
    for known in [ended, plain, keyed] {
        assert!(matches!(s.offer(known), Enqueued::Accepted), "a repeat");
    }
    let reply = s.offer(task().key("k"));
    assert!(matches!(reply, Enqueued::Duplicate(Some(holder)) if holder == id), "{reply:?}");
}

pub fn a_batch_fills_a_bounded_store_in_its_order(suite: &Suite) {
    let s = suite.bounded(3);
    let replies = s.offer_all((0..5).map(|_| task()).collect());
    let accepted = |reply: &Enqueued| matches!(reply, Enqueued::Accepted);
    let accepted: Vec<bool> = replies.iter().map(accepted).collect();
    assert_eq!(accepted, [true, true, true, false, false]);
}

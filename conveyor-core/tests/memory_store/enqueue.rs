//! Enqueue: what comes in is accepted once, refused by its key, or given back for want of room.

use std::time::Duration;

use conveyor_core::store::{Enqueued, Verdict};
use conveyor_core::{End, Priority, TaskState};

use crate::setup::{A, Options, Set, Setup, done, secs, task};

#[test]
fn an_accepted_task_is_there_as_it_was_given() {
    let s = Setup::new();
    let mut new =
        task().kind("mail").queue("slow").key("k").priority(Priority::HIGH).delay(secs(9));
    new.timeout = Some(secs(7));
    new.retries = Some(5);
    let (payload, id) = (*new.payload.downcast_ref::<u64>().unwrap(), s.enqueue(new));

    let info = s.info(id);
    assert_eq!(info.kind.as_str(), "mail");
    assert_eq!(info.queue.as_str(), "slow");
    assert_eq!(info.key.unwrap().as_str(), "k");
    assert_eq!(info.priority, Priority::HIGH);
    assert_eq!(info.state, TaskState::Scheduled);
    assert_eq!(info.due, s.now() + secs(9));
    assert_eq!((info.epoch, info.holder, info.suspect), (0, None, false));

    s.advance(secs(9));
    let claimed = s.ask(A).queues(&["slow"]).kinds(&["mail"]).tasks().remove(0);
    assert_eq!(claimed.payload.downcast_ref::<u64>(), Some(&payload));
    assert_eq!(claimed.timeout, Some(secs(7)));
    assert_eq!(claimed.retries, Some(5));
    assert_eq!(claimed.key.unwrap().as_str(), "k");
    assert_eq!(claimed.priority, Priority::HIGH);
}

#[test]
fn a_known_id_is_accepted_again_and_nothing_happens() {
    let s = Setup::new();
    let new = task().key("k");
    let id = s.enqueue(new.clone());
    let unchanged = |what: &str| {
        let before = s.everything();
        let reply = s.offer(new.clone());
        assert!(matches!(reply, Enqueued::Accepted), "{what}: {reply:?}");
        assert_eq!(s.everything(), before, "{what}");
    };
    unchanged("queued");
    let claimed = s.claim_one(A);
    unchanged("active");
    s.settle(&claimed, Verdict::Succeed);
    unchanged("ended");
    assert_eq!(s.state(id), TaskState::Ended);
    assert_eq!(s.counts().enqueued, 1);
}

#[test]
fn a_key_of_a_live_task_refuses_another_and_names_the_live_one() {
    let s = Setup::new();
    let live = s.enqueue(task().key("k"));
    for other in
        [task().key("k"), task().key("k").queue("elsewhere"), task().key("k").delay(secs(1))]
    {
        let reply = s.offer(other);
        assert!(matches!(reply, Enqueued::Duplicate(Some(id)) if id == live), "{reply:?}");
    }
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (1, 3));
}

#[test]
fn a_key_belongs_to_its_kind_and_no_key_to_nobody() {
    let s = Setup::new();
    s.enqueue(task().key("k"));
    s.enqueue(task().key("k").kind("other"));
    s.enqueue(task().key("another"));
    s.enqueue(task());
    s.enqueue(task());
    assert_eq!(s.counts().queued, 5);
    assert_eq!(s.counts().duplicates, 0);
}

#[test]
fn a_full_store_gives_the_task_back_until_there_is_room() {
    let s = Setup::with(Options { capacity: Some(2), ..Options::default() });
    let first = task();
    s.enqueue(first.clone());
    s.enqueue(task().delay(secs(60)));
    let refused = task();
    match s.offer(refused.clone()) {
        Enqueued::Full { task, capacity } => {
            assert_eq!((task.id, capacity), (refused.id, 2));
            assert_eq!(task.payload.downcast_ref::<u64>(), refused.payload.downcast_ref());
        }
        reply => panic!("{reply:?}"),
    }
    assert!(matches!(s.offer(first), Enqueued::Accepted), "what is in needs no room");
    assert_eq!(s.counts().enqueued, 2);

    let claimed = s.claim_one(A);
    assert!(matches!(s.offer(refused.clone()), Enqueued::Full { .. }), "an active task is live");
    s.settle(&claimed, Verdict::Succeed);
    s.enqueue(refused);
}

#[test]
fn a_batch_is_answered_in_order_each_element_for_itself() {
    let s = Setup::with(Options { capacity: Some(3), ..Options::default() });
    let keyed = task().key("k");
    let batch = vec![keyed.clone(), task().key("k"), keyed.clone(), task(), task(), task()];
    let replies = done(s.store.enqueue(batch));
    let short: Vec<&str> = replies
        .iter()
        .map(|reply| match reply {
            Enqueued::Accepted => "accepted",
            Enqueued::Duplicate(Some(id)) if *id == keyed.id => "duplicate",
            Enqueued::Full { .. } => "full",
            Enqueued::Duplicate(_) => "duplicate of another",
        })
        .collect();
    assert_eq!(short, ["accepted", "duplicate", "accepted", "accepted", "accepted", "full"]);
    assert_eq!(done(s.store.enqueue(Vec::new())).len(), 0);
}

#[test]
fn a_delay_beyond_all_time_is_no_overflow() {
    let s = Setup::new();
    let id = s.enqueue(task().delay(Duration::MAX));
    assert_eq!(s.state(id), TaskState::Scheduled);
    let claimed = s.active(A, task());
    s.settle(&claimed, Verdict::Snooze { delay: Duration::MAX });
    assert_eq!(s.ask(A).ids(), []);
    done(s.store.cancel(&[id, claimed.fence.task]));
    assert!(matches!(s.info(id).end, Some(End::Cancelled(_))));
}

//! Durability: what the store says of itself is true.

use conveyor_core::store::{Durability, ScheduleDefinition, Settled, Verdict};
use conveyor_core::{Kind, Schedule, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::A;
use crate::store_suite::task::{Set, encoded, task};

pub fn the_store_says_how_durable_it_is(suite: &Suite) {
    let s = suite.open();
    assert_eq!(s.done(s.store.durability()), suite.harness().durability());
}

pub fn what_is_more_durable_than_memory_outlives_its_handle(suite: &Suite) {
    let s = suite.open();
    if s.done(s.store.durability()) == Durability::Memory {
        return; // It promises nothing.
    }
    let mut new = task().key("k").delay(s.ticks(5));
    (new.timeout, new.retries) = (Some(s.ticks(3)), Some(7));
    let id = s.enqueue(new.clone());
    let held = s.active(A, task());
    let schedule = Schedule::every(s.ticks(5)).expect("a tick is at least 1 ms");
    let definition = ScheduleDefinition { name: Kind::from_static("work"), schedule };
    let put = s.done(s.store.put_schedule(definition.clone()));
    s.pause("paused", true);
    let before = s.everything();
    suite.close(s);

    let s = suite.open_again();
    assert_eq!(s.everything(), before);
    assert_eq!(s.settle(&held, Verdict::Succeed), Settled::Applied, "and the fence is good");
    let stands = s.done(s.store.put_schedule(definition));
    assert_eq!((stands.revision, stands.mark), (put.revision, put.mark));
    s.enqueue(task().queue("paused"));
    assert_eq!(s.ask(A).queues(&["paused"]).ids(), []);
    s.advance(5);
    let claimed = s.claim_one(A);
    assert_eq!((claimed.fence.task, claimed.key), (id, new.key));
    assert_eq!((claimed.timeout, claimed.retries), (new.timeout, new.retries));
    assert_eq!(encoded(&claimed.payload), encoded(&new.payload));
    assert_eq!(s.state(id), TaskState::Active);
}

pub fn a_store_that_is_behind_no_wire_answers_at_once(suite: &Suite) {
    let s = suite.open();
    let says = s.store.capabilities();
    assert!(!says.name.is_empty());
    let at_once = s.store.enqueue_one(task()).now_or_later().is_ok();
    assert_eq!(at_once, says.immediate, "as it says of itself");
}

pub fn the_clock_does_not_stand_still_nor_go_back_by_itself(suite: &Suite) {
    let s = suite.open();
    let mut last = s.now();
    for _ in 0..20 {
        let now = s.now();
        assert!(now >= last);
        last = now;
    }
    s.advance(3);
    assert!(s.now() >= last + s.ticks(3));
}

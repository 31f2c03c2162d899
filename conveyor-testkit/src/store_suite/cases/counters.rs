//! Counters: each is added to in the step of what it counts, so at rest they equal the history.

use conveyor_core::metrics::Counts;
use conveyor_core::store::Verdict;
use conveyor_core::{Kind, QueueName};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{fail, park, retry_after, settle, snooze};

pub fn a_new_store_has_counted_nothing(suite: &Suite) {
    assert_eq!(suite.open().counters().total(), Counts::default());
}

pub fn what_happens_is_counted_by_queue_and_kind(suite: &Suite) {
    let s = suite.open();
    for (queue, kind, count) in [("q", "work", 3), ("q", "play", 2), ("x", "work", 1)] {
        s.enqueue_all((0..count).map(|_| task().queue(queue).kind(kind)));
    }
    for claimed in s.ask(A).tasks() {
        s.settle(&claimed, Verdict::Succeed);
    }
    let counters = s.counters();
    let of = |queue, kind| counters.each[&(QueueName::from_static(queue), Kind::from_static(kind))];
    assert_eq!(counters.each.len(), 3);
    assert_eq!((of("q", "work").processed, of("q", "work").queued), (3, 0));
    assert_eq!((of("q", "play").processed, of("q", "play").queued), (0, 2));
    assert_eq!((of("x", "work").enqueued, of("x", "work").queued), (1, 1));
    assert_eq!((counters.queue("q").enqueued, counters.kind("work").enqueued), (5, 4));
}

pub fn a_duplicate_is_counted_where_it_was_offered(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task().key("k"));
    s.offer(task().key("k").queue("x"));
    let counters = s.counters();
    assert_eq!((counters.queue("q").duplicates, counters.queue("x").duplicates), (0, 1));
    assert_eq!((counters.queue("x").enqueued, counters.queue("x").queued), (0, 0));
}

pub fn the_numbers_agree_with_the_tasks_at_every_step_of_a_life(suite: &Suite) {
    let s = suite.watched();
    let is = |what: &str, gauges: [u64; 4]| {
        let counts = s.counts();
        let now = [counts.queued, counts.scheduled, counts.active, counts.parked];
        assert_eq!(now, gauges, "{what}");
    };
    s.enqueue(task().delay(s.ticks(1)));
    is("delayed", [0, 1, 0, 0]);
    s.watch(1);
    s.promote();
    is("promoted", [1, 0, 0, 0]);
    let claimed = s.claim_one(A);
    is("claimed", [0, 0, 1, 0]);
    s.settle(&claimed, retry_after(s.ticks(2)));
    is("to be retried", [0, 1, 0, 0]);
    s.watch(2);
    let claimed = s.claim_one(A);
    is("claimed again, unseen by a promotion", [0, 0, 1, 0]);
    s.settle(&claimed, snooze());
    is("snoozed for no time", [1, 0, 0, 0]);
    s.claim_one(A);
    s.rescue_after_death();
    is("rescued", [1, 0, 0, 0]);
    let suspect = s.claim_suspect(B);
    is("claimed alone", [0, 0, 1, 0]);
    s.settle(&suspect, park());
    is("parked", [0, 0, 0, 1]);
    s.cancel(suspect.fence.task);
    is("cancelled", [0, 0, 0, 0]);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.ended(), counts.cancelled), (1, 1, 1));
    assert_eq!((counts.retried, counts.snoozed, counts.returned, counts.crashed), (1, 1, 0, 0));
}

pub fn panics_and_timeouts_are_counted_beside_the_verdict(suite: &Suite) {
    let s = suite.open();
    for (panicked, timed_out) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut end = settle(&s.active(A, task()), fail());
        (end.panicked, end.timed_out) = (panicked, timed_out);
        s.settle_as(end);
    }
    let counts = s.counts();
    assert_eq!((counts.failed, counts.panicked, counts.timed_out), (4, 2, 2));
}

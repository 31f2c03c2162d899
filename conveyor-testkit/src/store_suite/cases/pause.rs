//! Pause: it belongs to the queue, and stops nothing but claims.

use conveyor_core::TaskState;
use conveyor_core::store::{Renewed, Settled, Verdict};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, Setup};
use crate::store_suite::task::{Set, task};

pub fn a_paused_queue_gives_out_nothing_until_it_is_resumed(suite: &Suite) {
    let s = suite.open();
    s.pause("q", true);
    let waiting = s.enqueue(task());
    let elsewhere = s.enqueue(task().queue("other"));
    assert_eq!(s.ask(A).queues(&["q", "other"]).ids(), [elsewhere]);
    assert_eq!(s.ask(B).ids(), [], "to nobody");
    assert_eq!(s.state(waiting), TaskState::Queued);
    s.pause("q", false);
    assert_eq!(s.ask(A).ids(), [waiting]);
}

pub fn what_is_active_goes_on_in_a_paused_queue(suite: &Suite) {
    let s = suite.open();
    let running = s.active(A, task());
    s.pause("q", true);
    assert_eq!(s.renew(A, running.fence), Renewed::Held { cancel: false });
    assert_eq!(s.settle(&running, Verdict::Succeed), Settled::Applied);
}

pub fn a_request_that_is_sent_again_gets_its_claims_also_in_a_paused_queue(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task());
    let request = s.ask(A);
    assert_eq!(request.ids(), [id]);
    s.pause("q", true);
    assert_eq!(request.ids(), [id], "it holds them");
}

pub fn a_queue_may_be_paused_before_its_first_task(suite: &Suite) {
    let s = suite.open();
    s.pause("q", true);
    s.pause("q", true);
    let id = s.enqueue(task());
    assert_eq!(s.ask(A).ids(), []);
    s.pause("q", false);
    s.pause("q", false);
    assert_eq!(s.ask(A).ids(), [id]);
}

pub fn a_pause_outlives_the_tasks_of_its_queue(suite: &Suite) {
    let s = suite.open();
    let running = s.active(A, task());
    s.pause("q", true);
    s.settle(&running, Verdict::Succeed);
    s.enqueue(task());
    assert_eq!(s.ask(A).ids(), []);
}

pub fn delays_come_due_in_a_paused_queue(suite: &Suite) {
    let s = suite.open();
    let id = s.enqueue(task().delay(s.ticks(2)));
    s.pause("q", true);
    s.advance(2);
    assert_eq!(s.promote(), None);
    assert_eq!((s.state(id), s.ask(A).ids()), (TaskState::Queued, vec![]));
}

pub fn a_pause_holds_for_every_process(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let id = s.enqueue(task());
    s.pause("q", true);
    assert_eq!(other.ask(B).ids(), []);
    other.pause("q", false);
    assert_eq!(s.ask(A).ids(), [id]);
}

pub fn the_paused_queues_are_told_by_name(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let paused = |s: &Setup| s.paused().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(paused(&s), [""; 0]);
    s.enqueue(task());
    // In the order of their bytes, whatever a language makes of it.
    for queue in ["q", "b-a", "ba", "b.a", "B", "ä", "q"] {
        s.pause(queue, true);
    }
    assert_eq!(paused(&s), ["B", "b-a", "b.a", "ba", "q", "ä"]);
    assert_eq!(paused(&other), paused(&s));
    s.pause("never", false);
    s.pause("b-a", false);
    other.pause("B", false);
    assert_eq!(paused(&s), ["b.a", "ba", "q", "ä"]);
}

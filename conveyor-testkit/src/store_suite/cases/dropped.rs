//! Dropped calls: who waits too long lets a call go and asks again. Whether it had its effect,
//! nobody knows; it never has it by half or twice, and the store goes on.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use conveyor_core::store::{
    Enqueued, ScheduleDefinition, Settled, StoreFuture, Tick, Ticked, Verdict,
};
use conveyor_core::{Kind, Schedule};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, LEASE, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::settle;

/// How often a call is polled before it is let go.
const POLLS: [u32; 7] = [0, 1, 2, 3, 5, 10, 50];

/// Polls a call so often, and lets it go.
fn let_go<T: Send>(s: &Setup, call: StoreFuture<'_, T>, polls: u32) {
    let mut left = polls;
    s.harness().block_on(Box::pin(async {
        let mut call = pin!(call);
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            if call.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // What the call waits for goes on elsewhere.
            thread::sleep(Duration::from_micros(200));
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }));
}

pub fn an_enqueue_that_is_dropped_and_sent_again_is_one_task(suite: &Suite) {
    let s = suite.open();
    for (polls, count) in POLLS.into_iter().zip(1..) {
        let new = task().key("k");
        let_go(&s, s.store.enqueue(vec![new.clone()]), polls);
        let reply = s.offer(new.clone());
        assert!(matches!(reply, Enqueued::Accepted), "{polls} polls: {reply:?}");
        assert_eq!(s.counts().enqueued, count, "{polls} polls");
        s.cancel(new.id);
    }
}

pub fn a_claim_that_is_dropped_and_sent_again_holds_what_it_gets(suite: &Suite) {
    let s = suite.open();
    for polls in POLLS {
        s.enqueue_all((0..3).map(|_| task()));
        let request = s.ask(A).room(3);
        let_go(&s, request.call(), polls);
        let claimed = request.tasks();
        assert_eq!(claimed.len(), 3, "{polls} polls");
        assert_eq!(s.ask(B).ids(), [], "{polls} polls");
        for claimed in claimed {
            assert_eq!(claimed.fence.epoch, 1, "{polls} polls");
            assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied, "{polls} polls");
        }
    }
}

pub fn a_settle_that_is_dropped_and_sent_again_takes_effect_once(suite: &Suite) {
    let s = suite.open();
    for (polls, count) in POLLS.into_iter().zip(1..) {
        let mut end = settle(&s.active(A, task().key("k")), Verdict::Succeed);
        end.children = vec![task().kind("child")];
        let_go(&s, s.store.settle(vec![end.clone()]), polls);
        assert_ne!(s.settle_as(end), Settled::Fenced, "{polls} polls");
        let counts = s.counts();
        assert_eq!((counts.processed, counts.enqueued), (count, count * 2), "{polls} polls");
    }
}

pub fn a_tick_that_is_dropped_and_sent_again_fires_once(suite: &Suite) {
    let s = suite.open();
    let name = Kind::from_static("work");
    let schedule = Schedule::every(s.ticks(1)).expect("a tick is at least 1 ms");
    let definition = ScheduleDefinition { name: name.clone(), schedule };
    for (polls, count) in POLLS.into_iter().zip(1..) {
        let_go(&s, s.store.put_schedule(definition.clone()), polls);
        let state = s.done(s.store.put_schedule(definition.clone()));
        assert_eq!(state.revision, 1, "{polls} polls");
        let new = task();
        let tick = Tick {
            name: name.clone(),
            revision: state.revision,
            from: state.mark,
            to: s.now(),
            task: Some(new.clone()),
        };
        let_go(&s, s.store.tick(vec![tick.clone()]), polls);
        let ticked = s.done(s.store.tick(vec![tick])).remove(0);
        let fired = ticked == Ticked::Fired(new.id) || matches!(ticked, Ticked::Stale(_));
        assert!(fired, "{polls} polls: {ticked:?}");
        assert_eq!(s.counts().enqueued, count, "{polls} polls");
        s.settle(&s.claim_one(A), Verdict::Succeed);
        s.advance(1);
    }
}

pub fn a_crash_is_charged_once_whoever_drops_the_rescue(suite: &Suite) {
    let s = suite.watched();
    for polls in POLLS {
        let id = s.active(A, task()).fence.task;
        s.watch_until(LEASE);
        let_go(&s, s.store.rescue(s.rescue_request(B)), polls);
        s.rescue(B);
        assert_eq!(s.info(id).budgets.crashes, 1, "{polls} polls");
        s.cancel(id);
    }
}

pub fn many_dropped_calls_use_nothing_up(suite: &Suite) {
    let s = suite.open();
    let claimed = s.active(A, task());
    for turn in 0..200 {
        let polls = turn % 4;
        let_go(&s, s.store.counters(), polls);
        let_go(&s, s.store.enqueue(vec![task().kind("other")]), polls);
        let_go(&s, s.store.renew(A, &[claimed.fence], s.lease()), polls);
        let_go(&s, s.ask(B).kinds(&["none"]).call(), polls);
        let_go(&s, s.store.promote(10), polls);
    }
    assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
    let total = s.counters().total();
    assert_eq!(total.enqueued, total.live() + total.ended(), "{total:?}");
}

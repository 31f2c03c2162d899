//! Schedules: put once, replaced by revision, and each instant done once in the whole cluster.

use std::time::Duration;

use conveyor_core::store::{
    Enqueued, NewTask, ScheduleDefinition, ScheduleState, Tick, Ticked, Verdict,
};
use conveyor_core::{Kind, Missed, Overlap, Schedule, TaskState};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, Setup};
use crate::store_suite::task::{Set, task};

const NAME: Kind = Kind::from_static("work");

fn every(secs: u64) -> Schedule {
    Schedule::every(Duration::from_secs(secs)).expect("a period above 1 ms")
}

fn put_as(s: &Setup, name: Kind, schedule: Schedule) -> ScheduleState {
    s.done(s.store.put_schedule(ScheduleDefinition { name, schedule }))
}

fn put(s: &Setup, schedule: Schedule) -> ScheduleState {
    put_as(s, NAME, schedule)
}

/// A tick that moves the mark from where `state` has it to now.
fn tick_now(s: &Setup, state: &ScheduleState, task: Option<NewTask>) -> Tick {
    Tick { name: NAME, revision: state.revision, from: state.mark, to: s.now(), task }
}

fn tick_all(s: &Setup, batch: Vec<Tick>) -> Vec<Ticked> {
    let count = batch.len();
    let replies = s.done(s.store.tick(batch));
    assert_eq!(replies.len(), count, "each element is answered");
    replies
}

fn tick(s: &Setup, tick: Tick) -> Ticked {
    tick_all(s, vec![tick]).remove(0)
}

/// The reply must be that the tick came too late, and the schedule stands like this.
fn assert_stale(reply: &Ticked, stands: &ScheduleState) {
    let Ticked::Stale(state) = reply else { panic!("{reply:?}") };
    assert_eq!(*state, ScheduleState { now: state.now, ..stands.clone() });
    assert!(state.now >= stands.now);
}

pub fn every_sort_of_schedule_comes_back_as_it_was_put(suite: &Suite) {
    let s = suite.open();
    let cron = |expression| Schedule::cron(expression).expect("a cron expression");
    let berlin = Schedule::cron_in("30 9 * * MON-FRI", "Europe/Berlin").expect("a zone");
    let schedules = [
        every(10),
        Schedule::every(Duration::from_millis(1)).expect("a period of 1 ms"),
        Schedule::every(Duration::from_micros(1_234_567)).expect("a period above 1 ms"),
        every(10).missed(Missed::All).overlap(Overlap::Allow),
        every(10).missed(Missed::Skip),
        cron("*/5 * * * * *"),
        cron("0 0 29 2 *"),
        berlin.clone(),
        berlin.missed(Missed::All),
    ];
    for (revision, schedule) in (1..).zip(schedules) {
        let state = put(&s, schedule.clone());
        assert_eq!((&state.schedule, state.revision), (&schedule, revision));
        let again = put(&s, schedule);
        assert_eq!(again, ScheduleState { now: again.now, ..state });
    }
}

pub fn the_same_definition_is_the_same_revision(suite: &Suite) {
    let s = suite.open();
    let first = s.check_time(|| put(&s, every(10)), |now| now, |state| state.anchor);
    assert_eq!(first.revision, 1);
    assert!(first.anchor <= first.now, "by the same clock");
    assert!(first.mark < first.anchor, "the anchor is an instant that is not done with");
    s.advance(5);
    let again = s.check_time(|| put(&s, every(10)), |now| now, |state| state.now);
    assert_eq!(again, ScheduleState { now: again.now, ..first });
}

pub fn another_definition_is_the_next_revision_with_a_new_anchor(suite: &Suite) {
    let s = suite.open();
    let first = put(&s, every(10));
    s.advance(5);
    let second = s.check_time(|| put(&s, every(20)), |now| now, |state| state.anchor);
    assert_eq!(second.revision, 2);
    assert!(second.mark > first.mark && second.mark < second.anchor);
    let third = put(&s, every(20).overlap(Overlap::Allow));
    assert_eq!(third.revision, 3, "a policy is a part of the definition");
    let fourth = put(&s, every(10));
    assert_eq!(fourth.revision, 4, "also one that was there before");
}

pub fn a_tick_moves_the_mark_and_inserts_its_task_in_one_step(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    let new = task();
    let tick = tick_now(&s, &state, Some(new.clone()));
    let to = tick.to;
    assert_eq!(self::tick(&s, tick), Ticked::Fired(new.id));
    assert_eq!((s.state(new.id), put(&s, every(10)).mark), (TaskState::Queued, to));
    assert_eq!(s.claim_one(A).fence.task, new.id);
}

pub fn an_instant_is_done_once_whoever_sees_it(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    let first = tick_now(&s, &state, Some(task()));
    let second = Tick { task: Some(task()), ..first.clone() };
    let replies = tick_all(&s, vec![first.clone(), second]);
    assert!(matches!(replies[0], Ticked::Fired(_)), "{replies:?}");
    let stands = ScheduleState { mark: first.to, ..state };
    assert_stale(&replies[1], &stands);
    assert_stale(&tick(&s, first), &stands);
    assert_eq!(s.counts().enqueued, 1);
}

pub fn two_processes_fire_an_instant_once(suite: &Suite) {
    let s = suite.open();
    let other = s.again();
    let state = put(&s, every(10));
    let seen = put(&other, every(10));
    assert_eq!(seen, ScheduleState { now: seen.now, ..state.clone() });
    let first = tick_now(&s, &state, Some(task()));
    let second = Tick { task: Some(task()), ..first.clone() };
    assert!(matches!(tick(&other, second), Ticked::Fired(_)));
    assert!(matches!(tick(&s, first), Ticked::Stale(_)));
    assert_eq!(s.counts().enqueued, 1);
}

pub fn the_mark_only_rises(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    for back in [0, 1] {
        let to = state.mark - s.ticks(back);
        let tick = Tick { to, ..tick_now(&s, &state, Some(task())) };
        assert_stale(&self::tick(&s, tick), &state);
    }
    assert_eq!(s.counts().enqueued, 0);
}

pub fn a_tick_from_another_mark_is_stale_also_if_it_would_go_further(suite: &Suite) {
    let s = suite.open();
    let seen = put(&s, every(10));
    s.advance(1);
    assert!(matches!(tick(&s, tick_now(&s, &seen, Some(task()))), Ticked::Fired(_)));
    s.advance(1);
    let stands = put(&s, every(10));
    assert_stale(&tick(&s, tick_now(&s, &seen, Some(task()))), &stands);
    assert_eq!(s.counts().enqueued, 1);
}

pub fn a_tick_of_an_older_revision_is_stale(suite: &Suite) {
    let s = suite.open();
    let old = put(&s, every(10));
    s.advance(1);
    let new = put(&s, every(20));
    let of_old = Tick { from: new.mark, ..tick_now(&s, &old, Some(task())) };
    assert_stale(&tick(&s, of_old), &new);
    assert_eq!(s.counts().enqueued, 0);
}

pub fn another_definition_does_not_let_the_mark_fall(suite: &Suite) {
    let s = suite.open();
    let first = put(&s, every(10));
    let ahead = s.now() + s.ticks(3);
    let tick = Tick { to: ahead, ..tick_now(&s, &first, Some(task())) };
    assert!(matches!(self::tick(&s, tick), Ticked::Fired(_)));
    assert_eq!(put(&s, every(20)).mark, ahead, "these instants are done with");
}

pub fn a_clock_that_is_set_back_does_not_let_the_mark_fall(suite: &Suite) {
    let s = suite.open();
    s.set_back(0);
    let first = put(&s, every(10));
    let tick = tick_now(&s, &first, Some(task()));
    let to = tick.to;
    assert!(matches!(self::tick(&s, tick), Ticked::Fired(_)));
    s.set_back(100);
    assert_eq!(put(&s, every(10)).mark, to);
    assert_eq!(put(&s, every(20)).mark, to);
}

pub fn an_overlap_is_skipped_until_the_last_task_has_ended(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    tick(&s, tick_now(&s, &state, Some(task())));
    let claimed = s.claim_one(A);
    for _ in 0..2 {
        s.advance(1);
        let state = put(&s, every(10));
        let tick = tick_now(&s, &state, Some(task()));
        let to = tick.to;
        assert_eq!(self::tick(&s, tick), Ticked::Skipped);
        assert_eq!(put(&s, every(10)).mark, to, "the instant is done with");
    }
    s.settle(&claimed, Verdict::Succeed);
    s.advance(1);
    let state = put(&s, every(10));
    assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (2, 0), "a skipped one is no duplicate");
}

pub fn another_definition_does_not_overlap_with_the_task_of_the_one_before(suite: &Suite) {
    let s = suite.open();
    let first = put(&s, every(10));
    tick(&s, tick_now(&s, &first, Some(task())));
    let claimed = s.claim_one(A);
    s.advance(1);
    let second = put(&s, every(20));
    assert_eq!(tick(&s, tick_now(&s, &second, Some(task()))), Ticked::Skipped);
    s.settle(&claimed, Verdict::Succeed);
    s.advance(1);
    let second = put(&s, every(20));
    assert!(matches!(tick(&s, tick_now(&s, &second, Some(task()))), Ticked::Fired(_)));
}

pub fn an_overlap_is_allowed_where_the_schedule_says_so(suite: &Suite) {
    let s = suite.open();
    for _ in 0..3 {
        let state = put(&s, every(10).overlap(Overlap::Allow));
        assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
        s.advance(1);
    }
    assert_eq!(s.counts().queued, 3);
}

pub fn missed_instants_are_given_up_by_a_tick_without_a_task(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    s.advance(12);
    let tick = tick_now(&s, &state, None);
    let to = tick.to;
    assert_eq!(self::tick(&s, tick), Ticked::Skipped);
    assert_eq!((put(&s, every(10)).mark, s.counts().enqueued), (to, 0));
}

pub fn a_tick_whose_key_is_taken_only_moves_the_mark(suite: &Suite) {
    let s = suite.open();
    s.enqueue(task().key("k"));
    let state = put(&s, every(10));
    let tick = tick_now(&s, &state, Some(task().key("k")));
    let to = tick.to;
    assert_eq!(self::tick(&s, tick), Ticked::Skipped);
    assert_eq!(put(&s, every(10)).mark, to);
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (1, 1));
}

pub fn a_tick_holds_the_key_of_its_task(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    let new = task().key("k");
    assert_eq!(tick(&s, tick_now(&s, &state, Some(new.clone()))), Ticked::Fired(new.id));
    let reply = s.offer(task().key("k"));
    assert!(matches!(reply, Enqueued::Duplicate(Some(holder)) if holder == new.id), "{reply:?}");
}

pub fn a_removed_schedule_is_gone(suite: &Suite) {
    let s = suite.open();
    let state = put(&s, every(10));
    for _ in 0..2 {
        s.done(s.store.remove_schedule(&NAME));
        assert_eq!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Gone);
    }
    assert_eq!(s.counts().enqueued, 0);
}

pub fn schedules_are_told_apart_by_name(suite: &Suite) {
    let s = suite.open();
    let other = Kind::from_static("Work");
    let of_one = put(&s, every(10));
    let of_other = put_as(&s, other.clone(), every(20));
    assert_eq!((of_one.revision, of_other.revision), (1, 1));
    let batch = vec![
        Tick { name: other.clone(), ..tick_now(&s, &of_other, Some(task().kind("Work"))) },
        Tick { name: Kind::from_static("none"), ..tick_now(&s, &of_one, Some(task())) },
        tick_now(&s, &of_one, Some(task())),
    ];
    let replies = tick_all(&s, batch);
    assert!(matches!(replies[0], Ticked::Fired(_)), "{replies:?}");
    assert_eq!(replies[1], Ticked::Gone);
    assert!(matches!(replies[2], Ticked::Fired(_)), "{replies:?}");
    s.done(s.store.remove_schedule(&other));
    assert_eq!(put(&s, every(10)).revision, 1, "the other one stands");
}

pub fn the_bound_of_a_store_does_not_apply_to_ticks(suite: &Suite) {
    let s = suite.bounded(1);
    s.enqueue(task());
    let state = put(&s, every(10));
    assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
    assert_eq!(s.counts().queued, 2);
}

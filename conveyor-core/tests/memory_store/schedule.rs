//! Schedules: put once, replaced by revision, and each instant done once in the whole cluster.

use conveyor_core::store::{NewTask, ScheduleDefinition, ScheduleState, Tick, Ticked, Verdict};
use conveyor_core::{Kind, Overlap, Schedule, TaskState};

use crate::setup::{A, Options, Set, Setup, TICK, done, secs, task};

const NAME: Kind = Kind::from_static("work");

fn every(period: u64) -> Schedule {
    Schedule::every(secs(period)).expect("a period above 1 ms")
}

fn put(s: &Setup, schedule: Schedule) -> ScheduleState {
    let name = NAME;
    done(s.store.put_schedule(ScheduleDefinition { name, schedule }))
}

/// A tick that moves the mark from where `state` has it to now.
fn tick_now(s: &Setup, state: &ScheduleState, task: Option<NewTask>) -> Tick {
    Tick { name: NAME, revision: state.revision, from: state.mark, to: s.now(), task }
}

fn tick(s: &Setup, tick: Tick) -> Ticked {
    done(s.store.tick(vec![tick])).remove(0)
}

#[test]
fn the_same_definition_is_the_same_revision() {
    let s = Setup::new();
    let first = put(&s, every(10));
    assert_eq!((first.revision, first.anchor, first.now), (1, s.now(), s.now()));
    assert!(first.mark < first.anchor, "the anchor is an instant that is not done with");
    s.advance(secs(5));
    let again = put(&s, every(10));
    assert_eq!(again, ScheduleState { now: s.now(), ..first });
}

#[test]
fn another_definition_is_the_next_revision_with_a_new_anchor() {
    let s = Setup::new();
    let first = put(&s, every(10));
    s.advance(secs(5));
    let second = put(&s, every(20));
    assert_eq!((second.revision, second.anchor), (2, s.now()));
    assert!(second.mark > first.mark && second.mark < second.anchor);
    let third = put(&s, every(20).overlap(Overlap::Allow));
    assert_eq!(third.revision, 3, "a policy is a part of the definition");
}

#[test]
fn a_tick_moves_the_mark_and_inserts_its_task_in_one_step() {
    let s = Setup::new();
    let state = put(&s, every(10));
    let new = task();
    assert_eq!(tick(&s, tick_now(&s, &state, Some(new.clone()))), Ticked::Fired(new.id));
    assert_eq!(s.state(new.id), TaskState::Queued);
    assert_eq!(put(&s, every(10)).mark, s.now());
}

#[test]
fn an_instant_is_done_once_whoever_sees_it() {
    let s = Setup::new();
    let state = put(&s, every(10));
    let first = tick_now(&s, &state, Some(task()));
    let second = tick_now(&s, &state, Some(task()));
    let replies = done(s.store.tick(vec![first.clone(), second.clone()]));
    assert!(matches!(replies[0], Ticked::Fired(_)));
    let stands = put(&s, every(10));
    assert_eq!(replies[1], Ticked::Stale(stands.clone()));
    assert_eq!(tick(&s, first), Ticked::Stale(stands), "a repeat");
    assert_eq!(s.counts().enqueued, 1);
}

#[test]
fn the_mark_only_rises() {
    let s = Setup::new();
    let state = put(&s, every(10));
    let back = Tick { to: state.mark, ..tick_now(&s, &state, Some(task())) };
    assert_eq!(tick(&s, back.clone()), Ticked::Stale(state.clone()));
    let further_back = Tick { to: state.mark - secs(1), ..back };
    assert_eq!(tick(&s, further_back), Ticked::Stale(state));
    assert_eq!(s.counts().enqueued, 0);
}

#[test]
fn a_tick_of_an_older_revision_is_stale() {
    let s = Setup::new();
    let old = put(&s, every(10));
    let new = put(&s, every(20));
    let of_old = Tick { from: new.mark, ..tick_now(&s, &old, Some(task())) };
    assert_eq!(tick(&s, of_old), Ticked::Stale(new));
}

#[test]
fn an_overlap_is_skipped_until_the_last_task_has_ended() {
    let s = Setup::new();
    let mut state = put(&s, every(10));
    let first = task();
    tick(&s, tick_now(&s, &state, Some(first.clone())));
    let claimed = s.claim_one(A);
    for _ in 0..2 {
        s.advance(secs(10));
        state = put(&s, every(10));
        assert_eq!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Skipped);
        assert_eq!(put(&s, every(10)).mark, s.now(), "the instant is done with");
    }
    s.settle(&claimed, Verdict::Succeed);
    s.advance(secs(10));
    state = put(&s, every(10));
    assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
    assert_eq!(s.counts().enqueued, 2);
}

#[test]
fn an_overlap_is_allowed_where_the_schedule_says_so() {
    let s = Setup::new();
    for _ in 0..3 {
        let state = put(&s, every(10).overlap(Overlap::Allow));
        assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
        s.advance(secs(10));
    }
    assert_eq!(s.counts().queued, 3);
}

#[test]
fn a_tick_without_a_task_or_with_a_taken_key_only_moves_the_mark() {
    let s = Setup::new();
    let mut state = put(&s, every(10));
    assert_eq!(tick(&s, tick_now(&s, &state, None)), Ticked::Skipped);
    s.enqueue(task().key("k"));
    s.advance(secs(10));
    state = put(&s, every(10));
    assert_eq!(tick(&s, tick_now(&s, &state, Some(task().key("k")))), Ticked::Skipped);
    assert_eq!(put(&s, every(10)).mark, s.now());
    let counts = s.counts();
    assert_eq!((counts.enqueued, counts.duplicates), (1, 1));
}

#[test]
fn a_removed_schedule_is_gone() {
    let s = Setup::new();
    let state = put(&s, every(10));
    done(s.store.remove_schedule(&NAME));
    done(s.store.remove_schedule(&NAME));
    assert_eq!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Gone);
    assert_eq!(s.counts().enqueued, 0);
}

#[test]
fn the_bound_of_a_store_does_not_apply_to_ticks() {
    let s = Setup::with(Options { capacity: Some(0), ..Options::default() });
    let state = put(&s, every(10));
    assert!(matches!(tick(&s, tick_now(&s, &state, Some(task()))), Ticked::Fired(_)));
    s.advance(TICK);
}

#[test]
fn schedules_are_told_apart_by_name() {
    let s = Setup::new();
    let state = put(&s, every(10));
    let name = Kind::from_static("other");
    let schedule = every(20);
    done(s.store.put_schedule(ScheduleDefinition { name: name.clone(), schedule }));
    let other = Tick { name, ..tick_now(&s, &state, Some(task().kind("other"))) };
    let both = vec![tick_now(&s, &state, Some(task())), other];
    let replies = done(s.store.tick(both));
    assert!(replies.iter().all(|reply| matches!(reply, Ticked::Fired(_))), "{replies:?}");
}

#[test]
fn another_definition_does_not_let_the_mark_fall() {
    let s = Setup::new();
    let first = put(&s, every(10));
    tick(&s, tick_now(&s, &first, Some(task())));
    assert!(put(&s, every(20)).mark >= s.now(), "this instant is done with");
    s.clock.set_back(secs(3600));
    assert!(put(&s, every(10)).mark > s.now() + secs(3000), "also when the clock goes back");
}

#[test]
fn another_definition_does_not_overlap_with_the_last_task_of_the_one_before() {
    let s = Setup::new();
    let first = put(&s, every(10));
    tick(&s, tick_now(&s, &first, Some(task())));
    let claimed = s.claim_one(A);
    s.advance(secs(1));
    let second = put(&s, every(20));
    let overlapping = tick_now(&s, &second, Some(task()));
    assert_eq!(tick(&s, overlapping), Ticked::Skipped);
    s.settle(&claimed, Verdict::Succeed);
    s.advance(secs(20));
    let second = put(&s, every(20));
    assert!(matches!(tick(&s, tick_now(&s, &second, Some(task()))), Ticked::Fired(_)));
}

#[test]
fn a_tick_from_another_mark_is_stale_also_if_it_would_go_further() {
    let s = Setup::new();
    let seen = put(&s, every(10));
    s.advance(secs(10));
    let first = tick_now(&s, &seen, Some(task()));
    assert!(matches!(tick(&s, first), Ticked::Fired(_)));
    s.advance(secs(10));
    let late = tick_now(&s, &seen, Some(task()));
    assert_eq!(tick(&s, late), Ticked::Stale(put(&s, every(10))));
}

//! Extremes: names with quotes, wildcards and emoji, texts with NUL, numbers without bounds.
//! Each is carried as it is, or refused with a reason; none takes anything else down.

use std::time::Duration;

use conveyor_core::store::{
    CancelReply, ClaimRequest, Demand, Filter, KindRoom, NewTask, RescueRequest,
    ScheduleDefinition, Settled, Verdict,
};
use conveyor_core::task::Start;
use conveyor_core::{
    End, Incarnation, Key, Kind, NameError, Priority, QueueName, Schedule, TaskId, TaskState,
    Timestamp,
};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, CRASH_BUDGET, Setup, ids};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{give_back, retry_after, snooze_for};

/// Names as nobody should choose them, and somebody will. No two are the same.
const NAMES: [&str; 22] = [
    "'",
    "\"",
    "`",
    "\\",
    "\\'",
    "'; drop table task; --",
    "$1",
    "?",
    ":name",
    "{0}",
    "%",
    "_",
    "*",
    "a b",
    " a b ",
    "null",
    "NULL",
    "🦀",
    "👩‍👩‍👧‍👦",
    "ß",
    "SS",
    "\u{202e}evil",
];

fn longest(limit: usize) -> String {
    // Of four bytes each.
    "🦀".repeat(limit / 4)
}

fn is_carried(s: &Setup, name: &str) {
    let new = NewTask {
        kind: Kind::new(name).expect("a valid name"),
        queue: QueueName::new(name).expect("a valid name"),
        key: Some(Key::new(name).expect("a valid name")),
        ..task()
    };
    let id = s.enqueue(new.clone());
    for filter in [
        Filter { kind: Some(new.kind.clone()), ..Filter::default() },
        Filter { queue: Some(new.queue.clone()), ..Filter::default() },
        Filter { key: new.key.clone(), ..Filter::default() },
    ] {
        let found = s.list(filter);
        assert_eq!(found.len(), 1, "{name:?} finds itself and nothing else");
        let info = &found[0];
        assert_eq!((&info.kind, &info.queue, &info.key), (&new.kind, &new.queue, &new.key));
        assert_eq!(info.id, id);
    }
    let claimed = s.ask(A).like(&new).tasks();
    assert_eq!(ids(&claimed), [id], "{name:?} is claimed by its name, and nothing else is");
    let claimed = &claimed[0];
    let names = (&claimed.kind, &claimed.queue, &claimed.key);
    assert_eq!(names, (&new.kind, &new.queue, &new.key));
    let counters = s.counters();
    assert_eq!(counters.queue(name).active, 1, "{name:?} is counted");
    assert_eq!(counters.each[&(new.queue, new.kind)].active, 1, "{name:?} is counted");
}

pub fn every_valid_name_is_carried_as_it_is(suite: &Suite) {
    let s = suite.open();
    for name in NAMES {
        is_carried(&s, name);
    }
}

pub fn the_longest_names_are_carried(suite: &Suite) {
    let s = suite.open();
    let new = NewTask {
        kind: Kind::new(longest(Kind::MAX_LEN)).expect("a valid name"),
        queue: QueueName::new(longest(QueueName::MAX_LEN)).expect("a valid name"),
        key: Some(Key::new(longest(Key::MAX_LEN)).expect("a valid name")),
        ..task()
    };
    let id = s.enqueue(new.clone());
    let info = s.info(id);
    assert_eq!((&info.kind, &info.queue, &info.key), (&new.kind, &new.queue, &new.key));
    let nearly = "🦀".repeat(Key::MAX_LEN / 4 - 1) + "🦊";
    let other = NewTask { id: task().id, key: Some(Key::new(nearly).expect("valid")), ..new };
    s.enqueue(other.clone());
    assert_eq!(s.ask(A).like(&other).ids().len(), 2, "keys differ to their last character");
}

pub fn names_that_no_store_need_carry_are_refused_before_it(suite: &Suite) {
    let _ = suite;
    for bad in ["", "a\0b", "a\nb"] {
        assert!(Kind::new(bad).is_err() && QueueName::new(bad).is_err() && Key::new(bad).is_err());
    }
    let error = Key::new("x".repeat(Key::MAX_LEN + 1)).expect_err("too long");
    assert!(matches!(error, NameError::TooLong { .. }), "{error}");
}

pub fn a_schedule_may_have_any_valid_name(suite: &Suite) {
    let s = suite.open();
    let schedule = Schedule::every(Duration::from_secs(10)).expect("a period above 1 ms");
    for name in NAMES {
        let name = Kind::new(name).expect("a valid name");
        let definition = ScheduleDefinition { name: name.clone(), schedule: schedule.clone() };
        assert_eq!(s.done(s.store.put_schedule(definition)).revision, 1, "{name:?}");
    }
    for name in NAMES {
        s.done(s.store.remove_schedule(&Kind::new(name).expect("a valid name")));
    }
}

/// Texts that handlers come up with; a store that cannot carry one whole carries what it can.
fn texts() -> Vec<String> {
    let mut texts = vec![
        String::new(),
        "a\0b".to_owned(),
        "\0".to_owned(),
        "line\r\nline\u{1b}[31m".to_owned(),
        "\u{fffd}\u{feff}".to_owned(),
        "x".repeat(1 << 20),
        "🦀".repeat(1 << 18),
    ];
    texts.extend(NAMES.map(str::to_owned));
    texts
}

/// How a text begins.
fn start(text: &str) -> String {
    text.chars().take(20).collect()
}

/// Whether `kept` is the text, as far as it can be kept: without NUL, and not all of a long one.
fn is_kept(kept: &str, text: &str) -> bool {
    let visible = |text: &str| text.replace(['\0', '\u{fffd}', '\u{2400}'], "");
    let (kept, text) = (visible(kept), visible(text));
    kept == text || (text.len() > 10_000 && kept.len() > 1_000 && text.starts_with(&kept[..1_000]))
}

pub fn a_settle_takes_any_text_for_a_reason(suite: &Suite) {
    let s = suite.open();
    for text in texts() {
        let short = start(&text);
        let retried = s.active(A, task());
        let verdict = Verdict::Retry { delay: s.ticks(100), error: text.clone() };
        assert_eq!(s.settle(&retried, verdict), Settled::Applied, "{short:?}");
        let note = s.info(retried.fence.task).note.unwrap_or_default();
        assert!(is_kept(&note, &text), "{short:?} is kept as {:?}", start(&note));
        for verdict in [
            Verdict::Fail { error: text.clone() },
            Verdict::Cancel { why: text.clone() },
            Verdict::Park { reason: text.clone() },
        ] {
            let claimed = s.active(A, task());
            assert_eq!(s.settle(&claimed, verdict.clone()), Settled::Applied, "{short:?}");
            let info = s.info(claimed.fence.task);
            let kept = match info.end {
                Some(End::Failed(kept) | End::Cancelled(kept)) => kept,
                _ => info.note.unwrap_or_default(),
            };
            assert!(is_kept(&kept, &text), "{short:?} is kept as {:?}", start(&kept));
        }
    }
}

pub fn every_priority_has_its_place(suite: &Suite) {
    let s = suite.open();
    let levels = [i16::MIN, -1, 0, 1, i16::MAX];
    let mut expected = s.enqueue_all(levels.map(|level| task().priority(Priority::new(level))));
    expected.reverse();
    assert_eq!(s.ask(A).at_least(Priority::MAX).ids(), expected[..1]);
    let claimed = s.ask(A).tasks();
    assert_eq!(ids(&claimed), expected[1..]);
    assert_eq!(claimed[3].priority, Priority::MIN);
}

pub fn a_delay_beyond_all_time_is_no_overflow(suite: &Suite) {
    let s = suite.open();
    let far = [
        s.enqueue(task().delay(Duration::MAX)),
        s.enqueue(task().start(Start::At(Timestamp::MAX))),
    ];
    let mut all = far.to_vec();
    for verdict in [snooze_for(Duration::MAX), retry_after(Duration::MAX)] {
        let claimed = s.active(A, task());
        assert_eq!(s.settle(&claimed, verdict), Settled::Applied);
        all.push(claimed.fence.task);
    }
    for &id in &all {
        assert_eq!(s.state(id), TaskState::Scheduled);
    }
    assert!(s.promote().is_some_and(|next| next > s.now() + Duration::from_secs(1 << 33)));
    assert_eq!(s.ask(A).ids(), []);
    assert!(s.cancel_all(&all).iter().all(|reply| *reply == CancelReply::Cancelled));
}

pub fn a_start_before_all_time_is_due_and_comes_first(suite: &Suite) {
    let s = suite.open();
    let now = s.enqueue(task());
    let epoch = s.enqueue(task().start(Start::At(Timestamp::UNIX_EPOCH)));
    let first = s.enqueue(task().start(Start::At(Timestamp::MIN)));
    assert_eq!(s.ask(A).ids(), [first, epoch, now]);
}

pub fn a_task_may_say_any_number(suite: &Suite) {
    let s = suite.open();
    for (timeout, retries) in [(Duration::MAX, u32::MAX), (Duration::ZERO, 0)] {
        let claimed =
            s.active(A, NewTask { timeout: Some(timeout), retries: Some(retries), ..task() });
        assert_eq!(claimed.retries, Some(retries));
        let kept = claimed.timeout.expect("it says so");
        // A century is as good as for ever.
        let as_good = kept == timeout || kept > Duration::from_secs(100 * 365 * 24 * 3600);
        assert!(as_good && (timeout > Duration::ZERO) == (kept > Duration::ZERO), "{kept:?}");
    }
    let short = Duration::from_micros(1);
    let claimed = s.active(A, NewTask { timeout: Some(short), ..task() });
    assert_eq!(claimed.timeout, Some(short));
}

pub fn every_number_is_an_id(suite: &Suite) {
    let s = suite.open();
    for id in [1, u128::from(u64::MAX), i128::MAX as u128, i128::MAX as u128 + 1, u128::MAX] {
        let id = TaskId::from_u128(id);
        let claimed = s.active(A, NewTask { id, ..task() });
        assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
        assert_eq!(s.info(id).id, id);
    }
    let listed: Vec<TaskId> = s.everything().0.iter().map(|info| info.id).collect();
    assert!(listed.is_sorted(), "ids are in the order of numbers without a sign: {listed:?}");
}

pub fn every_number_is_a_process_and_a_token(suite: &Suite) {
    let s = suite.open();
    for number in [1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let by = Incarnation::new(number);
        let id = s.enqueue(task());
        let claimed = s.ask(by).token(number).tasks().remove(0);
        assert_eq!((claimed.fence.task, claimed.fence.incarnation), (id, by));
        assert_eq!(s.info(id).holder, Some(by));
        assert_eq!(s.ask(by).token(number).ids(), [id], "the request again");
        assert_eq!(s.settle(&claimed, Verdict::Succeed), Settled::Applied);
    }
}

pub fn limits_and_rooms_may_be_without_bounds(suite: &Suite) {
    let s = suite.watched();
    let id = s.enqueue(task());
    s.enqueue(task().delay(s.ticks(1)));
    s.done(s.store.promote(usize::MAX));
    let page = s.page(&Filter { limit: usize::MAX, ..Filter::default() });
    assert_eq!((page.tasks.len(), page.next), (2, None));
    let claimed = s.ask(A).rooms(&[("work", usize::MAX)]).room(usize::MAX).tasks();
    assert_eq!(ids(&claimed), [id]);
    s.settle(&claimed[0], Verdict::Interrupt);
    s.watch_until(10);
    assert_eq!(s.rescue_at_most(B, usize::MAX).rescued.len(), 1);
    s.done(s.store.prune(usize::MAX));
}

pub fn a_lease_without_end_is_no_overflow(suite: &Suite) {
    let s = suite.watched();
    s.enqueue(task());
    let queues = [QueueName::from_static("q")];
    let kinds = [KindRoom { kind: Kind::from_static("work"), room: 1 }];
    let demand = Demand { queues: &queues, kinds: &kinds, min_priority: Priority::MIN, room: 1 };
    let request = ClaimRequest { by: A, token: 1, lease: Duration::MAX, demand, alone: false };
    let claimed = s.done(s.store.claim(request)).tasks.remove(0);
    s.watch(20);
    assert_eq!(s.rescue(B).rescued, []);
    s.done(s.store.renew(A, &[claimed.fence], Duration::MAX));
    let request =
        RescueRequest { by: B, lease: Duration::MAX, crash_budget: CRASH_BUDGET, limit: 1 };
    assert_eq!(s.done(s.store.rescue(request)).rescued, []);
    s.settle(&claimed, give_back());
}

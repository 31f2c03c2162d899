//! Inspect: every filter, and pages that neither skip nor repeat.

use conveyor_core::store::{Filter, Verdict};
use conveyor_core::{Key, Kind, QueueName, TaskId, TaskState};

use crate::setup::{A, Set, Setup, done, park, secs, task};

fn ids(s: &Setup, filter: &Filter) -> Vec<TaskId> {
    done(s.store.inspect(filter)).tasks.iter().map(|task| task.id).collect()
}

#[test]
fn each_filter_leaves_what_matches_and_all_of_them_together() {
    let s = Setup::new();
    let a = s.enqueue(task().key("k"));
    let b = s.enqueue(task().kind("other").key("k"));
    let c = s.enqueue(task().queue("elsewhere").delay(secs(5)));
    let d = s.enqueue(task().kind("other").queue("elsewhere"));
    let by_kind = Filter { kind: Some(Kind::from_static("other")), ..Filter::default() };
    let by_queue = Filter { queue: Some(QueueName::from_static("elsewhere")), ..Filter::default() };
    let by_key = Filter { key: Some(Key::from_static("k")), ..Filter::default() };
    let by_state = Filter { state: Some(TaskState::Scheduled), ..Filter::default() };
    let by_all = Filter {
        kind: by_kind.kind.clone(),
        key: by_key.key.clone(),
        state: Some(TaskState::Queued),
        queue: Some(QueueName::from_static("q")),
        ..Filter::default()
    };
    assert_eq!(ids(&s, &Filter::default()), [a, b, c, d]);
    assert_eq!(ids(&s, &by_kind), [b, d]);
    assert_eq!(ids(&s, &by_queue), [c, d]);
    assert_eq!(ids(&s, &by_key), [a, b]);
    assert_eq!(ids(&s, &by_state), [c]);
    assert_eq!(ids(&s, &by_all), [b]);
}

#[test]
fn tasks_of_every_state_are_found() {
    let s = Setup::new();
    let ended = s.active(A, task());
    s.settle(&ended, Verdict::Succeed);
    let parked = s.active(A, task());
    s.settle(&parked, park());
    let active = s.active(A, task());
    let queued = s.enqueue(task());
    let scheduled = s.enqueue(task().delay(secs(1)));
    let expected = [
        (TaskState::Ended, ended.fence.task),
        (TaskState::Parked, parked.fence.task),
        (TaskState::Active, active.fence.task),
        (TaskState::Queued, queued),
        (TaskState::Scheduled, scheduled),
    ];
    for (state, id) in expected {
        let filter = Filter { state: Some(state), ..Filter::default() };
        assert_eq!(ids(&s, &filter), [id], "{state}");
    }
}

#[test]
fn pages_neither_skip_nor_repeat() {
    let s = Setup::new();
    let all: Vec<TaskId> = (0..10).map(|_| s.enqueue(task())).collect();
    for limit in 1..12 {
        let mut filter = Filter { limit, ..Filter::default() };
        let mut seen = Vec::new();
        loop {
            let page = done(s.store.inspect(&filter));
            assert!(page.tasks.len() <= limit);
            seen.extend(page.tasks.iter().map(|task| task.id));
            let Some(next) = page.next else { break };
            filter.after = Some(next);
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
}

#[test]
fn a_page_has_a_hundred_tasks_unless_it_is_told_otherwise() {
    let s = Setup::new();
    for _ in 0..101 {
        s.enqueue(task());
    }
    let page = done(s.store.inspect(&Filter::default()));
    assert_eq!(page.tasks.len(), 100);
    assert_eq!(page.next, page.tasks.last().map(|task| task.id));
}

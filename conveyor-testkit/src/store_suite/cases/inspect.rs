//! Inspect: every filter, and pages that neither skip nor repeat.

use std::time::Duration;

use conveyor_core::store::{Filter, NewTask, Verdict};
use conveyor_core::task::Start;
use conveyor_core::{Key, Kind, QueueName, TaskId, TaskState, Timestamp};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, Setup, sorted};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::park;

fn found(s: &Setup, filter: Filter) -> Vec<TaskId> {
    s.list(filter).iter().map(|task| task.id).collect()
}

pub fn each_filter_leaves_what_matches_and_all_of_them_together(suite: &Suite) {
    let s = suite.open();
    let a = s.enqueue(task().key("k"));
    let b = s.enqueue(task().kind("other").key("k"));
    let c = s.enqueue(task().queue("elsewhere").delay(s.ticks(5)));
    let d = s.enqueue(task().kind("other").queue("elsewhere"));
    // Names that only begin alike.
    let e = s.enqueue(task().key("kk").kind("others").queue("elsewhere's"));
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
    let by_none = Filter { kind: Some(Kind::from_static("none")), ..Filter::default() };
    assert_eq!(found(&s, Filter::default()), sorted([a, b, c, d, e]));
    assert_eq!(found(&s, by_kind), sorted([b, d]));
    assert_eq!(found(&s, by_queue), sorted([c, d]));
    assert_eq!(found(&s, by_key), sorted([a, b]));
    assert_eq!(found(&s, by_state), [c]);
    assert_eq!(found(&s, by_all), [b]);
    assert_eq!(found(&s, by_none), []);
}

pub fn tasks_are_found_by_the_time_in_their_ids(suite: &Suite) {
    let s = suite.open();
    let ms = |millis: i64| Timestamp::from_micros(millis * 1000);
    let at =
        |millis: u128, low: u128| NewTask { id: TaskId::from_u128((millis << 80) | low), ..task() };
    // The first and the last id of a millisecond, and of all milliseconds that ids have.
    let (low, high) = (0, (1 << 80) - 1);
    let last = (1 << 48) - 1;
    let new = [(0, 1), (999, high), (1000, low), (1000, high), (1001, low), (last, high - 1)];
    let ids = s.enqueue_all(new.map(|(millis, low)| at(millis, low)));
    let times = |from: Option<Timestamp>, before: Option<Timestamp>| {
        found(&s, Filter { enqueued_from: from, enqueued_before: before, ..Filter::default() })
    };
    let micro = Duration::from_micros(1);
    assert_eq!(times(Some(ms(1000)), Some(ms(1001))), ids[2..4], "from is in, before is out");
    assert_eq!(times(Some(ms(999) + micro), Some(ms(1000) + micro)), ids[2..4], "whole ones");
    assert_eq!(times(Some(ms(1000) + micro), None), ids[4..]);
    assert_eq!(times(None, Some(ms(1000))), ids[..2]);
    assert_eq!(times(Some(ms(1001)), Some(ms(1000))), [], "from a later time than before");
    assert_eq!(times(Some(ms(-1)), Some(ms(0))), []);
    assert_eq!(times(Some(Timestamp::MIN), Some(Timestamp::MAX)), ids);
    assert_eq!(times(Some(Timestamp::MAX), None), []);
    assert_eq!(times(None, Some(Timestamp::MIN)), []);
    let rest = Filter {
        after: Some(ids[2]),
        enqueued_before: Some(ms(1002)),
        limit: 1,
        ..Filter::default()
    };
    let page = s.page(&rest);
    assert_eq!((page.tasks[0].id, page.next), (ids[3], Some(ids[3])), "with pages");
}

pub fn tasks_are_found_by_when_they_are_due(suite: &Suite) {
    let s = suite.open();
    let start = s.now() + s.ticks(10);
    let due = |ticks: u32| start + s.ticks(ticks);
    let ids: Vec<TaskId> = (0..4).map(|at| s.enqueue(task().start(Start::At(due(at))))).collect();
    let times = |from: Option<Timestamp>, before: Option<Timestamp>| {
        found(&s, Filter { due_from: from, due_before: before, ..Filter::default() })
    };
    let micro = Duration::from_micros(1);
    assert_eq!(times(Some(due(1)), Some(due(3))), sorted([ids[1], ids[2]]));
    assert_eq!(times(Some(due(1) + micro), Some(due(3) + micro)), sorted([ids[2], ids[3]]));
    assert_eq!(times(Some(due(2)), None), sorted([ids[2], ids[3]]));
    assert_eq!(times(None, Some(due(1))), [ids[0]]);
    assert_eq!(times(Some(due(3)), Some(due(1))), []);
    assert_eq!(times(Some(Timestamp::MIN), Some(Timestamp::MAX)), sorted(ids.clone()));
    s.advance(11);
    s.promote();
    let queued = Filter {
        due_before: Some(due(1) + micro),
        state: Some(TaskState::Queued),
        ..Filter::default()
    };
    assert_eq!(found(&s, queued), sorted([ids[0], ids[1]]), "when they were due");
}

pub fn tasks_of_every_state_are_found(suite: &Suite) {
    let s = suite.open();
    let ended = s.active(A, task());
    s.settle(&ended, Verdict::Succeed);
    let parked = s.active(A, task());
    s.settle(&parked, park());
    let active = s.active(A, task());
    let queued = s.enqueue(task());
    let scheduled = s.enqueue(task().delay(s.ticks(1)));
    let expected = [
        (TaskState::Ended, ended.fence.task),
        (TaskState::Parked, parked.fence.task),
        (TaskState::Active, active.fence.task),
        (TaskState::Queued, queued),
        (TaskState::Scheduled, scheduled),
    ];
    for (state, id) in expected {
        assert_eq!(found(&s, Filter { state: Some(state), ..Filter::default() }), [id], "{state}");
        assert_eq!(s.info(id).state, state);
    }
}

pub fn pages_neither_skip_nor_repeat(suite: &Suite) {
    let s = suite.open();
    let all = sorted(s.enqueue_all((0..10).map(|_| task())));
    for limit in 1..12 {
        let mut filter = Filter { limit, ..Filter::default() };
        let mut seen = Vec::new();
        loop {
            let page = s.page(&filter);
            assert!(page.tasks.len() <= limit);
            assert!(!page.tasks.is_empty(), "a page that was told of has something");
            seen.extend(page.tasks.iter().map(|task| task.id));
            let Some(next) = page.next else { break };
            assert_eq!(page.tasks.len(), limit, "only the last page is not full");
            filter.after = Some(next);
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
}

pub fn pages_of_a_filter_neither_skip_nor_repeat(suite: &Suite) {
    let s = suite.open();
    let kinds = ["work", "other", "work", "third"];
    let all = s.enqueue_all((0..40).map(|at| task().kind(kinds[at % 4])));
    let of_work = sorted((0..40).filter(|at| kinds[at % 4] == "work").map(|at| all[at]));
    let mut filter =
        Filter { limit: 3, kind: Some(Kind::from_static("work")), ..Filter::default() };
    let mut seen = Vec::new();
    loop {
        let page = s.page(&filter);
        seen.extend(page.tasks.iter().map(|task| task.id));
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    assert_eq!(seen, of_work);
}

pub fn what_comes_between_two_pages_moves_nothing(suite: &Suite) {
    let s = suite.open();
    let mut new: Vec<NewTask> = (0..9).map(|_| task()).collect();
    new.sort_by_key(|task| task.id);
    let at = |at: &[usize]| at.iter().map(|&at| new[at].id).collect::<Vec<_>>();
    s.enqueue_all([2, 4, 6].map(|at| new[at].clone()));
    let page = s.page(&Filter { limit: 2, ..Filter::default() });
    assert_eq!(page.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), at(&[2, 4]));
    s.enqueue_all([0, 3, 5, 8].map(|at| new[at].clone()));
    let rest = found(&s, Filter { after: page.next, ..Filter::default() });
    assert_eq!(rest, at(&[5, 6, 8]));
}

pub fn a_page_has_a_hundred_tasks_unless_it_is_told_otherwise(suite: &Suite) {
    let s = suite.open();
    s.enqueue_all((0..101).map(|_| task()));
    let page = s.page(&Filter::default());
    assert_eq!(page.tasks.len(), 100);
    assert_eq!(page.next, page.tasks.last().map(|task| task.id));
}

pub fn an_empty_store_has_an_empty_page(suite: &Suite) {
    let page = suite.open().page(&Filter::default());
    assert!(page.tasks.is_empty() && page.next.is_none(), "{page:?}");
}

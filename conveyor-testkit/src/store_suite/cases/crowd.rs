//! Crowds: many threads at once, on several handles where there are some. Whatever order their
//! calls take effect in, it is one that the promises allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use conveyor_core::store::{
    CancelReply, Claimed, EndState, Enqueued, Filter, NewTask, Renewed, RescuedAs,
    ScheduleDefinition, Settled, Tick, Ticked, Verdict,
};
use conveyor_core::{Fence, Incarnation, Key, Kind, Schedule, TaskId};

use crate::Random;
use crate::store_suite::Suite;
use crate::store_suite::setup::{A, B, C, LEASE, Setup};
use crate::store_suite::task::{Set, task};
use crate::store_suite::verdict::{cancel, fail, give_back, retry, settle, snooze};

/// How many threads are at it.
const THREADS: usize = 6;

/// The store for a thread: one of several handles, if there are some.
struct Handles(Vec<Setup>);

impl Handles {
    fn of(s: Setup) -> Self {
        let other = s.if_again();
        Handles([Some(s), other].into_iter().flatten().collect())
    }

    fn get(&self, thread: usize) -> &Setup {
        &self.0[thread % self.0.len()]
    }
}

/// What each of the threads comes back with. They start together.
fn together<T: Send>(
    handles: &Handles,
    threads: usize,
    act: impl Fn(&Setup, usize) -> T + Sync,
) -> Vec<T> {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, act) = (&start, &act);
                scope.spawn(move || {
                    start.wait();
                    act(handles.get(thread), thread)
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

fn process(thread: usize) -> Incarnation {
    Incarnation::new(1_000 + thread as u64)
}

/// Which thread's reply was the one of its sort.
fn only<T>(replies: &[T], is: impl Fn(&T) -> bool) -> usize {
    let found: Vec<usize> = (0..replies.len()).filter(|&at| is(&replies[at])).collect();
    assert_eq!(found.len(), 1, "one of {}", replies.len());
    found[0]
}

pub fn each_task_is_given_out_once(suite: &Suite) {
    const TASKS: usize = 600;
    let handles = Handles::of(suite.open());
    let seen = Mutex::new(BTreeSet::new());
    let settled = AtomicUsize::new(0);
    together(&handles, THREADS, |s, thread| {
        if thread % 2 == 0 {
            for batch in 0..TASKS / (THREADS / 2) / 10 {
                s.enqueue_all((0..10).map(|at| task().kind(["work", "play"][(batch + at) % 2])));
            }
            return;
        }
        while settled.load(Ordering::SeqCst) < TASKS {
            let claimed = s.ask(process(thread)).kinds(&["work", "play"]).room(7).tasks();
            for claimed in &claimed {
                let fence = claimed.fence;
                assert_eq!((fence.epoch, fence.incarnation), (1, process(thread)));
                assert!(seen.lock().expect("nobody panics").insert(fence.task), "given out twice");
            }
            let batch = claimed.iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
            let replies = s.settle_all(batch);
            assert!(replies.iter().all(|reply| *reply == Settled::Applied), "{replies:?}");
            settled.fetch_add(replies.len(), Ordering::SeqCst);
        }
    });
    let counts = handles.get(0).counts();
    assert_eq!((counts.processed, counts.live()), (TASKS as u64, 0));
}

pub fn one_of_many_with_the_same_key_is_accepted(suite: &Suite) {
    let handles = Handles::of(suite.open());
    for round in 0..20 {
        let key = Key::new(format!("k{round}")).expect("a valid key");
        let replies = together(&handles, THREADS, |s, _| {
            let new = NewTask { key: Some(key.clone()), ..task() };
            (new.id, s.offer(new))
        });
        let winner = only(&replies, |(_, reply)| matches!(reply, Enqueued::Accepted));
        for (at, (_, reply)) in replies.iter().enumerate().filter(|(at, _)| *at != winner) {
            let named = match reply {
                Enqueued::Duplicate(holder) => holder.is_none_or(|id| id == replies[winner].0),
                _ => false,
            };
            assert!(named, "the thread {at}: {reply:?}");
        }
    }
    assert_eq!(handles.get(0).counts().enqueued, 20);
}

pub fn an_id_that_many_send_at_once_is_one_task(suite: &Suite) {
    let handles = Handles::of(suite.open());
    for _ in 0..20 {
        let new = task().key("k");
        let replies = together(&handles, THREADS, |s, _| s.offer(new.clone()));
        let accepted = replies.iter().all(|reply| matches!(reply, Enqueued::Accepted));
        assert!(accepted, "{replies:?}");
        handles.get(0).cancel(new.id);
    }
    assert_eq!(handles.get(0).counts().enqueued, 20);
}

pub fn batches_with_the_same_keys_in_another_order_do_not_block_each_other(suite: &Suite) {
    const KEYS: usize = 40;
    let handles = Handles::of(suite.open());
    let accepted = together(&handles, THREADS, |s, thread| {
        let mut random = Random::new(thread as u64);
        let mut keys: Vec<usize> = (0..KEYS).collect();
        for at in (1..KEYS).rev() {
            keys.swap(at, random.below(at + 1));
        }
        let key = |key: usize| Some(Key::new(format!("k{key}")).expect("a valid key"));
        let batch = keys.iter().map(|&at| NewTask { key: key(at), ..task() }).collect();
        let replies = s.offer_all(batch);
        replies.iter().filter(|reply| matches!(reply, Enqueued::Accepted)).count()
    });
    assert_eq!(accepted.iter().sum::<usize>(), KEYS, "{accepted:?}");
    let counts = handles.get(0).counts();
    assert_eq!(counts.enqueued, KEYS as u64);
    assert_eq!(counts.duplicates, (KEYS * (THREADS - 1)) as u64);
}

pub fn of_many_settles_of_one_attempt_one_takes_effect(suite: &Suite) {
    let handles = Handles::of(suite.open());
    for round in 1..=20 {
        let claimed = handles.get(0).active(A, task());
        let replies = together(&handles, THREADS, |s, thread| {
            let verdict = [Verdict::Succeed, fail(), cancel()][thread % 3].clone();
            s.settle(&claimed, verdict)
        });
        let applied = only(&replies, |reply| *reply == Settled::Applied);
        let already = replies.iter().filter(|reply| **reply == Settled::Already).count();
        assert_eq!(already, THREADS - 1, "{replies:?}, {applied} was first");
        assert_eq!(handles.get(0).counts().ended(), round);
    }
}

pub fn settles_of_the_same_tasks_in_another_order_do_not_block_each_other(suite: &Suite) {
    const TASKS: usize = 60;
    let handles = Handles::of(suite.open());
    let claimed = handles.get(0).several(TASKS);
    let applied = together(&handles, THREADS, |s, thread| {
        let mut random = Random::new(thread as u64);
        let mut claimed: Vec<&Claimed> = claimed.iter().collect();
        for at in (1..TASKS).rev() {
            claimed.swap(at, random.below(at + 1));
        }
        let batch = claimed.iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
        let replies = s.settle_all(batch);
        assert!(!replies.contains(&Settled::Fenced));
        replies.iter().filter(|reply| **reply == Settled::Applied).count()
    });
    assert_eq!(applied.iter().sum::<usize>(), TASKS);
    assert_eq!(handles.get(0).counts().processed, TASKS as u64);
}

pub fn an_instant_that_many_see_is_fired_once(suite: &Suite) {
    let handles = Handles::of(suite.open());
    let name = Kind::from_static("work");
    let schedule = Schedule::every(handles.get(0).ticks(1)).expect("a tick is at least 1 ms");
    for _ in 0..10 {
        let definition = ScheduleDefinition { name: name.clone(), schedule: schedule.clone() };
        let states =
            together(&handles, THREADS, |s, _| s.done(s.store.put_schedule(definition.clone())));
        let state = &states[0];
        for other in &states {
            let told = (other.revision, other.anchor, other.mark);
            assert_eq!(told, (state.revision, state.anchor, state.mark), "one put has the effect");
        }
        let to = handles.get(0).now();
        let replies = together(&handles, THREADS, |s, _| {
            let tick = Tick {
                name: name.clone(),
                revision: state.revision,
                from: state.mark,
                to,
                task: Some(task()),
            };
            s.done(s.store.tick(vec![tick])).remove(0)
        });
        only(&replies, |reply| matches!(reply, Ticked::Fired(_)));
        let s = handles.get(0);
        s.settle(&s.claim_one(A), Verdict::Succeed);
        s.advance(1);
    }
    assert_eq!(handles.get(0).counts().enqueued, 10);
}

pub fn a_task_is_either_cancelled_or_claimed(suite: &Suite) {
    let handles = Handles::of(suite.open());
    for _ in 0..40 {
        let id = handles.get(0).enqueue(task());
        let replies = together(&handles, 2, |s, thread| match thread {
            0 => (Some(s.cancel(id)), vec![]),
            _ => (None, s.ask(B).tasks()),
        });
        let (reply, claimed) = (replies[0].0, &replies[1].1);
        match reply {
            Some(CancelReply::Cancelled) => assert!(claimed.is_empty(), "it starts all the same"),
            Some(CancelReply::Requested) => {
                let renewed = handles.get(1).renew(B, claimed[0].fence);
                assert_eq!(renewed, Renewed::Held { cancel: true });
                handles.get(1).settle(&claimed[0], give_back());
            }
            other => panic!("{other:?}"),
        }
        let end = handles.get(0).end(id);
        assert!(matches!(end, EndState::Ended(_)), "{end:?}");
    }
    assert_eq!(handles.get(0).counts().cancelled, 40);
}

pub fn a_lease_is_either_renewed_or_taken_back(suite: &Suite) {
    let handles = Handles::of(suite.watched());
    for _ in 0..10 {
        let s = handles.get(0);
        let claimed = s.active(A, task());
        s.watch_until(LEASE);
        let outcome = together(&handles, 2, |s, thread| match thread {
            0 => s.renew(A, claimed.fence) != Renewed::Lost,
            _ => s.rescue(C).rescued.is_empty(),
        });
        assert_eq!(outcome[0], outcome[1], "it is held by one, and taken by the other");
        s.settle(&claimed, Verdict::Succeed);
        s.cancel(claimed.fence.task);
    }
}

pub fn a_crash_is_found_once_however_many_look(suite: &Suite) {
    let handles = Handles::of(suite.watched());
    let s = handles.get(0);
    let in_company = s.several(20);
    let alone = s.active(B, task());
    s.watch_until(LEASE);
    let rescued = together(&handles, THREADS, |s, thread| s.rescue(process(thread)).rescued);
    let mut found: BTreeMap<TaskId, RescuedAs> = BTreeMap::new();
    for rescued in rescued.into_iter().flatten() {
        assert_eq!(found.insert(rescued.id, rescued.rescued_as), None, "found twice");
    }
    assert_eq!(found.remove(&alone.fence.task), Some(RescuedAs::Charged));
    assert_eq!(found.len(), in_company.len());
    assert!(found.values().all(|how| *how == RescuedAs::Suspect), "{found:?}");
}

pub fn suspects_are_given_to_one_process_each(suite: &Suite) {
    let handles = Handles::of(suite.watched());
    handles.get(0).several(3);
    handles.get(0).rescue_after_death();
    let given = together(&handles, THREADS, |s, thread| s.ask(process(thread)).alone().ids());
    assert!(given.iter().all(|ids| ids.len() <= 1), "{given:?}");
    let all: BTreeSet<TaskId> = given.iter().flatten().copied().collect();
    assert_eq!((all.len(), given.iter().flatten().count()), (3, 3), "{given:?}");
}

/// What the threads of [`everything_at_once_adds_up`] were told, all in all.
#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    snoozed: AtomicU64,
    cancelled: AtomicU64,
    children: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn produce(s: &Setup, random: &mut Random, tally: &Tally) {
    const KEYS: [&str; 3] = ["k0", "k1", "k2"];
    for _ in 0..60 {
        let mut new = task();
        if random.below(2) == 0 {
            new = new.key(KEYS[random.below(3)]);
        }
        let id = new.id;
        match s.offer(new) {
            Enqueued::Accepted => count(&tally.accepted),
            Enqueued::Duplicate(_) => count(&tally.duplicates),
            full @ Enqueued::Full { .. } => panic!("{full:?}"),
        }
        if random.below(8) == 0 && s.cancel(id) == CancelReply::Cancelled {
            count(&tally.cancelled);
        }
    }
}

/// Claims and settles until nothing is left that will not come back.
fn consume(s: &Setup, by: Incarnation, random: &mut Random, tally: &Tally, over: &AtomicBool) {
    loop {
        let last = over.load(Ordering::SeqCst);
        let claimed = s.ask(by).room(1 + random.below(5)).tasks();
        if claimed.is_empty() && last {
            return;
        }
        for claimed in claimed {
            let (verdict, counter) = match random.below(8) {
                0 => (fail(), &tally.failed),
                1 if claimed.budgets.errors < 3 => (retry(), &tally.retried),
                2 if claimed.budgets.snoozes < 3 => (snooze(), &tally.snoozed),
                3 => (cancel(), &tally.cancelled),
                _ => (Verdict::Succeed, &tally.succeeded),
            };
            let mut end = settle(&claimed, verdict);
            if end.verdict == Verdict::Succeed && random.below(10) == 0 {
                end.children = vec![task()];
            }
            let children = end.children.len() as u64;
            assert_eq!(s.settle_as(end.clone()), Settled::Applied);
            count(counter);
            tally.children.fetch_add(children, Ordering::SeqCst);
            // A repeat, and a stranger's: neither counts.
            let fence = Fence { incarnation: C, ..claimed.fence };
            end.fence = fence;
            assert_eq!(s.settle_as(end), Settled::Fenced);
        }
    }
}

/// Looks all the time whether a key is held twice.
fn observe(s: &Setup, over: &AtomicBool) {
    let live = |key| {
        let page = s.page(&Filter { key: Some(Key::from_static(key)), ..Filter::default() });
        let live = page.tasks.into_iter().filter(|task| task.state.is_live());
        live.map(|task| task.id).collect::<BTreeSet<TaskId>>()
    };
    while !over.load(Ordering::SeqCst) {
        for key in ["k0", "k1", "k2"] {
            let first = live(key);
            if first.len() > 1 {
                // A page need not be of one instant, but what ended is not live again.
                let both: Vec<TaskId> = first.intersection(&live(key)).copied().collect();
                assert!(both.len() <= 1, "{both:?} have the key {key}, all at once");
            }
        }
        s.promote();
        s.counters();
    }
}

pub fn everything_at_once_adds_up(suite: &Suite) {
    let handles = Handles::of(suite.open());
    let (tally, over) = (Tally::default(), AtomicBool::new(false));
    let producing = AtomicUsize::new(2);
    together(&handles, THREADS, |s, thread| {
        let mut random = Random::new(thread as u64);
        match thread {
            0 | 1 => {
                produce(s, &mut random, &tally);
                let left = producing.fetch_sub(1, Ordering::SeqCst) - 1;
                over.fetch_or(left == 0, Ordering::SeqCst);
            }
            2 => observe(s, &over),
            _ => consume(s, process(thread), &mut random, &tally, &over),
        }
    });
    // What others handed back after a consumer saw nothing.
    consume(handles.get(0), process(9), &mut Random::new(9), &tally, &over);
    let counts = handles.get(0).counts();
    let told = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(counts.live(), 0, "{counts:?}");
    assert_eq!(counts.enqueued, told(&tally.accepted) + told(&tally.children));
    assert_eq!(counts.duplicates, told(&tally.duplicates));
    assert_eq!(counts.processed, told(&tally.succeeded));
    assert_eq!(counts.failed, told(&tally.failed));
    // A retry or a snooze of a task that somebody cancelled meanwhile is its end as cancelled.
    let told = told(&tally.cancelled) + told(&tally.retried) + told(&tally.snoozed);
    assert_eq!(counts.cancelled + counts.retried + counts.snoozed, told);
}

//! Wake-ups: who waits is told what happened, and how urgent it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use conveyor_core::store::{EndState, ScheduleDefinition, Verdict, Wake, WakeSink};
use conveyor_core::{End, Kind, Priority, Schedule, TaskId, Timestamp};

use crate::setup::{A, Options, Set, Setup, done, hand_back, retry, secs, settle, task};

/// What a sink was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Claimable(String, Priority, usize),
    Due(Timestamp),
    Room,
    Ended(TaskId, Option<End>),
    CancelRequested(TaskId),
    ScheduleChanged,
}

#[derive(Default)]
struct Listener {
    told: Mutex<Vec<Told>>,
    watches: AtomicBool,
}

impl WakeSink for Listener {
    fn wake(&self, wake: Wake<'_>) {
        let told = match wake {
            Wake::Claimable { queue, priority, count } => {
                Told::Claimable(queue.to_string(), priority, count)
            }
            Wake::Due(at) => Told::Due(at),
            Wake::Room => Told::Room,
            Wake::Ended { task, end } => Told::Ended(task, end.cloned()),
            Wake::CancelRequested(id) => Told::CancelRequested(id),
            Wake::ScheduleChanged => Told::ScheduleChanged,
            other => panic!("an unknown wake-up: {other:?}"),
        };
        self.told.lock().expect("no listener panics").push(told);
    }

    fn watches_ends(&self) -> bool {
        self.watches.load(Ordering::SeqCst)
    }
}

impl Listener {
    fn of(s: &Setup) -> Arc<Listener> {
        let listener = Arc::new(Listener::default());
        let weak = Arc::downgrade(&listener);
        s.store.subscribe(weak);
        listener
    }

    /// What it was told since it was last asked.
    fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().expect("no listener panics"))
    }
}

fn claimable(queue: &str, priority: Priority, count: usize) -> Told {
    Told::Claimable(queue.to_owned(), priority, count)
}

#[test]
fn claimable_tasks_are_told_by_queue_with_the_highest_priority_and_the_count() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    s.enqueue(task());
    assert_eq!(listener.take(), [claimable("q", Priority::NORMAL, 1)]);
    let batch = vec![
        task().priority(Priority::LOW),
        task().queue("x"),
        task().priority(Priority::HIGH),
        task().queue("y").priority(Priority::LOW),
        task().queue("x"),
    ];
    done(s.store.enqueue(batch));
    let expected = [
        claimable("q", Priority::HIGH, 2),
        claimable("x", Priority::NORMAL, 2),
        claimable("y", Priority::LOW, 1),
    ];
    assert_eq!(listener.take(), expected);
}

#[test]
fn a_delayed_task_is_told_by_its_due_time_and_again_when_it_is_promoted() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    let start = s.now();
    done(s.store.enqueue(vec![task().delay(secs(9)), task().delay(secs(5))]));
    assert_eq!(listener.take(), [Told::Due(start + secs(5))]);
    s.advance(secs(9));
    s.promote(9);
    assert_eq!(listener.take(), [claimable("q", Priority::NORMAL, 2)]);
}

/// Two managers may wait for the same end.
#[test]
fn an_end_is_told_to_all_who_watch() {
    for watch in [[true, true], [true, false], [false, true]] {
        let s = Setup::new();
        let listeners = watch.map(|_| Listener::of(&s));
        let claimed = s.active(A, task());
        for (listener, watches) in listeners.iter().zip(watch) {
            listener.watches.store(watches, Ordering::SeqCst);
            listener.take();
        }
        s.settle(&claimed, Verdict::Succeed);
        let ended = Told::Ended(claimed.fence.task, Some(End::Succeeded));
        for (listener, watches) in listeners.iter().zip(watch) {
            let told = listener.take().contains(&ended);
            assert_eq!(told, watches, "{watch:?}");
        }
    }
}

#[test]
fn what_a_settle_makes_claimable_is_told() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    let claimed = s.active(A, task());
    listener.take();
    s.settle(&claimed, hand_back());
    assert_eq!(listener.take(), [claimable("q", Priority::NORMAL, 1)]);

    let claimed = s.claim_one(A);
    s.settle(&claimed, retry(secs(5)));
    assert_eq!(listener.take(), [Told::Due(s.now() + secs(5))]);

    s.advance(secs(5));
    let mut end = settle(&s.claim_one(A), Verdict::Succeed);
    end.children = vec![task(), task().queue("x"), task().delay(secs(5))];
    listener.take();
    s.settle_as(end);
    let expected = [
        claimable("q", Priority::NORMAL, 1),
        claimable("x", Priority::NORMAL, 1),
        Told::Due(s.now() + secs(5)),
    ];
    assert_eq!(listener.take(), expected);
}

#[test]
fn a_rescue_and_a_resumed_queue_are_told() {
    let s = Setup::watched();
    let listener = Listener::of(&s);
    s.active(A, task());
    listener.take();
    s.rescue_after_death();
    assert_eq!(listener.take(), [claimable("q", Priority::NORMAL, 1)]);
    s.enqueue(task().queue("another"));
    listener.take();
    s.pause("q", true);
    assert_eq!(listener.take(), []);
    s.pause("q", false);
    assert_eq!(listener.take(), [claimable("q", Priority::NORMAL, 1)]);
    s.pause("q", false);
    assert_eq!(listener.take(), [], "it was not paused");
}

#[test]
fn room_in_a_bounded_store_is_told() {
    let s = Setup::with(Options { capacity: Some(1), ..Options::default() });
    let listener = Listener::of(&s);
    let claimed = s.active(A, task());
    listener.take();
    s.settle(&claimed, Verdict::Succeed);
    assert_eq!(listener.take(), [Told::Room]);
    let id = s.enqueue(task());
    listener.take();
    done(s.store.cancel(&[id]));
    assert_eq!(listener.take(), [Told::Room]);
}

#[test]
fn ends_are_told_to_who_watches_them_and_to_nobody_else() {
    let s = Setup::watched();
    let (watching, other) = (Listener::of(&s), Listener::of(&s));
    watching.watches.store(true, Ordering::SeqCst);
    let settled = s.active(A, task());
    let crashed = s.active(A, task());
    let cancelled = s.enqueue(task());
    let (settled_id, crashed_id) = (settled.fence.task, crashed.fence.task);
    watching.take();
    s.settle(&settled, Verdict::Succeed);
    done(s.store.cancel(&[cancelled, crashed_id]));
    s.rescue_after_death();
    let told = watching.take();
    let on_request = Some(End::Cancelled("cancelled on request".into()));
    let expected = [
        Told::Ended(settled_id, Some(End::Succeeded)),
        Told::Ended(cancelled, on_request.clone()),
        Told::CancelRequested(crashed_id),
        Told::Ended(crashed_id, on_request),
    ];
    assert_eq!(told, expected);
    assert!(!other.take().iter().any(|told| matches!(told, Told::Ended(..))));
}

#[test]
fn a_request_to_cancel_a_running_task_is_told() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    let claimed = s.active(A, task());
    listener.take();
    done(s.store.cancel(&[claimed.fence.task]));
    assert_eq!(listener.take(), [Told::CancelRequested(claimed.fence.task)]);
}

#[test]
fn a_schedule_that_is_put_or_replaced_is_told() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    let put = |period| {
        let name = Kind::from_static("work");
        let schedule = Schedule::every(secs(period)).unwrap();
        done(s.store.put_schedule(ScheduleDefinition { name, schedule }));
        listener.take()
    };
    assert_eq!(put(10), [Told::ScheduleChanged]);
    assert_eq!(put(10), []);
    assert_eq!(put(20), [Told::ScheduleChanged]);
}

#[test]
fn a_schedule_that_is_removed_is_told() {
    let s = Setup::new();
    let name = Kind::from_static("work");
    let schedule = Schedule::every(secs(10)).expect("a period above 1 ms");
    let definition = ScheduleDefinition { name: name.clone(), schedule };
    done(s.store.put_schedule(definition));
    let listener = Listener::of(&s);
    done(s.store.remove_schedule(&name));
    assert_eq!(listener.take(), [Told::ScheduleChanged]);
    done(s.store.remove_schedule(&name));
    assert_eq!(listener.take(), [], "there was none");
}

#[test]
fn what_has_no_effect_wakes_nobody() {
    let s = Setup::new();
    let claimed = s.active(A, task().key("k"));
    s.settle(&claimed, retry(secs(5)));
    let listener = Listener::of(&s);
    s.settle(&claimed, retry(secs(5)));
    s.offer(task().key("k"));
    s.promote(9);
    s.rescue(A);
    s.ask(A).tasks();
    assert_eq!(listener.take(), []);
}

#[test]
fn a_sink_that_is_gone_is_told_nothing() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    let other = Listener::of(&s);
    drop(listener);
    s.enqueue(task());
    assert_eq!(other.take().len(), 1);
}

#[test]
fn what_a_claim_promotes_for_others_is_told() {
    let s = Setup::new();
    let listener = Listener::of(&s);
    for queue in ["q", "x", "x"] {
        s.enqueue(task().queue(queue).delay(secs(5)));
    }
    s.advance(secs(5));
    listener.take();
    assert_eq!(s.ask(A).ids().len(), 1);
    let told = listener.take();
    assert_eq!(told, [claimable("x", Priority::NORMAL, 2)], "a promotion would find none");
}

/// A sink that is slow to say, the first time, that it does not watch ends.
struct Hesitant {
    listener: Arc<Listener>,
    asked: mpsc::Sender<()>,
    go_on: Mutex<Option<mpsc::Receiver<()>>>,
}

impl WakeSink for Hesitant {
    fn wake(&self, wake: Wake<'_>) {
        self.listener.wake(wake);
    }

    fn watches_ends(&self) -> bool {
        let watches = self.listener.watches_ends();
        if let Some(go_on) = self.go_on.lock().expect("nobody panics").take() {
            _ = self.asked.send(());
            _ = go_on.recv_timeout(Duration::from_millis(100));
        }
        watches
    }
}

#[test]
fn who_watches_before_it_sees_a_task_live_is_told_of_its_end() {
    let s = Setup::new();
    let claimed = s.active(A, task());
    let id = claimed.fence.task;
    let listener = Arc::new(Listener::default());
    let (asked, hears_asked) = mpsc::channel();
    let (go_on, hears_go_on) = mpsc::channel();
    let hesitant = Arc::new(Hesitant {
        listener: listener.clone(),
        asked,
        go_on: Mutex::new(Some(hears_go_on)),
    });
    let weak = Arc::downgrade(&hesitant);
    s.store.subscribe(weak);
    let seen = thread::scope(|scope| {
        scope.spawn(|| s.settle(&claimed, Verdict::Succeed));
        hears_asked.recv().expect("the store asks");
        listener.watches.store(true, Ordering::SeqCst);
        let seen = s.end(id);
        _ = go_on.send(());
        seen
    });
    if seen == EndState::Live {
        assert_eq!(listener.take(), [Told::Ended(id, Some(End::Succeeded))]);
    }
}

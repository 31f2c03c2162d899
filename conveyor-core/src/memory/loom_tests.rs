//! The store beside itself, in every interleaving that loom makes: calls that race for a task, a
//! key or room, and the order of a change and the telling of it.
//!
//! The store's one lock and its list of sinks are loom's ([`crate::sync`]); counted pointers are
//! not, so a store and its sinks are dropped by a model's own thread, after it has joined the others.
//! Who is told is the simplest consumer there is: it looks, and waits for a mark. The engine's own
//! are in `conveyor-runtime/src/loom_tests`.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, which clippy does not see by this cfg"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use event_listener::Event;
use loom::future::block_on;
use loom::thread;

use super::MemoryStore;
use crate::Retention;
use crate::id::{Incarnation, TaskId};
use crate::name::{Key, Kind, QueueName};
use crate::outcome::End;
use crate::payload::AnyPayload;
use crate::priority::Priority;
use crate::runtime::Clock;
use crate::store::{
    CancelReply, ClaimRequest, Claimed, Demand, EndState, Enqueued, KindRoom, NewTask, Settle,
    Settled, Store, Verdict, Wake, WakeSink,
};
use crate::sync::{Mutex, check, check_within};
use crate::task::Start;
use crate::time::{Instant, Timestamp};

const KIND: Kind = Kind::from_static("work");
const QUEUE: QueueName = QueueName::from_static("q");

/// A clock that stands still until a model has it strike, before it has threads.
#[derive(Default)]
struct Hand(AtomicI64);

impl Hand {
    fn an_hour_later(&self) {
        self.0.fetch_add(3600, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + self.0.load(Ordering::Relaxed))
    }
}

/// What a store tells, for somebody who waits for it.
#[derive(Default)]
struct Ear {
    told: Mutex<Told>,
    news: Event,
    /// Somebody waits for ends.
    watches: Mutex<bool>,
}

#[derive(Clone, Debug, Default)]
struct Told {
    claimable: usize,
    cancel_requested: Vec<TaskId>,
    ended: Vec<(TaskId, Option<End>)>,
}

impl Ear {
    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// Looks until it finds something, and waits for news in between.
    fn find<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        block_on(async {
            loop {
                let news = self.news.listen();
                if let Some(found) = look() {
                    return found;
                }
                news.await;
            }
        })
    }
}

impl WakeSink for Ear {
    fn wake(&self, wake: Wake<'_>) {
        let mut told = self.told.lock().unwrap();
        match wake {
            Wake::Claimable { count, .. } => told.claimable += count,
            Wake::CancelRequested(task) => told.cancel_requested.push(task),
            Wake::Ended { task, end } => told.ended.push((task, end.cloned())),
            _ => {}
        }
        drop(told);
        self.news.notify(usize::MAX);
    }

    fn watches_ends(&self) -> bool {
        *self.watches.lock().unwrap()
    }
}

fn store() -> MemoryStore {
    MemoryStore::new(Arc::new(Hand::default()))
}

/// The store, and an ear that it tells.
fn heard(store: MemoryStore) -> (Arc<MemoryStore>, Arc<Ear>) {
    let (store, ear) = (Arc::new(store), Arc::new(Ear::default()));
    subscribe(&store, &ear);
    (store, ear)
}

fn subscribe(store: &MemoryStore, ear: &Arc<Ear>) {
    let sink: Arc<dyn WakeSink> = ear.clone();
    store.subscribe(Arc::downgrade(&sink));
}

/// Does something with the store on a thread of its own.
fn beside<T: 'static>(
    store: &Arc<MemoryStore>,
    act: impl FnOnce(&MemoryStore) -> T + 'static,
) -> thread::JoinHandle<T> {
    let store = Arc::clone(store);
    thread::spawn(move || act(&store))
}

const fn id(number: u128) -> TaskId {
    TaskId::from_u128(number)
}

fn task(number: u128) -> NewTask {
    NewTask {
        id: id(number),
        kind: KIND,
        queue: QUEUE,
        key: None,
        priority: Priority::NORMAL,
        payload: AnyPayload::new(()),
        start: Start::Now,
        timeout: None,
        retries: None,
    }
}

fn keyed(number: u128) -> NewTask {
    NewTask { key: Some(Key::new("key").unwrap()), ..task(number) }
}

fn accept(store: &MemoryStore, task: NewTask) {
    assert!(matches!(store.enqueue_single(task), Enqueued::Accepted));
}

/// Claims a task for the process of that number.
fn claim(store: &MemoryStore, process: u64) -> Option<Claimed> {
    let kinds = [KindRoom { kind: KIND, room: 1 }];
    let request = ClaimRequest {
        by: Incarnation::new(process),
        token: 0,
        lease: Duration::from_secs(30),
        demand: Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room: 1 },
        alone: false,
    };
    store.claim_tasks(&request).tasks.pop()
}

fn settle(store: &MemoryStore, claimed: &Claimed, verdict: Verdict) -> Settled {
    let settle = Settle {
        fence: claimed.fence,
        ticket: claimed.ticket,
        verdict,
        children: Vec::new(),
        panicked: false,
        timed_out: false,
    };
    store.settle_all(vec![settle]).remove(0)
}

fn end_of(store: &MemoryStore, task: TaskId) -> Option<End> {
    match store.end_states(&[task]).remove(0) {
        EndState::Ended(end) => Some(end),
        _ => None,
    }
}

fn live(store: &MemoryStore) -> usize {
    store.lock().live
}

#[test]
fn a_task_is_told_of_when_it_can_be_claimed() {
    check(|| {
        let (store, ear) = heard(store());
        let producer = beside(&store, |store| accept(store, task(1)));
        ear.find(|| claim(&store, 1));
        producer.join().unwrap();
    });
}

#[test]
fn who_subscribes_and_then_looks_misses_nothing() {
    check(|| {
        let store = Arc::new(store());
        let producer = beside(&store, |store| accept(store, task(1)));
        let ear = Arc::new(Ear::default());
        subscribe(&store, &ear);
        ear.find(|| claim(&store, 1));
        producer.join().unwrap();
    });
}

#[test]
fn of_two_claimers_one_gets_the_task() {
    check(|| {
        let (store, _ear) = heard(store());
        accept(&store, task(1));
        let other = beside(&store, |store| claim(store, 2));
        let claims = [claim(&store, 1), other.join().unwrap()];
        let [claimed] = &claims.iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{claims:?}");
        };
        assert_eq!(claimed.fence.epoch, 1);
        assert_eq!(settle(&store, claimed, Verdict::Succeed), Settled::Applied);
    });
}

#[test]
fn a_due_task_that_a_claim_leaves_is_told_to_others() {
    check(|| {
        let hand = Arc::new(Hand::default());
        let (store, ear) = heard(MemoryStore::new(hand.clone()));
        for number in [1, 2] {
            let start = Start::After(Duration::from_secs(60));
            accept(&store, NewTask { start, ..task(number) });
        }
        // They are due, and nobody was told.
        hand.an_hour_later();
        let other = beside(&store, |store| claim(store, 2).is_some());
        ear.find(|| claim(&store, 1));
        assert!(other.join().unwrap());
    });
}

#[test]
fn a_cancel_beside_a_settle_leaves_one_end() {
    check(|| {
        let (store, ear) = heard(store());
        *ear.watches.lock().unwrap() = true;
        accept(&store, task(1));
        let claimed = claim(&store, 1).unwrap();
        let settles = beside(&store, move |store| settle(store, &claimed, Verdict::Succeed));
        let reply = store.cancel_tasks(&[id(1)]).remove(0);
        assert_eq!(settles.join().unwrap(), Settled::Applied);
        let requested = match reply {
            CancelReply::Requested => vec![id(1)],
            CancelReply::AlreadyEnded => vec![],
            _ => panic!("{reply:?}"),
        };
        let told = ear.told();
        assert_eq!(told.cancel_requested, requested);
        assert_eq!(told.ended, [(id(1), Some(End::Succeeded))]);
        assert_eq!(live(&store), 0);
    });
}

#[test]
fn a_task_that_is_cancelled_beside_its_retry_does_not_run_again() {
    check(|| {
        let (store, ear) = heard(store());
        *ear.watches.lock().unwrap() = true;
        accept(&store, task(1));
        let claimed = claim(&store, 1).unwrap();
        let settles = beside(&store, move |store| {
            let (delay, error) = (Duration::ZERO, "no luck".to_owned());
            settle(store, &claimed, Verdict::Retry { delay, error })
        });
        let reply = store.cancel_tasks(&[id(1)]).remove(0);
        assert_eq!(settles.join().unwrap(), Settled::Applied);
        assert!(matches!(reply, CancelReply::Requested | CancelReply::Cancelled), "{reply:?}");
        assert!(matches!(end_of(&store, id(1)), Some(End::Cancelled(_))));
        assert_eq!(ear.told().ended.len(), 1);
        assert!(claim(&store, 1).is_none());
    });
}

#[test]
fn a_task_that_is_cancelled_beside_its_claim_never_starts_or_is_told() {
    check(|| {
        let (store, ear) = heard(store());
        accept(&store, task(1));
        let claimer = beside(&store, |store| claim(store, 1).is_some());
        let reply = store.cancel_tasks(&[id(1)]).remove(0);
        match (claimer.join().unwrap(), reply) {
            (true, CancelReply::Requested) => assert_eq!(ear.told().cancel_requested, [id(1)]),
            (false, CancelReply::Cancelled) => assert_eq!(live(&store), 0),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn room_is_told_of_when_it_is_there() {
    check(|| {
        let (store, ear) = heard(store().with_capacity_limit(1));
        accept(&store, task(1));
        let claimed = claim(&store, 1).unwrap();
        let settles = beside(&store, move |store| settle(store, &claimed, Verdict::Succeed));
        ear.find(|| matches!(store.enqueue_single(task(2)), Enqueued::Accepted).then_some(()));
        settles.join().unwrap();
        assert_eq!(live(&store), 1);
    });
}

#[test]
fn room_for_one_is_not_given_twice_nor_lost() {
    check_within(2, || {
        let (store, ear) = heard(store().with_capacity_limit(1));
        accept(&store, task(1));
        let settles = beside(&store, |store| {
            let claimed = claim(store, 1).unwrap();
            settle(store, &claimed, Verdict::Succeed);
        });
        let faster = beside(&store, |store| {
            if matches!(store.enqueue_single(task(2)), Enqueued::Accepted) {
                assert_eq!(live(store), 1);
                store.cancel_tasks(&[id(2)]);
            }
        });
        ear.find(|| matches!(store.enqueue_single(task(3)), Enqueued::Accepted).then_some(()));
        settles.join().unwrap();
        faster.join().unwrap();
        assert_eq!(live(&store), 1);
    });
}

#[test]
fn a_key_is_free_at_the_end_of_its_task_and_not_before() {
    check(|| {
        let (store, ear) = heard(store());
        *ear.watches.lock().unwrap() = true;
        accept(&store, keyed(1));
        let claimed = claim(&store, 1).unwrap();
        let settles = beside(&store, move |store| settle(store, &claimed, Verdict::Succeed));
        match store.enqueue_single(keyed(2)) {
            Enqueued::Accepted => assert_eq!(end_of(&store, id(1)), Some(End::Succeeded)),
            Enqueued::Duplicate(holder) => assert_eq!(holder, Some(id(1))),
            other @ Enqueued::Full { .. } => panic!("{other:?}"),
        }
        settles.join().unwrap();
        // Who was refused and then hears of the end finds the key free.
        if live(&store) == 0 {
            accept(&store, keyed(3));
        }
        assert_eq!(live(&store), 1);
        assert!(matches!(store.enqueue_single(keyed(4)), Enqueued::Duplicate(Some(_))));
    });
}

#[test]
fn of_two_tasks_with_one_key_one_is_accepted() {
    check(|| {
        let (store, _ear) = heard(store());
        let other = beside(&store, |store| store.enqueue_single(keyed(2)));
        let replies = [store.enqueue_single(keyed(1)), other.join().unwrap()];
        let accepted = replies.iter().filter(|reply| matches!(reply, Enqueued::Accepted)).count();
        assert_eq!((accepted, live(&store)), (1, 1), "{replies:?}");
    });
}

#[test]
fn who_watches_and_sees_a_task_live_is_told_of_its_end() {
    check(|| {
        // No end is kept: it is told, or never known.
        let retention = Retention { count: 0, ..Retention::default() };
        let (store, ear) = heard(store().with_retention(retention));
        accept(&store, task(1));
        let cancels = beside(&store, |store| {
            store.cancel_tasks(&[id(1)]);
        });
        *ear.watches.lock().unwrap() = true;
        if matches!(store.end_states(&[id(1)])[..], [EndState::Live]) {
            let told = ear.find(|| ear.told().ended.pop());
            assert!(matches!(told, (_, Some(End::Cancelled(_)))));
        }
        cancels.join().unwrap();
    });
}

#[test]
fn a_queue_that_goes_on_is_told_of() {
    check(|| {
        let (store, ear) = heard(store());
        store.pause_queue(&QUEUE, true);
        accept(&store, task(1));
        let resumes = beside(&store, |store| store.pause_queue(&QUEUE, false));
        ear.find(|| claim(&store, 1));
        resumes.join().unwrap();
    });
}

#[test]
fn two_who_subscribe_at_once_are_both_told() {
    check(|| {
        let (store, ears) = (Arc::new(store()), [0, 1].map(|_| Arc::new(Ear::default())));
        let other = {
            let ear = Arc::clone(&ears[0]);
            beside(&store, move |store| subscribe(store, &ear))
        };
        subscribe(&store, &ears[1]);
        other.join().unwrap();
        accept(&store, task(1));
        assert_eq!(ears.map(|ear| ear.told().claimable), [1, 1]);
    });
}

//! A herd: very many tasks that are due at one instant, and very large ones. Each call does a
//! bounded piece, and all get done.
#![allow(missing_docs, reason = "a test's name says what it is for")]

mod scene;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::store::{ClaimRequest, Demand, Enqueued, KindRoom, NewTask, Verdict};
use conveyor_core::task::Start;
use conveyor_core::{Counts, Incarnation, Kind, Priority, Store};
use conveyor_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use conveyor_testkit::store_suite::ManualClock;
use futures::executor::block_on;

use scene::{KIND, LEASE, QUEUE, bytes, claim, done, id, settle, task};

const A: Incarnation = Incarnation::new(1);
const HERD: usize = 100_000;
const OTHER: Kind = Kind::from_static("pack");

/// The most that one claim may make claimable beyond what it takes.
const PIECE: u64 = 5_000;

fn open(path: &Path, clock: &Arc<ManualClock>) -> SqliteStore {
    let options = SqliteOptions::new(path).synchronous(Synchronous::Normal).clock(clock.clone());
    block_on(options.open()).expect("it opens")
}

fn counts(store: &SqliteStore) -> Counts {
    done(store.counters()).total()
}

/// A store with tasks of one kind that are all due at once, an instant ago.
fn herd(path: &Path) -> SqliteStore {
    let clock = Arc::new(ManualClock::new());
    let store = open(path, &clock);
    let start = Start::After(Duration::from_secs(60));
    for from in (0..HERD).step_by(5_000) {
        let batch = (from..from + 5_000).map(|number| NewTask { start, ..task(number + 1) });
        let replies = done(store.enqueue(batch.collect()));
        assert!(replies.iter().all(|reply| matches!(reply, Enqueued::Accepted)));
    }
    // Another kind's, due right after them.
    let start = Start::After(Duration::from_millis(60_001));
    done(store.enqueue_one(NewTask { kind: OTHER, start, ..task(HERD + 1) }));
    clock.advance(Duration::from_secs(61));
    store
}

#[test]
fn a_herd_is_claimed_in_bounded_pieces_each_task_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = herd(&folder.path().join("tasks.db"));
    let all = HERD as u64 + 1;
    assert_eq!(counts(&store).scheduled, all);

    let next = done(store.promote(100));
    assert_eq!((counts(&store).scheduled, counts(&store).queued), (all - 100, 100));
    assert!(
        next.is_some_and(|next| next <= block_on(store.now()).expect("a time")),
        "there is more"
    );

    // A claim is not held up by those that it has no use for, and finds what is due behind them.
    let kinds = [KindRoom { kind: OTHER, room: 10 }];
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room: 10 };
    let request = ClaimRequest { by: A, token: 1, lease: LEASE, demand, alone: false };
    let others = done(store.claim(request)).tasks;
    assert_eq!(others.len(), 1);
    done(store.settle(vec![settle(&others[0], Verdict::Succeed)]));
    let before = counts(&store);
    assert!(all - before.scheduled <= PIECE, "a claim promoted too many: {before:?}");

    // Nor is a reserved consumer by those that are not urgent.
    let kinds = [KindRoom { kind: KIND, room: 10 }];
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MAX, room: 10 };
    let request = ClaimRequest { by: A, token: 2, lease: LEASE, demand, alone: false };
    assert!(done(store.claim(request)).tasks.is_empty());
    let reserved = counts(&store);
    assert!(before.scheduled - reserved.scheduled <= PIECE, "{reserved:?}");
    let before = reserved;

    let few = claim(&store, A, 3, 10);
    let after = counts(&store);
    assert_eq!((few.len(), after.active), (10, 10));
    assert!(before.scheduled - after.scheduled <= PIECE, "a claim promoted too many: {after:?}");

    let mut seen: HashSet<_> = few.iter().map(|claimed| claimed.fence.task).collect();
    for token in 4.. {
        let claimed = claim(&store, A, token, 2_000);
        assert!(claimed.len() <= 2_000);
        if claimed.is_empty() {
            break;
        }
        seen.extend(claimed.iter().map(|claimed| claimed.fence.task));
    }
    let counts = counts(&store);
    assert_eq!((seen.len(), counts.active), (HERD, HERD as u64));
    assert_eq!((counts.scheduled, counts.queued), (0, 0));
    assert!((1..=HERD).all(|number| seen.contains(&id(number))));
}

#[test]
fn a_very_large_payload_is_carried() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let store = open(&path, &Arc::new(ManualClock::new()));
    let mut large: Vec<u8> = (0..64 << 20).map(|at: u32| (at / 3) as u8).collect();
    large[1_000] = 0;
    done(store.enqueue_one(NewTask { payload: bytes(&large), ..task(1) }));
    let claimed = claim(&store, A, 1, 1).remove(0);
    let carried = claimed.payload.encoded(&Default::default()).expect("it is encoded");
    assert!(carried.bytes[..] == large[..], "it comes back as another");
    done(store.settle(vec![settle(&claimed, Verdict::Succeed)]));
}

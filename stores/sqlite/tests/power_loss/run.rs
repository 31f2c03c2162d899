//! A small run of a store, with all sorts of calls, and what its file held after each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::store::{
    Enqueued, NewTask, RescueRequest, ScheduleDefinition, Store, Tick, Verdict,
};
use conveyor_core::task::Start;
use conveyor_core::{Incarnation, Retention, Schedule, TaskId};
use conveyor_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use conveyor_testkit::store_suite::ManualClock;

use super::scene::{self, KIND, LEASE, QUEUE, claim, done, id, keyed, large, task};
use super::vfs::{self, Event};
use super::{Note, file};

const A: Incarnation = Incarnation::new(1);
const B: Incarnation = Incarnation::new(2);

/// What a run did.
pub(crate) struct Run {
    /// What the disk was told, and the callers.
    pub(crate) events: Vec<Event>,
    /// What the file held at the start, and after each step.
    pub(crate) contents: Vec<String>,
    /// The tasks that it knew then.
    pub(crate) known: Vec<Vec<TaskId>>,
    /// The tasks that each call of the step brought that is made of several calls at once.
    pub(crate) crowd: Vec<Vec<TaskId>>,
    /// The step that it is.
    pub(crate) crowded: usize,
}

pub(crate) fn options(path: PathBuf, synchronous: Synchronous) -> SqliteOptions {
    let retention = Retention { count: 1_000, age: Duration::from_secs(3_600) };
    let clock = Arc::new(ManualClock::new());
    SqliteOptions::new(path).synchronous(synchronous).retention(retention).clock(clock)
}

struct Running {
    folder: PathBuf,
    path: PathBuf,
    store: SqliteStore,
    clock: Arc<ManualClock>,
    synchronous: Synchronous,
    contents: Vec<String>,
    known: Vec<Vec<TaskId>>,
}

impl Running {
    /// Notes that a step was acknowledged.
    fn step(&mut self) {
        vfs::note(&self.folder, Note::Step(self.contents.len()));
        let sql = file::to_read(&self.path);
        self.contents.push(file::contents(&sql));
        self.known.push(file::known(&sql));
    }

    fn did<T>(&mut self, call: impl FnOnce(&SqliteStore) -> T) -> T {
        let reply = call(&self.store);
        self.step();
        reply
    }

    /// Has what was committed be moved into the database, as any process may at any time.
    fn checkpoint(&mut self, mode: &str) {
        let sql = rusqlite::Connection::open(&self.path).expect("it opens");
        let synchronous = format!("{:?}", self.synchronous);
        sql.pragma_update(None, "synchronous", synchronous).expect("it waits for the disk so");
        let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
        let moved: i64 = sql.query_row(&checkpoint, (), |row| row.get(2)).expect("it is moved");
        assert!(moved > 0 || mode == "TRUNCATE", "{moved} pages were moved");
        self.step();
    }

    fn claimed(&mut self, token: u64, room: usize) -> Vec<conveyor_core::store::Claimed> {
        let claimed = claim(&self.store, A, token, room);
        assert_eq!(claimed.len(), room);
        self.step();
        claimed
    }
}

/// Runs a store in a folder, with a record of it.
pub(crate) fn run(folder: &Path, synchronous: Synchronous) -> Run {
    vfs::record(folder);
    let path = folder.join("tasks.db");
    let clock = Arc::new(ManualClock::new());
    let options = options(path.clone(), synchronous).clock(clock.clone());
    let store = futures::executor::block_on(options.open()).expect("it opens");
    let folder = folder.to_owned();
    let (contents, known) = (Vec::new(), Vec::new());
    let mut run = Running { folder, path, store, clock, synchronous, contents, known };
    run.step();
    let (crowded, crowd) = steps(&mut run);
    let Running { folder, store, contents, known, .. } = run;
    // The store is still open: its end is no part of the run.
    let events = vfs::recorded(&folder);
    drop(store);
    Run { events, contents, known, crowd, crowded }
}

fn steps(run: &mut Running) -> (usize, Vec<Vec<TaskId>>) {
    let schedule = Schedule::every(Duration::from_secs(10)).expect("a period");
    let definition = ScheduleDefinition { name: KIND, schedule };
    let state = run.did(|store| done(store.put_schedule(definition)));
    run.did(|store| done(store.enqueue_one(keyed(1, "key"))));
    run.did(|store| done(store.enqueue((2..10).map(|n| large(n, 300)).collect())));
    let held = run.claimed(1, 4);
    let mut with_child = scene::settle(&held[0], Verdict::Succeed);
    with_child.children = vec![task(20), task(21)];
    run.did(|store| done(store.settle(vec![with_child])));
    let retry = Verdict::Retry { delay: Duration::from_secs(5), error: "no".to_owned() };
    run.did(|store| done(store.settle(vec![scene::settle(&held[1], retry)])));
    let refused =
        run.did(|store| done(store.enqueue(vec![task(22), keyed(23, "k"), keyed(24, "k")])));
    assert!(matches!(refused[2], Enqueued::Duplicate(_)), "{refused:?}");
    let (crowded, crowd) = crowd(run);
    run.checkpoint("PASSIVE");
    run.did(|store| done(store.enqueue_one(large(40, 20_000))));
    let tick = Tick {
        name: KIND,
        revision: state.revision,
        from: state.mark,
        to: state.anchor,
        task: Some(task(41)),
    };
    run.did(|store| done(store.tick(vec![tick])));
    run.did(|store| done(store.pause(&QUEUE, true)));
    run.did(|store| done(store.pause(&QUEUE, false)));
    run.did(|store| done(store.renew(A, &[held[2].fence, held[3].fence], LEASE)));
    run.did(|store| done(store.cancel(&[id(9), id(40)])));
    run.clock.advance(Duration::from_secs(6));
    run.did(|store| done(store.promote(10)));
    let fail = scene::settle(&held[2], Verdict::Fail { error: "bad".to_owned() });
    let snooze = scene::settle(&held[3], Verdict::Snooze { delay: Duration::from_secs(1) });
    run.did(|store| done(store.settle(vec![fail, snooze])));
    run.checkpoint("RESTART");
    run.claimed(2, 2);
    let rescue = RescueRequest { by: B, lease: LEASE, crash_budget: 3, limit: 10 };
    run.did(|store| done(store.rescue(rescue)));
    run.did(|store| done(store.enqueue((50..60).map(|n| large(n, 3_000)).collect())));
    run.checkpoint("TRUNCATE");
    let start = Start::After(Duration::from_secs(100));
    run.did(|store| done(store.enqueue_one(NewTask { start, ..task(61) })));
    run.clock.advance(Duration::from_secs(7_200));
    run.did(|store| done(store.prune(10)));
    let held = run.claimed(3, 6);
    let ends = held.iter().map(|held| scene::settle(held, Verdict::Succeed)).collect();
    run.did(|store| done(store.settle(ends)));
    (crowded, crowd)
}

/// Many callers at once: what they bring is put together in transactions, nobody knows how.
fn crowd(run: &mut Running) -> (usize, Vec<Vec<TaskId>>) {
    let calls: Vec<Vec<NewTask>> =
        (0..6).map(|call| (0..=call % 3).map(|n| task(100 + 10 * call + n)).collect()).collect();
    let ids: Vec<Vec<TaskId>> =
        calls.iter().map(|call| call.iter().map(|task| task.id).collect()).collect();
    let waiting = calls.into_iter().enumerate().map(|(number, call)| {
        let folder = run.folder.as_path();
        run.store.enqueue(call).map(move |reply| {
            assert!(reply.iter().all(|reply| matches!(reply, Enqueued::Accepted)));
            vfs::note(folder, Note::Answered(number));
        })
    });
    futures::executor::block_on(futures::future::join_all(waiting));
    run.step();
    (run.contents.len() - 1, ids)
}

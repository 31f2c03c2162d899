//! Several processes on one file: they make its tables at once, never hear that it is busy, do each
//! task once, and wake each other.
#![allow(missing_docs, reason = "a test's name says what it is for")]

mod child;
#[path = "../scene/mod.rs"]
mod scene;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use conveyor_core::store::{EndState, Settled, Verdict, Wake, WakeSink};
use conveyor_core::{Incarnation, Store};
use conveyor_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use futures::executor::block_on;
use rusqlite::Connection;

use child::{PATIENCE, Process};
use scene::{claim, done, id, settle, task};

/// Longer than a statement waits for a lock by itself.
const LONG: Duration = Duration::from_secs(4);

fn open(path: &Path) -> SqliteStore {
    let options = SqliteOptions::new(path).synchronous(Synchronous::Normal);
    block_on(options.open()).expect("it opens")
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

/// Not a test of its own, but what the processes run that the tests start.
#[test]
fn process() {
    let Some(path) = child::file() else {
        return;
    };
    let mut store = None;
    let by = Incarnation::new(u64::from(std::process::id()));
    let mut token = 0;
    child::obey(|words| match *words {
        ["are you there" | "ready"] => "yes".to_owned(),
        ["open"] => {
            store = Some(open(&path));
            "open".to_owned()
        }
        ["enqueue", from, to] => {
            let store = store.as_ref().expect("it is open");
            for number in number(from)..number(to) {
                done(store.enqueue_one(task(number)));
            }
            "enqueued".to_owned()
        }
        // Claims and settles until all so many are claimed, by whomever.
        ["work", all] => {
            let store = store.as_ref().expect("it is open");
            let mut ended = Vec::new();
            while done(store.counters()).total().processed < number(all) as u64 {
                token += 1;
                for claimed in claim(store, by, token, 7) {
                    let end = settle(&claimed, Verdict::Succeed);
                    assert_eq!(done(store.settle(vec![end])), [Settled::Applied]);
                    ended.push(claimed.fence.task.as_u128().to_string());
                }
            }
            ended.join(" ")
        }
        _ => panic!("what is {words:?}?"),
    });
}

fn start(file: &Path, count: usize) -> Vec<Process> {
    let mut processes: Vec<_> = (0..count).map(|_| Process::start("process", file)).collect();
    processes.iter_mut().for_each(|process| assert_eq!(process.ask("ready"), "yes"));
    processes
}

/// Tells all the same at one moment, and waits for all answers.
fn ask_all(processes: &mut [Process], what: impl Fn(usize) -> String) -> Vec<String> {
    for (number, process) in processes.iter_mut().enumerate() {
        process.tell(&what(number));
    }
    processes.iter().map(Process::answer).collect()
}

#[test]
fn eight_processes_make_the_tables_of_a_new_file_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.db"));
        let mut processes = start(&path, 8);
        let opened = ask_all(&mut processes, |_| "open".to_owned());
        assert!(opened.iter().all(|said| said == "open"), "{opened:?}");
        ask_all(&mut processes, |at| format!("enqueue {} {}", 10 * at + 1, 10 * at + 4));
        let sql = Connection::open(&path).expect("it opens");
        let count = |what: &str| -> i64 {
            sql.query_row(what, (), |row| row.get(0)).expect("it is counted")
        };
        assert_eq!(count("SELECT count(*) FROM conveyor_meta"), 1);
        assert_eq!(count("SELECT count(*) FROM conveyor_tasks"), 24);
        assert_eq!(count("SELECT sum(queued) FROM conveyor_streams"), 24);
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'conveyor_tasks'";
        assert_eq!(count(tables), 1);
    }
}

#[test]
fn several_processes_do_each_task_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let mut processes = start(&path, 4);
    ask_all(&mut processes, |_| "open".to_owned());
    let all = ask_all(&mut processes, |at| format!("enqueue {} {}", 50 * at + 1, 50 * at + 51));
    assert_eq!(all.len(), 4);
    let ended = ask_all(&mut processes, |_| "work 200".to_owned());
    let ended: Vec<&str> = ended.iter().flat_map(|ids| ids.split_whitespace()).collect();
    let once: HashSet<&str> = ended.iter().copied().collect();
    assert_eq!((ended.len(), once.len()), (200, 200), "each is ended, once");
}

#[test]
fn calls_wait_while_another_process_has_a_transaction_open_and_then_succeed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let mut processes = start(&path, 2);
    assert_eq!(processes[0].ask("open"), "open");
    assert_eq!(processes[0].ask("enqueue 1 3"), "enqueued");

    let other = Connection::open(&path).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE held (a)").expect("it has the lock");
    processes[0].tell("enqueue 3 6");
    processes[1].tell("open");
    assert!(processes.iter().all(|process| process.is_silent(LONG)), "they wait");
    other.execute_batch("COMMIT").expect("it is committed");
    assert_eq!(processes[0].answer(), "enqueued");
    assert_eq!(processes[1].answer(), "open");
    let ended = processes[1].ask("work 5");
    assert_eq!(ended.split_whitespace().count(), 5);
}

/// What is only read is answered also while another process writes.
#[test]
fn who_only_reads_waits_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let store = open(&path);
    done(store.enqueue_one(task(1)));
    let other = Connection::open(&path).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE held (a)").expect("it has the lock");
    assert_eq!(done(store.ends(&[id(1), id(2)])), [EndState::Live, EndState::Gone]);
    assert_eq!(done(store.counters()).total().queued, 1);
}

/// Waits to be told that something can be claimed.
#[derive(Default)]
struct Listener {
    told: Mutex<bool>,
    news: Condvar,
}

impl WakeSink for Listener {
    fn wake(&self, wake: Wake<'_>) {
        if let Wake::Claimable { .. } = wake {
            *self.told.lock().expect("no panic") = true;
            self.news.notify_all();
        }
    }
}

impl Listener {
    fn is_told_within(&self, time: Duration) -> bool {
        let told = self.told.lock().expect("no panic");
        let (mut told, _) =
            self.news.wait_timeout_while(told, time, |told| !*told).expect("no panic");
        std::mem::take(&mut *told)
    }

    fn is_told(&self) -> bool {
        self.is_told_within(PATIENCE)
    }

    /// Waits until no more is told of what was: the last look for it is made within a second.
    fn wait_for_silence(&self) {
        while self.is_told_within(Duration::from_secs(2)) {}
    }
}

#[test]
fn a_commit_wakes_another_process_whatever_the_journal_is_like() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let mut process = start(&path, 1).remove(0);
    assert_eq!(process.ask("open"), "open");
    let store = open(&path);
    let listener = Arc::new(Listener::default());
    let weak = Arc::downgrade(&listener);
    store.subscribe(weak);

    assert_eq!(process.ask("enqueue 1 2"), "enqueued");
    assert!(listener.is_told(), "of a new journal");
    for (from, mode) in [(10, "PASSIVE"), (20, "RESTART"), (30, "TRUNCATE")] {
        let other = Connection::open(&path).expect("it opens");
        let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
        other.query_row(&checkpoint, (), |_| Ok(())).expect("it is moved into the database");
        listener.wait_for_silence();
        assert_eq!(process.ask(&format!("enqueue {from} {}", from + 1)), "enqueued");
        assert!(listener.is_told(), "of a journal after {mode}");
    }

    // The file is lost, and put back from a copy, with a journal that is another file.
    drop(process);
    let copies = folder.path().join("copies");
    std::fs::create_dir(&copies).expect("a folder");
    let names = ["tasks.db", "tasks.db-wal"];
    for name in names {
        std::fs::copy(folder.path().join(name), copies.join(name)).expect("it is copied");
        std::fs::remove_file(folder.path().join(name)).expect("it is lost");
    }
    std::fs::remove_file(folder.path().join("tasks.db-shm")).expect("it is lost");
    block_on(store.enqueue_one(task(90))).expect_err("there is no file");
    for name in names {
        std::fs::rename(copies.join(name), folder.path().join(name)).expect("it is put back");
    }
    assert_eq!(done(store.ends(&[id(30)])), [EndState::Live]);
    done(store.enqueue_one(task(90)));
    assert!(listener.is_told(), "of its own");
    let mut process = start(&path, 1).remove(0);
    assert_eq!(process.ask("open"), "open");
    listener.wait_for_silence();
    assert_eq!(process.ask("enqueue 40 41"), "enqueued");
    assert!(listener.is_told(), "of a journal that is another file");
}

#[test]
fn a_file_that_is_back_is_waited_for_if_another_process_has_a_transaction_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, away) = (folder.path().join("tasks.db"), folder.path().join("away.db"));
    let store = open(&path);
    done(store.enqueue_one(task(1)));
    std::fs::rename(&path, &away).expect("it is taken away");
    block_on(store.enqueue_one(task(2))).expect_err("there is no file");
    std::fs::rename(&away, &path).expect("it is put back");
    let other = Connection::open(&path).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE held (a)").expect("it has the lock");
    std::thread::scope(|scope| {
        let (sender, reply) = std::sync::mpsc::channel();
        let store = &store;
        scope.spawn(move || sender.send(block_on(store.enqueue_one(task(2)))));
        let early = reply.recv_timeout(LONG);
        assert!(early.is_err(), "it waits: {early:?}");
        other.execute_batch("COMMIT").expect("it is committed");
        reply.recv_timeout(PATIENCE).expect("an answer").expect("it is accepted");
    });
    assert_eq!(done(store.ends(&[id(1), id(2)])), [EndState::Live, EndState::Live]);
}

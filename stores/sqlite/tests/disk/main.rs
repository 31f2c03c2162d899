//! The disk and the file: full, read-only, missing, taken away, not ours. Each is told with the way
//! out, nothing is lost, and the store goes on when it is over.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(unsafe_code, reason = "a thread gives up its rights to files")]

mod full;
mod place;
#[path = "../scene/mod.rs"]
mod scene;

use std::fs;
use std::path::Path;

use conveyor_core::store::{EndState, StoreError, StoreErrorKind, Verdict};
use conveyor_core::{Incarnation, Store};
use conveyor_sqlite::SqliteStore;
use futures::executor::block_on;
use rusqlite::Connection;

use place::{as_nobody, give_to_nobody, set_mode};
use scene::{claim, done, id, settle, task};

const A: Incarnation = Incarnation::new(1);

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    block_on(SqliteStore::open(path))
}

fn says(error: &StoreError, kind: StoreErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not all in {text:?}");
}

/// A file with a task in it, which nobody has ever had open.
fn file_with_a_task(path: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made.db");
    done(open(&made).expect("it opens").enqueue_one(task(1)));
    // A store closes in its own time; its journal goes when all is in the file.
    while folder.path().join("made.db-wal").exists() {
        std::thread::yield_now();
    }
    fs::copy(made, path).expect("it is copied");
}

#[test]
fn a_missing_folder_is_refused_and_the_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("missing").join("tasks.db");
    let refused = open(&path).expect_err("there is no folder");
    says(&refused, StoreErrorKind::Refused, &["does the folder exist", "missing/tasks.db"]);
    fs::create_dir(folder.path().join("missing")).expect("a folder");
    done(open(&path).expect("it opens").enqueue_one(task(1)));
    let refused = open(folder.path()).expect_err("it is a folder itself");
    says(&refused, StoreErrorKind::Refused, &[]);
}

#[test]
fn a_read_only_disk_is_refused() {
    let test = "a_read_only_disk_is_refused";
    let otherwise = || what_may_not_be_written_to_is_refused_and_opens_when_it_may();
    if !place::has_own_mounts(test, otherwise) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    place::mount_small(folder.path(), 4 << 20);
    let path = folder.path().join("tasks.db");
    file_with_a_task(&path);
    place::remount(folder.path(), "ro");
    let refused = open(&path).expect_err("it is read-only");
    says(&refused, StoreErrorKind::Refused, &["tasks.db"]);
    let text = refused.to_string();
    assert!(text.contains("read-only") || text.contains("may it be written to"), "{text}");
    let refused = open(&folder.path().join("new.db")).expect_err("it is read-only");
    says(&refused, StoreErrorKind::Refused, &["may it be written to", "new.db"]);
    place::remount(folder.path(), "rw");
    let store = open(&path).expect("it opens");
    assert_eq!(done(store.ends(&[id(1)])), [EndState::Live]);
    done(store.enqueue_one(task(2)));
}

#[test]
fn what_may_not_be_written_to_is_refused_and_opens_when_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let path = folder.join("tasks.db");
    file_with_a_task(&path);
    for given in [folder, &path] {
        give_to_nobody(given);
    }
    as_nobody(|| {
        set_mode(&path, 0o444);
        let refused = open(&path).expect_err("the file is read-only");
        says(&refused, StoreErrorKind::Refused, &["read-only?", "tasks.db"]);
        set_mode(&path, 0);
        let refused = open(&path).expect_err("the file is closed to it");
        says(&refused, StoreErrorKind::Refused, &["may it be written to", "tasks.db"]);
        set_mode(&path, 0o644);

        set_mode(folder, 0o555);
        let refused = open(&folder.join("new.db")).expect_err("the folder is read-only");
        says(&refused, StoreErrorKind::Refused, &["may it be written to", "new.db"]);
        let refused = open(&path).expect_err("there is no place for the journal");
        says(&refused, StoreErrorKind::Refused, &["its folder, read-only?", "tasks.db"]);
        set_mode(folder, 0o755);

        let store = open(&path).expect("it opens");
        assert_eq!(done(store.ends(&[id(1)])), [EndState::Live]);
        done(store.enqueue_one(task(2)));
    });
}

#[test]
fn a_file_that_is_taken_away_is_missed_and_goes_on_when_it_is_back() {
    // The file alone, or with its journal.
    for names in [&["tasks.db"][..], &["tasks.db", "tasks.db-wal", "tasks.db-shm"]] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tasks.db");
        let away = folder.path().join("away");
        fs::create_dir(&away).expect("a folder");
        let store = open(&path).expect("it opens");
        done(store.enqueue((1..=10).map(task).collect()));
        let held = claim(&store, A, 1, 1).remove(0);
        assert_eq!(done(store.ends(&[id(1)])), [EndState::Live]);
        let rename = |from: &Path, to: &Path| {
            for name in names {
                fs::rename(from.join(name), to.join(name)).expect("it is there");
            }
        };

        rename(folder.path(), &away);
        for _ in 0..2 {
            let missed = block_on(store.enqueue_one(task(11))).expect_err("it is away");
            says(&missed, StoreErrorKind::Unavailable, &["not there any more", "tasks.db"]);
            let missed = block_on(store.ends(&[id(1)])).expect_err("it is away");
            says(&missed, StoreErrorKind::Unavailable, &["not there any more", "tasks.db"]);
        }
        assert!(!path.exists(), "no new file is made in its place");

        rename(&away, folder.path());
        let ids: Vec<_> = (1..=11).map(id).collect();
        let mut expected = vec![EndState::Live; 10];
        expected.push(EndState::Gone);
        assert_eq!(done(store.ends(&ids)), expected);
        done(store.settle(vec![settle(&held, Verdict::Succeed)]));
        done(store.enqueue_one(task(11)));
        assert_eq!(claim(&store, A, 2, 100).len(), 10);
        drop(store);
        let store = open(&path).expect("it opens");
        assert!(done(store.ends(&ids)).iter().all(|end| *end != EndState::Gone));
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    for text in ["milk".to_owned(), "buy milk\n".repeat(1_000), "SQLite format 3\0".repeat(2_000)] {
        fs::write(&path, &text).expect("it is written");
        let refused = open(&path).expect_err("it is no database");
        says(&refused, StoreErrorKind::Incompatible, &["notes.txt"]);
        assert!(fs::read_to_string(&path).expect("it is there") == text, "it was changed");
        assert_eq!(
            fs::read_dir(folder.path()).expect("a folder").count(),
            1,
            "nothing is beside it"
        );
    }
    fs::write(&path, "buy milk\n").expect("it is written");
    let refused = open(&path).expect_err("it is no database");
    says(&refused, StoreErrorKind::Incompatible, &["no SQLite file"]);
}

#[test]
fn another_programs_database_takes_our_tables_beside_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.db");
    let shop = Connection::open(&path).expect("it opens");
    shop.execute_batch(
        "PRAGMA application_id = 77; PRAGMA user_version = 12;
         CREATE TABLE orders (number INTEGER PRIMARY KEY, task TEXT);
         CREATE TABLE tasks (id); CREATE INDEX by_task ON orders (task);
         INSERT INTO orders VALUES (1, 'a'), (2, 'b')",
    )
    .expect("its tables");
    let store = open(&path).expect("it opens beside");
    done(store.enqueue((1..=3).map(task).collect()));
    let held = claim(&store, A, 1, 2);
    done(store.settle(held.iter().map(|held| settle(held, Verdict::Succeed)).collect()));
    // It was open all the time.
    shop.execute("INSERT INTO orders VALUES (3, 'c')", ()).expect("it goes on");
    let number =
        |what: &str| -> i64 { shop.query_row(what, (), |row| row.get(0)).expect("a number") };
    assert_eq!(number("PRAGMA application_id"), 77);
    assert_eq!(number("PRAGMA user_version"), 12);
    assert_eq!(number("SELECT count(*) FROM orders"), 3);
    let named = "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'conveyor\\_%' ESCAPE '\\'
                 AND tbl_name NOT LIKE 'conveyor\\_%' ESCAPE '\\'";
    assert_eq!(number(named), 3, "all of ours is named so");
    let checked: String =
        shop.query_row("PRAGMA integrity_check", (), |row| row.get(0)).expect("it is checked");
    assert_eq!(checked, "ok");
    assert_eq!(claim(&store, A, 2, 10).len(), 1);
}

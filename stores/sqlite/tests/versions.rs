//! Two versions of the tables: newer ones that an older program may use are used by it, others are
//! refused with both versions, and are left as they are.
#![allow(missing_docs, reason = "a test's name says what it is for")]

mod scene;

use std::path::Path;

use conveyor_core::store::{EndState, Settled, StoreErrorKind, Verdict};
use conveyor_core::{Incarnation, Store};
use conveyor_sqlite::SqliteStore;
use futures::executor::block_on;
use rusqlite::Connection;

use scene::{claim, done, id, keyed, settle, task};

const A: Incarnation = Incarnation::new(1);

/// What a newer program does to the tables, so that older ones can use them still.
const EXPANSION: &str = "
    BEGIN IMMEDIATE;
    ALTER TABLE conveyor_tasks ADD COLUMN tenant TEXT;
    ALTER TABLE conveyor_streams ADD COLUMN oldest INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE conveyor_tenants (tenant TEXT PRIMARY KEY) STRICT;
    CREATE INDEX conveyor_tasks_by_tenant ON conveyor_tasks (tenant) WHERE tenant IS NOT NULL;
    UPDATE conveyor_meta SET version = 12, usable_from = 1;
    COMMIT;";

fn sql(path: &Path) -> Connection {
    Connection::open(path).expect("it opens")
}

fn versions(path: &Path) -> (i64, i64) {
    let versions = "SELECT version, usable_from FROM conveyor_meta";
    sql(path).query_row(versions, (), |row| Ok((row.get(0)?, row.get(1)?))).expect("versions")
}

/// A task comes, goes, and ends.
fn works(store: &SqliteStore, number: usize) {
    done(store.enqueue_one(keyed(number, "key")));
    let claimed = claim(store, A, u64::try_from(number).expect("it fits"), 1).remove(0);
    let mut end = settle(&claimed, Verdict::Succeed);
    end.children = vec![task(number + 1)];
    assert_eq!(done(store.settle(vec![end])), [Settled::Applied]);
    assert!(matches!(done(store.ends(&[id(number)]))[..], [EndState::Ended(_)]));
    done(store.cancel(&[id(number + 1)]));
}

#[test]
fn newer_tables_that_say_so_are_used_also_by_who_has_them_open_already() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let before = block_on(SqliteStore::open(&path)).expect("it opens");
    works(&before, 10);
    sql(&path).execute_batch(EXPANSION).expect("it is expanded");
    works(&before, 20);
    let after = block_on(SqliteStore::open(&path)).expect("it opens the newer tables");
    works(&after, 30);
    works(&before, 40);
    assert_eq!(versions(&path), (12, 1), "nobody takes the tables for older ones");
}

#[test]
fn newer_tables_that_say_no_are_refused_with_both_versions_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    drop(block_on(SqliteStore::open(&path)).expect("it opens"));
    let contract = "UPDATE conveyor_meta SET version = 12, usable_from = 9";
    sql(&path).execute_batch(contract).expect("it is contracted");
    let refused = block_on(SqliteStore::open(&path)).expect_err("it is refused");
    assert_eq!(refused.kind(), StoreErrorKind::Incompatible);
    let text = refused.to_string();
    for part in ["version 12", "version 9", "knows version 1", "update", "tasks.db"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    assert_eq!(versions(&path), (12, 9));
    sql(&path).execute_batch("UPDATE conveyor_meta SET usable_from = 1").expect("it is taken back");
    works(&block_on(SqliteStore::open(&path)).expect("it opens"), 10);
}

/// Whoever has the file open when a newer program makes the tables unusable must not write by what
/// it knows of the old ones.
#[test]
fn tables_that_become_unusable_are_refused_by_who_has_them_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tasks.db");
    let store = block_on(SqliteStore::open(&path)).expect("it opens");
    works(&store, 10);
    let contract = "UPDATE conveyor_meta SET version = 12, usable_from = 9";
    sql(&path).execute_batch(contract).expect("it is contracted");
    let refused = block_on(store.enqueue_one(task(20))).expect_err("it is refused");
    assert_eq!(refused.kind(), StoreErrorKind::Incompatible);
    let text = refused.to_string();
    assert!(text.contains("version 12") && text.contains("version 1"), "{text}");
    sql(&path).execute_batch("UPDATE conveyor_meta SET usable_from = 1").expect("it is taken back");
    works(&store, 30);
}

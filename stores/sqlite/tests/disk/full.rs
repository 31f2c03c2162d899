//! No room: calls are refused with the way out, nothing is lost, and it goes on when there is room.

use std::path::Path;
use std::process::Command;

use conveyor_core::store::{EndState, Settled, StoreError, StoreErrorKind, Verdict};
use conveyor_core::{Incarnation, Store, TaskId};
use conveyor_sqlite::SqliteStore;
use futures::executor::block_on;

use super::place;
use super::scene::{claim, done, id, large, settle, task, try_claim};

const A: Incarnation = Incarnation::new(1);

/// Says to a process that its files may not grow beyond a bound.
const BOUND: &str = "CONVEYOR_TEST_BOUND";

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let test = "full::a_full_disk_refuses_and_goes_on_when_there_is_room";
    let otherwise = || files_that_may_not_grow_fail_and_go_on_when_they_may();
    if !place::has_own_mounts(test, otherwise) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    place::mount_small(folder.path(), 4 << 20);
    let ballast = folder.path().join("ballast");
    let room = Room {
        take: &|| place::fill(&ballast),
        make: &|| std::fs::remove_file(&ballast).expect("it is there"),
        refused: &|error| {
            assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
            assert!(error.to_string().contains("make room"), "{error}");
        },
    };
    out_of_room(folder.path(), &room);

    place::fill(&ballast);
    let refused = block_on(SqliteStore::open(folder.path().join("new.db"))).expect_err("no room");
    (room.refused)(&refused);
    (room.make)();
    block_on(SqliteStore::open(folder.path().join("new.db"))).expect("there is room");
}

/// A bound on the size of files is no full disk: SQLite tells of it as of any disk that fails, and so
/// what it may be is told too.
#[test]
fn files_that_may_not_grow_fail_and_go_on_when_they_may() {
    let Some(folder) = std::env::var_os(BOUND) else {
        let folder = tempfile::tempdir().expect("a folder");
        let test = "full::files_that_may_not_grow_fail_and_go_on_when_they_may";
        // Who writes beyond the bound gets an error, and no signal.
        let status = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("it has a name"))
            .args([test, "--exact", "--nocapture"])
            .env(BOUND, folder.path())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{test} fails; see above");
        return;
    };
    let bound = |bytes: &str| {
        let (me, bytes) = (std::process::id().to_string(), format!("--fsize={bytes}:unlimited"));
        place::run("prlimit", &["--pid", &me, &bytes]);
    };
    let room = Room {
        take: &|| bound("262144"),
        make: &|| bound("unlimited"),
        refused: &|error| {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains("limit to the size of files"), "{error}");
        },
    };
    out_of_room(Path::new(&folder), &room);
}

/// How room is taken and made, and what a call says that found none.
struct Room<'a> {
    take: &'a dyn Fn(),
    make: &'a dyn Fn(),
    refused: &'a dyn Fn(&StoreError),
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    accepted: Vec<TaskId>,
    ended: Vec<TaskId>,
}

impl Acknowledged {
    fn is_there(&self, store: &SqliteStore, when: &str) {
        let accepted = done(store.ends(&self.accepted));
        assert!(accepted.iter().all(|end| *end != EndState::Gone), "{when}: {accepted:?}");
        let ended = done(store.ends(&self.ended));
        assert!(ended.iter().all(|end| matches!(end, EndState::Ended(_))), "{when}: {ended:?}");
    }
}

fn out_of_room(folder: &Path, room: &Room<'_>) {
    let path = folder.join("tasks.db");
    let store = block_on(SqliteStore::open(&path)).expect("it opens");
    let mut acknowledged = Acknowledged::default();
    done(store.enqueue((1..=60).map(task).collect()));
    acknowledged.accepted.extend((1..=60).map(id));
    let held = claim(&store, A, 1, 20);

    (room.take)();
    // Tasks are refused sooner or later, each with a reason.
    let mut refused = 0;
    for number in 100..200 {
        match block_on(store.enqueue_one(large(number, 50_000))) {
            Ok(_) => acknowledged.accepted.push(id(number)),
            Err(error) => {
                (room.refused)(&error);
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "there is room for {} tasks", 100 - refused);
    acknowledged.is_there(&store, "without room, one can look");

    // Ends and claims take room too, if little; whatever is said of them holds.
    let (mut ends, mut claims) = (0, 0);
    let (early, late) = held.split_at(15);
    for claimed in early {
        match block_on(store.settle(vec![settle(claimed, Verdict::Succeed)])) {
            Ok(replies) => {
                assert_eq!(replies, [Settled::Applied]);
                acknowledged.ended.push(claimed.fence.task);
                ends += 1;
            }
            Err(error) => (room.refused)(&error),
        }
    }
    let mut claimed = Vec::new();
    for token in 2..17 {
        match try_claim(&store, A, token, 1) {
            Ok(claim) => {
                claimed.extend(claim.tasks);
                claims += 1;
            }
            Err(error) => (room.refused)(&error),
        }
    }
    println!(
        "without room: {refused} of 100 tasks refused, {ends} of 15 ends and {claims} of 15 claims made"
    );
    acknowledged.is_there(&store, "still");

    (room.make)();
    // The same store goes on, and what was refused can be asked for again.
    done(store.enqueue_one(large(300, 50_000)));
    acknowledged.accepted.push(id(300));
    let ends: Vec<_> =
        early.iter().chain(late).map(|claimed| settle(claimed, Verdict::Succeed)).collect();
    let replies = done(store.settle(ends));
    let again = replies.iter().filter(|reply| **reply == Settled::Already).count();
    assert!(replies.iter().all(|reply| *reply != Settled::Fenced), "{replies:?}");
    assert_eq!(again, acknowledged.ended.len(), "what was refused did not happen");
    acknowledged.ended.extend(held.iter().map(|claimed| claimed.fence.task));
    let (claimed_before, rest) = (claimed.len(), claim(&store, A, 100, 1_000));
    let all = acknowledged.accepted.len();
    assert_eq!(20 + claimed_before + rest.len(), all, "each task is held or ended, once");
    acknowledged.is_there(&store, "with room");
    drop(store);
    let store = block_on(SqliteStore::open(&path)).expect("it opens again");
    acknowledged.is_there(&store, "opened again");
    let counts = done(store.counters()).total();
    assert_eq!(counts.enqueued, all as u64);
    assert_eq!((counts.processed, counts.active), (20, all as u64 - 20));
}

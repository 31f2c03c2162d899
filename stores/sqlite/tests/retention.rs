//! Ends are kept by how they ended: whoever looks into a failure comes later.
#![allow(missing_docs, reason = "a test's name says what it is for")]

mod scene;

use std::sync::Arc;
use std::time::Duration;

use conveyor_core::store::{CancelReply, EndState, RescueRequest, Verdict};
use conveyor_core::{End, Incarnation, Store};
use conveyor_sqlite::SqliteOptions;
use conveyor_testkit::store_suite::ManualClock;
use futures::executor::block_on;
use scene::{LEASE, claim, done, id, settle, task};

const HOUR: Duration = Duration::from_secs(3_600);
const ME: Incarnation = Incarnation::new(1);
const OTHER: Incarnation = Incarnation::new(2);

/// Which of the tasks are known still, and how they ended.
fn known(store: &dyn Store) -> Vec<End> {
    let ends = done(store.ends(&[id(1), id(2), id(3), id(4)]));
    let end = |state| match state {
        EndState::Ended(end) => Some(end),
        _ => None,
    };
    ends.into_iter().filter_map(end).collect()
}

#[test]
fn each_sort_of_end_is_kept_for_its_own_time() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let clock = Arc::new(ManualClock::new());
    let options = SqliteOptions::new(folder.path().join("tasks.db")).clock(clock.clone());
    let options = options.keep_succeeded(HOUR).keep_failed(HOUR * 4).keep_cancelled(HOUR * 2);
    let store = block_on(options.keep_crashed(HOUR * 3).open()).expect("the file can be opened");
    let rescue = || {
        let request = RescueRequest { by: OTHER, lease: LEASE, crash_budget: 1, limit: 10 };
        done(store.rescue(request)).rescued.len()
    };
    // Watched for long enough that the dead are noticed, a task is claimed by one who dies.
    (0..4).for_each(|_| {
        rescue();
        clock.advance(LEASE / 2);
    });
    done(store.enqueue(vec![task(4)]));
    assert_eq!(claim(&store, ME, 1, 1).len(), 1);
    let rescued: usize = (0..4)
        .map(|_| {
            clock.advance(LEASE / 2);
            rescue()
        })
        .sum();
    assert_eq!(rescued, 1);
    // The failure first, so that what is kept for longest is the oldest.
    let fail = Verdict::Fail { error: "no hope".into() };
    for (number, verdict) in [(2, fail), (1, Verdict::Succeed)] {
        done(store.enqueue(vec![task(number)]));
        let claimed = claim(&store, ME, 10 + number as u64, 1).remove(0);
        done(store.settle(vec![settle(&claimed, verdict)]));
    }
    done(store.enqueue(vec![task(3)]));
    assert_eq!(done(store.cancel(&[id(3)])), [CancelReply::Cancelled]);

    let mut left = known(&store);
    let [succeeded, failed, cancelled, crashed] = &left.clone()[..] else { panic!("{left:?}") };
    assert_eq!((succeeded, crashed), (&End::Succeeded, &End::Crashed));
    for goes in [succeeded, cancelled, crashed, failed] {
        clock.advance(HOUR - LEASE * 3);
        assert_eq!(done(store.prune(10)), 0, "before {goes:?}");
        clock.advance(LEASE * 3 + Duration::from_secs(1));
        assert_eq!(done(store.prune(10)), 1, "{goes:?}");
        left.retain(|end| end != goes);
        assert_eq!(known(&store), left);
    }
}

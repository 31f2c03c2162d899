//! The suite itself: nothing is left out, and nothing can be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::Durability;
use conveyor_core::worker::panic_text;
use conveyor_core::{MemoryStore, Store};

use super::list::NAMES;
use super::{Case, ManualClock, StoreHarness, StoreOptions, Suite, check_list, run};

struct Listing {
    clock: Arc<ManualClock>,
    cannot: &'static [(&'static str, &'static str)],
    patience: Duration,
}

impl StoreHarness for Listing {
    fn open(&self, _: StoreOptions) -> Option<Arc<dyn Store>> {
        Some(Arc::new(MemoryStore::new(self.clock.clone())))
    }

    fn block_on(&self, _: BoxFuture<'_, ()>) {}

    fn tick(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn cannot(&self) -> &[(&str, &str)] {
        self.cannot
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

fn harness(cannot: &'static [(&'static str, &'static str)]) -> Listing {
    Listing { clock: Arc::default(), cannot, patience: Duration::from_secs(60) }
}

/// What it says when it fails.
fn failure(act: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(act)).err().map(|panic| panic_text(&*panic).to_owned())
}

fn outcome(cannot: &'static [(&'static str, &'static str)], case: Case) -> Option<String> {
    failure(|| run(Arc::new(harness(cannot)), "enqueue::a_batch_may_be_large", case))
}

fn holds(suite: &Suite) {
    suite.open();
}

fn does_not_hold(_: &Suite) {
    panic!("two tasks for one key");
}

const LISTED: &[(&str, &str)] = &[("enqueue::a_batch_may_be_large", "it has no room")];

#[test]
fn a_case_fails_or_passes_as_it_says() {
    assert_eq!(outcome(&[], holds), None);
    assert_eq!(outcome(&[], does_not_hold).as_deref(), Some("two tasks for one key"));
}

#[test]
fn what_a_store_cannot_do_must_fail() {
    assert_eq!(outcome(LISTED, does_not_hold), None);
    let said = outcome(LISTED, holds).expect("it can");
    assert!(said.contains("a_batch_may_be_large") && said.contains("it has no room"), "{said}");
}

#[test]
fn a_case_that_hangs_fails() {
    let hangs: Case = |_| {
        loop {
            std::thread::park();
        }
    };
    let harness = Arc::new(Listing { patience: Duration::from_millis(1), ..harness(&[]) });
    let said = failure(|| run(harness, "enqueue::a_batch_may_be_large", hangs));
    assert!(said.expect("it does not pass").contains("it hangs"));
}

#[test]
fn a_list_with_a_mistake_is_refused() {
    let refusal = |cannot| failure(|| check_list(&harness(cannot)));
    assert_eq!(refusal(LISTED), None);
    let unknown = refusal(&[("enqueue::a_batch_may_be_lare", "it has no room")]);
    assert!(unknown.expect("it is unknown").contains("no case's name"));
    let silent = refusal(&[("enqueue::a_batch_may_be_large", " ")]);
    assert!(silent.expect("it says nothing").contains("nobody says why"));
    const TWICE: &[(&str, &str)] = &[LISTED[0], LISTED[0]];
    let twice = refusal(TWICE);
    assert!(twice.expect("it is there twice").contains("twice"));
}

#[test]
fn every_case_is_listed() {
    let sources = [
        ("attempts", include_str!("cases/attempts.rs")),
        ("budgets", include_str!("cases/budgets.rs")),
        ("cancel", include_str!("cases/cancel.rs")),
        ("claim", include_str!("cases/claim.rs")),
        ("counters", include_str!("cases/counters.rs")),
        ("crowd", include_str!("cases/crowd.rs")),
        ("delay", include_str!("cases/delay.rs")),
        ("dropped", include_str!("cases/dropped.rs")),
        ("durability", include_str!("cases/durability.rs")),
        ("ends", include_str!("cases/ends.rs")),
        ("enqueue", include_str!("cases/enqueue.rs")),
        ("extremes", include_str!("cases/extremes.rs")),
        ("fence", include_str!("cases/fence.rs")),
        ("inspect", include_str!("cases/inspect.rs")),
        ("key", include_str!("cases/key.rs")),
        ("model", include_str!("model/mod.rs")),
        ("order", include_str!("cases/order.rs")),
        ("pause", include_str!("cases/pause.rs")),
        ("payload", include_str!("cases/payload.rs")),
        ("renew", include_str!("cases/renew.rs")),
        ("rescue", include_str!("cases/rescue.rs")),
        ("schedule", include_str!("cases/schedule.rs")),
        ("settle", include_str!("cases/settle.rs")),
        ("transaction", include_str!("cases/transaction.rs")),
        ("wake", include_str!("cases/wake.rs")),
    ];
    let mut written = Vec::new();
    for (group, source) in sources {
        for line in source.lines() {
            if let Some((name, _)) =
                line.strip_prefix("pub fn ").and_then(|rest| rest.split_once('('))
            {
                written.push(format!("{group}::{name}"));
            }
        }
    }
    written.sort();
    let mut listed = NAMES.to_vec();
    listed.sort_unstable();
    assert_eq!(written, listed);
    let modules = include_str!("cases/mod.rs").lines().filter(|line| line.starts_with("pub "));
    assert_eq!(modules.count(), sources.len(), "a module is missing in this test");
}

//! [`catch`]: the suite is seen to catch bugs that are planted in a store.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Arc;

use conveyor_core::plant::{Plant, plant};

use super::harness::StoreHarness;
use super::list::CASES;
use super::run::{Case, run};

/// The bugs that can be planted in every store, and how the names begin of cases that are about them.
const PLANTS: &[(Plant, &str)] = &[
    (Plant::SettleWithoutFence, "fence::a_settle"),
    (Plant::RenewWithoutFence, "fence::a_renewal"),
    (Plant::KeyFreedEarly, "key::a_key_is_held"),
    (Plant::TickTwice, "schedule::an_instant"),
    (Plant::CrashNotCharged, "rescue::a_task_that_dies"),
    (Plant::FencedCounted, "fence::a_settle"),
    (Plant::ClaimForgotten, "claim::a_request"),
    (Plant::RescueKeepsFence, "fence::a_settle_after_a_rescue"),
    (Plant::IdTwice, "enqueue::"),
    (Plant::EndedBegunAnew, "enqueue::"),
];

/// Plants one bug after the other in the stores of that harness, each until a case fails; the same
/// case must pass when nothing is planted.
///
/// # Panics
/// If a bug is not caught, or a case fails without one.
pub fn catch(make: fn() -> Arc<dyn StoreHarness>) {
    let mut missed = Vec::new();
    for &(bug, about) in PLANTS {
        let mut cases = CASES.iter().filter(|(name, _)| name.starts_with(about));
        match cases.find(|&&(name, case)| fails_with(bug, make, name, case)) {
            Some(&(name, case)) => {
                println!("{bug}: caught by {name}");
                run(make(), name, case);
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(
        missed.is_empty(),
        "no case shows {}: one is missing, or what plants the bug plants nothing",
        missed.join(", ")
    );
}

/// Whether a case fails while the bug is planted; what it says then is of no interest.
fn fails_with(
    bug: Plant,
    make: fn() -> Arc<dyn StoreHarness>,
    name: &'static str,
    case: Case,
) -> bool {
    plant(Some(bug));
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let failed = catch_unwind(AssertUnwindSafe(|| run(make(), name, case))).is_err();
    set_hook(hook);
    plant(None);
    failed
}

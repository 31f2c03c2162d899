//! The model: any sequence of calls from three processes while time passes, held against a
//! reference that walks over rows. The same replies, the same tasks, the
//! same counters; a sequence that shows a difference is made as short as it can be.
//!
//! The reference is strict where the contract is, and lets the store choose where it does not say:
//! which turns are the ageing share's, in which order the dead are found, when ends beyond the
//! retention are forgotten, whether a due task is shown as scheduled until it is promoted.

mod claim;
mod reference;
mod rescue;
mod run;
mod schedule;
mod settle;
mod step;

use self::step::Step;
use super::harness::StoreOptions;
use super::run::Suite;
use crate::{Random, for_seeds};

/// The most calls in a sequence.
const LONGEST: usize = 120;

/// How often a failing sequence is tried again with calls left out.
const ATTEMPTS: usize = 400;

pub fn any_calls_are_answered_as_by_the_reference(suite: &Suite) {
    hold_against_reference(suite, None);
}

pub fn any_calls_are_answered_as_by_the_reference_in_a_bounded_store(suite: &Suite) {
    hold_against_reference(suite, Some(15));
}

fn hold_against_reference(suite: &Suite, capacity: Option<usize>) {
    let runs = suite.harness().model_runs();
    assert!(runs > 0, "a model that is not run shows nothing");
    let options = StoreOptions { capacity, retention: Some(run::retention(suite)) };
    for_seeds(0..runs.into(), |seed| {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(LONGEST);
        let steps: Vec<Step> = (0..steps).map(|_| Step::draw(&mut random)).collect();
        if let Err(why) = run::run(suite, options, &steps) {
            let (steps, why) = shrink(suite, options, steps, why);
            panic!("{why}\nafter these {} calls:\n{steps:#?}", steps.len());
        }
    });
}

/// Leaves out what a failure does not need: first calls, ever fewer at a time, then what a batch
/// has.
fn shrink(
    suite: &Suite,
    options: StoreOptions,
    mut steps: Vec<Step>,
    mut why: String,
) -> (Vec<Step>, String) {
    let mut attempts = 0;
    let mut fails = |fewer: &[Step]| {
        attempts += 1;
        if attempts > ATTEMPTS { None } else { run::run(suite, options, fewer).err() }
    };
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < steps.len() {
            let end = (at + part).min(steps.len());
            let fewer = [&steps[..at], &steps[end..]].concat();
            match fails(&fewer) {
                Some(reason) => (steps, why, shorter) = (fewer, reason, true),
                None => at = end,
            }
        }
        // A single call may be needless only now that others are gone.
        part = if part == 1 && shorter { 1 } else { part / 2 };
    }
    for at in 0..steps.len() {
        let mut element = 0;
        while let Some(smaller) = steps[at].without(element) {
            let mut fewer = steps.clone();
            fewer[at] = smaller;
            match fails(&fewer) {
                Some(reason) => (steps, why) = (fewer, reason),
                None => element += 1,
            }
        }
    }
    (steps, why)
}

//! What threads share in the core: the standard library's locks, atomics and counted pointers, or
//! loom's under its model checker. Pointers to what stores, engines and users hand over stay the
//! standard library's.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

/// Runs a model in every interleaving with up to three preemptions; `LOOM_MAX_PREEMPTIONS` says
/// otherwise.
#[cfg(all(loom, test))]
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    check_within(3, model);
}

/// As [`check`], with another bound.
#[cfg(all(loom, test))]
pub(crate) fn check_within(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

//! What every store promises, one named test a promise, held against the store in memory.
//!
//! The tests know a store only as a `dyn Store` with a clock that they move by hand; [`setup`] is
//! the one place that says which store it is. Times are the store's: nothing here sleeps.

mod ageing;
mod cancel;
mod claim;
mod drops;
mod ends;
mod enqueue;
mod inspect;
mod key;
mod model;
mod reference;
mod renew;
mod rescue;
mod schedule;
mod settle;
mod setup;
mod wake;

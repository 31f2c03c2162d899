//! What the store in memory does beyond what every store promises: which turns are the ageing
//! share's, what is told and how often, when payloads are dropped, and every choice that the
//! contract leaves, held against a reference.
//!
//! The promises themselves are in the suite for stores, which it passes in
//! `conveyor-testkit/tests/store_suite.rs`. Times are the store's: nothing here sleeps.

mod ageing;
mod drops;
mod model;
mod reference;
mod setup;
mod wake;

//! What must hold of text and bytes that come from outside, whatever they are: never a panic, never
//! a hang, and what is read means the same when it is written and read again.
//!
//! Each check takes an input and panics if something does not hold. The property tests of this
//! crate and the fuzz targets of `fuzz/` call the same ones, so that what a fuzzer finds in a
//! night is a test on stable the next morning.
#![forbid(unsafe_code)]

mod checks;

pub use checks::attribute::attribute;
pub use checks::cron::cron;
pub use checks::duration::duration;
pub use checks::name::name;
pub use checks::payload::{envelope, payload};

// A crate of macros lets nobody call its functions, so its modules are built here once more.
#[path = "../../../conveyor-macros/src/attribute.rs"]
mod attribute;
#[path = "../../../conveyor-macros/src/block.rs"]
mod block;
#[path = "../../../conveyor-macros/src/derive.rs"]
mod derive;
#[path = "../../../conveyor-macros/src/duration.rs"]
mod duration;
#[path = "../../../conveyor-macros/src/errors.rs"]
mod errors;
#[path = "../../../conveyor-macros/src/expand/mod.rs"]
mod expand;
#[path = "../../../conveyor-macros/src/fallback.rs"]
mod fallback;
#[path = "../../../conveyor-macros/src/function.rs"]
mod function;
#[path = "../../../conveyor-macros/src/handler.rs"]
mod handler;
#[path = "../../../conveyor-macros/src/impl_block.rs"]
mod impl_block;
#[path = "../../../conveyor-macros/src/keys.rs"]
mod keys;
#[path = "../../../conveyor-macros/src/parameters.rs"]
mod parameters;
#[path = "../../../conveyor-macros/src/schedule.rs"]
mod schedule;
#[path = "../../../conveyor-macros/src/target.rs"]
mod target;

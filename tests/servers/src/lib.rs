//! What tests of stores need beside the store: private servers, and the wire between.
//!
//! [`Postgres`] is a server in a folder of its own, as a direct child of the test, to be killed and
//! started again. [`Pooler`] stands before one and gives out its connections; [`Proxy`] is a wire
//! that a test can delay, cut, or make forget replies. Nothing in here knows of tasks.

#![forbid(unsafe_code)]

mod pooler;
mod postgres;
mod process;
mod proxy;

pub use pooler::Pooler;
pub use postgres::{Options, Postgres};
pub use process::{Signal, dies_with_us, is_root, signal};
pub use proxy::{Fault, Proxy};

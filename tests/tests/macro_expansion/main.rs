//! What `#[worker]` and `#[derive(Task)]` write does what their documentation says, shown on core
//! alone: no engine runs here.
#![allow(unreachable_pub, reason = "shows what public workers and their docs become")]
#![deny(missing_docs, unused, clippy::all, clippy::pedantic)]

mod attributes;
mod engine;
mod functions;
mod hygiene;
mod impl_blocks;
mod task_types;

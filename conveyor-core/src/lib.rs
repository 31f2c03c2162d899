//! The contracts and data structures of Conveyor.
#![forbid(unsafe_code)]

pub mod time;

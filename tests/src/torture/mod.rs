//! Torture: real processes on one store, which are killed, stopped and replaced, and their history.
//!
//! A driver (`driver.rs`) starts workers (`worker.rs`), which run tasks of many kinds (`kinds.rs`) and
//! enqueue more (`load.rs`), on a file or a server that is killed too (`ground.rs`). Whatever a process does is a line (`line.rs`) that it writes at once to a
//! pipe of the driver's (`recorder.rs`, `recorded.rs`), so that a kill loses nothing that happened. When
//! all is at rest the history is held against what Conveyor promises (`checker`).

pub mod checker;
mod children;
pub mod driver;
pub mod ground;
mod kinds;
mod line;
mod load;
pub mod open;
mod recorded;
mod recorder;
pub mod report;
pub mod worker;

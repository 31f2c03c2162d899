//! What the macros' output names. No part of the public API: it may change at any time.

pub use conveyor_core;

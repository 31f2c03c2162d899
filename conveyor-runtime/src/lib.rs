//! conveyor-runtime

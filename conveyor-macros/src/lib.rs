//! conveyor-macros

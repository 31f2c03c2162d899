//! conveyor-testkit

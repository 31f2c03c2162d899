//! What the benchmarks share: runs in turn, and medians.

use std::time::Duration;

/// The median of some measurements.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "a median of nothing");
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Tasks a second.
#[must_use]
pub fn rate(tasks: u64, took: Duration) -> f64 {
    tasks as f64 / took.as_secs_f64()
}

/// A rate, for people: `2.31 M/s`.
#[must_use]
pub fn per_second(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.2} M/s", rate / 1e6) } else { format!("{:.0} k/s", rate / 1e3) }
}

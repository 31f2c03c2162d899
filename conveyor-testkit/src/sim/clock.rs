//! The virtual clock: it moves only when the executor, or a test, moves it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use conveyor_core::time::{Instant, Timestamp};

/// 2026-01-01T00:00:00Z.
pub(crate) const DEFAULT_WALL: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Monotonic time from zero, and a wall clock that goes with it but can be made to jump.
pub(crate) struct VirtualClock {
    nanos: AtomicU64,
    /// What the wall clock said, or would have said, at the monotonic zero; in microseconds.
    wall_origin: AtomicI64,
}

impl VirtualClock {
    pub(crate) const fn new(wall: Timestamp) -> Self {
        VirtualClock { nanos: AtomicU64::new(0), wall_origin: AtomicI64::new(wall.as_micros()) }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn wall(&self) -> Timestamp {
        let origin = Timestamp::from_micros(self.wall_origin.load(Ordering::Relaxed));
        origin + self.elapsed()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now().saturating_since(Instant::from_nanos(0))
    }

    /// Moves on to `now`; never back.
    pub(crate) fn advance_to(&self, now: Instant) {
        self.nanos.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    /// Sets the wall clock; the monotonic clock and every timer stay as they are.
    pub(crate) fn set_wall(&self, wall: Timestamp) {
        let origin = wall - self.elapsed();
        self.wall_origin.store(origin.as_micros(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_wall_clock_moves_with_the_monotonic_one_and_jumps_alone() {
        let clock = VirtualClock::new(DEFAULT_WALL);
        assert_eq!(clock.wall().to_string(), "2026-01-01T00:00:00Z");
        clock.advance_to(Instant::from_nanos(0) + SECOND);
        assert_eq!(clock.wall(), DEFAULT_WALL + SECOND);
        clock.set_wall(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Instant::from_nanos(1_000_000_000));
        clock.advance_to(clock.now() + SECOND);
        assert_eq!(clock.wall(), Timestamp::UNIX_EPOCH + SECOND);
    }

    #[test]
    fn monotonic_time_never_goes_back() {
        let clock = VirtualClock::new(DEFAULT_WALL);
        clock.advance_to(Instant::from_nanos(7));
        clock.advance_to(Instant::from_nanos(3));
        assert_eq!(clock.now(), Instant::from_nanos(7));
    }
}

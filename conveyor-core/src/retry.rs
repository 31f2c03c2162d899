//! When a failed attempt is tried again: a pure function of the policy and a random number.
//!
//! Everything here can be built in a `const`, because `#[worker]` puts policies in statics.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How often, and how soon, a task whose attempt failed is tried again.
///
/// The defaults are three retries, [`Backoff::DEFAULT`], and panics retried like errors.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first; 0 means that the first failure is the end.
    pub retries: u32,
    /// How long to wait before each of them.
    pub backoff: Backoff,
    /// Whether a panic is retried as an error is; if not, the first panic is the end.
    pub on_panic: bool,
}

impl RetryPolicy {
    /// The default policy: three retries, exponential backoff from 1 s to 10 min, panics too.
    #[must_use]
    pub const fn new() -> Self {
        RetryPolicy { retries: 3, backoff: Backoff::DEFAULT, on_panic: true }
    }

    /// What follows an attempt that ended in an error.
    ///
    /// `failures` counts the task's failed attempts with this one (0 is read as 1).
    /// `requested` is the delay that the error itself asked for: it replaces the backoff as it
    /// is, without jitter or cap, but buys no further attempt. `random` is any uniform number.
    #[must_use]
    pub fn after_error(&self, failures: u32, requested: Option<Duration>, random: u64) -> Decision {
        if failures.max(1) > self.retries {
            return Decision::GiveUp;
        }
        Decision::Retry(requested.unwrap_or_else(|| self.backoff.delay(failures, random)))
    }

    /// What follows an attempt that panicked: as after an error if `on_panic`, else the end.
    #[must_use]
    pub fn after_panic(&self, failures: u32, random: u64) -> Decision {
        if self.on_panic { self.after_error(failures, None, random) } else { Decision::GiveUp }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again once this much time has passed.
    Retry(Duration),
    /// The retries are used up: the task ends as failed.
    GiveUp,
}

/// How long to wait before a retry.
///
/// ```
/// use conveyor_core::retry::{Backoff, Jitter};
/// use std::time::Duration;
///
/// static POLITE: Backoff =
///     Backoff::exponential(Duration::from_secs(2), Duration::from_secs(60)).jitter(Jitter::Equal);
/// assert_eq!(POLITE.band(3), Duration::from_secs(4)..=Duration::from_secs(8));
/// ```
#[derive(Clone)]
pub struct Backoff {
    shape: Shape,
    jitter: Jitter,
}

#[derive(Clone)]
enum Shape {
    None,
    Fixed(Duration),
    Exponential { base: Duration, cap: Duration, factor: u32 },
    Function(fn(u32) -> Duration),
    Closure(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

/// Which part of a delay is left to chance, so that tasks that failed together do not return
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Jitter {
    /// None of it: always the whole delay.
    None,
    /// All of it: uniform from zero to the delay, both included.
    ///
    /// This spreads a herd best, and its mean is half the delay. A retry at once is possible
    /// and harmless, since retries are counted; where a least delay matters, use
    /// [`Jitter::Equal`].
    #[default]
    Full,
    /// Half of it: uniform from half the delay to the delay, both included.
    Equal,
}

impl Backoff {
    /// Exponential from 1 s to 10 min with full jitter.
    pub const DEFAULT: Backoff =
        Backoff::exponential(Duration::from_secs(1), Duration::from_secs(600));

    /// No delay: each retry is due at once.
    #[must_use]
    pub const fn none() -> Self {
        Backoff { shape: Shape::None, jitter: Jitter::None }
    }

    /// The same delay before each retry, without jitter.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Backoff { shape: Shape::Fixed(delay), jitter: Jitter::None }
    }

    /// `base` before the first retry, twice as long before each one after it, never more than
    /// `cap`; with full jitter.
    ///
    /// A `base` above the `cap` means the cap each time.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Backoff { shape: Shape::Exponential { base, cap, factor: 2 }, jitter: Jitter::Full }
    }

    /// The delay that `delay_after` gives for the number of failures so far (1 for the first),
    /// without jitter.
    #[must_use]
    pub const fn custom(delay_after: fn(u32) -> Duration) -> Self {
        Backoff { shape: Shape::Function(delay_after), jitter: Jitter::None }
    }

    /// [`custom`](Self::custom) for a closure, which can't be put in a `const`.
    ///
    /// Two of these are equal only if one is a clone of the other.
    #[must_use]
    pub fn custom_with(delay_after: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Backoff { shape: Shape::Closure(Arc::new(delay_after)), jitter: Jitter::None }
    }

    /// The same delays with this jitter.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The factor between one exponential delay and the next, instead of 2; 0 is read as 1.
    ///
    /// Whole numbers, so that delays are exact on every machine. It changes nothing in a
    /// backoff of another kind.
    #[must_use]
    pub const fn factor(mut self, by: u32) -> Self {
        if let Shape::Exponential { factor, .. } = &mut self.shape {
            *factor = if by == 0 { 1 } else { by };
        }
        self
    }

    /// The delay after that many failures (1 for the first; 0 is read as 1).
    ///
    /// It lies in [`band`](Self::band) for every `random`, uniformly if `random` is.
    ///
    /// # Panics
    ///
    /// Only if a custom function does.
    #[must_use]
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let (least, most) = self.limits(failures);
        let width = most.as_nanos() - least.as_nanos() + 1;
        from_nanos(least.as_nanos() + scale(random, width))
    }

    /// The shortest and the longest delay after that many failures (1 for the first).
    ///
    /// # Panics
    ///
    /// Only if a custom function does.
    #[must_use]
    pub fn band(&self, failures: u32) -> RangeInclusive<Duration> {
        let (least, most) = self.limits(failures);
        least..=most
    }

    fn limits(&self, failures: u32) -> (Duration, Duration) {
        let whole = self.without_jitter(failures.max(1));
        let least = match self.jitter {
            Jitter::None => whole,
            Jitter::Full => Duration::ZERO,
            Jitter::Equal => whole / 2,
        };
        (least, whole)
    }

    fn without_jitter(&self, failures: u32) -> Duration {
        match &self.shape {
            Shape::None => Duration::ZERO,
            Shape::Fixed(delay) => *delay,
            Shape::Exponential { base, cap, factor } => {
                let times = u128::from(*factor).saturating_pow(failures - 1);
                from_nanos(base.as_nanos().saturating_mul(times).min(cap.as_nanos()))
            }
            Shape::Function(delay_after) => delay_after(failures),
            Shape::Closure(delay_after) => delay_after(failures),
        }
    }
}

/// `random / 2⁶⁴ × width` rounded down, so below `width`; exact for any width that two
/// durations can span (94 bits), which is why the product is taken in two halves.
fn scale(random: u64, width: u128) -> u128 {
    let random = u128::from(random);
    let (high, low) = (width >> 64, width & u128::from(u64::MAX));
    random * high + ((random * low) >> 64)
}

fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % SECOND).expect("invariant: a remainder of 10⁹ fits 32 bits");
    Duration::new(seconds, rest)
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl PartialEq for Backoff {
    fn eq(&self, other: &Self) -> bool {
        self.jitter == other.jitter
            && match (&self.shape, &other.shape) {
                (Shape::None, Shape::None) => true,
                (Shape::Fixed(a), Shape::Fixed(b)) => a == b,
                (
                    Shape::Exponential { base, cap, factor },
                    Shape::Exponential { base: b, cap: c, factor: f },
                ) => (base, cap, factor) == (b, c, f),
                (Shape::Function(a), Shape::Function(b)) => std::ptr::fn_addr_eq(*a, *b),
                (Shape::Closure(a), Shape::Closure(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::None => f.write_str("None")?,
            Shape::Fixed(delay) => write!(f, "Fixed({delay:?})")?,
            Shape::Exponential { base, cap, factor } => {
                write!(f, "Exponential({base:?}..{cap:?}, ×{factor})")?;
            }
            Shape::Function(_) | Shape::Closure(_) => f.write_str("Custom")?,
        }
        write!(f, " with jitter {:?}", self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static IN_A_STATIC: RetryPolicy = RetryPolicy {
        retries: 5,
        backoff: Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30)).factor(3),
        on_panic: false,
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn exponential_doubles_up_to_its_cap() {
        let backoff = Backoff::DEFAULT.jitter(Jitter::None);
        let delays: Vec<_> = (1..=12).map(|n| backoff.delay(n, 7).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(IN_A_STATIC.backoff.band(3), Duration::ZERO..=seconds(9));
        assert_eq!(IN_A_STATIC.backoff.band(5), Duration::ZERO..=seconds(30));
    }

    #[test]
    fn the_band_is_reached_at_both_ends() {
        for (jitter, least) in
            [(Jitter::None, 8), (Jitter::Full, 0), (Jitter::Equal, 4)].map(|(j, s)| (j, seconds(s)))
        {
            let backoff = Backoff::exponential(seconds(8), seconds(8)).jitter(jitter);
            assert_eq!(backoff.delay(1, 0), least, "{jitter:?}");
            assert_eq!(backoff.delay(1, u64::MAX), seconds(8), "{jitter:?}");
        }
    }

    #[test]
    fn the_longest_durations_are_spread_as_well() {
        let backoff = Backoff::fixed(Duration::MAX).jitter(Jitter::Full);
        assert!(backoff.delay(1, u64::MAX) > Duration::MAX / 16 * 15);
        assert!(backoff.delay(1, u64::MAX / 2).abs_diff(Duration::MAX / 2) < Duration::MAX / 16);
    }

    #[test]
    fn a_factor_below_two_means_no_growth() {
        for factor in [0, 1] {
            let backoff = Backoff::exponential(seconds(3), seconds(9)).factor(factor);
            assert_eq!(*backoff.band(u32::MAX).end(), seconds(3));
        }
    }

    #[test]
    fn full_jitter_is_uniform() {
        // 2⁶⁴ × golden ratio steps spread evenly, so each quarter gets its share almost exactly.
        let backoff = Backoff::DEFAULT;
        let mut quarters = [0_u32; 4];
        let mut random = 0_u64;
        for _ in 0..4_000 {
            random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let share = backoff.delay(1, random).as_nanos() * 4 / 1_000_000_001;
            quarters[usize::try_from(share).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|n| (990..=1_010).contains(n)), "{quarters:?}");
    }

    #[test]
    fn fixed_none_and_custom_say_what_they_were_told() {
        assert_eq!(Backoff::none().delay(9, 9), Duration::ZERO);
        assert_eq!(Backoff::fixed(seconds(7)).delay(9, 9), seconds(7));
        let linear = Backoff::custom(|failures| Duration::from_secs(failures.into()));
        assert_eq!(linear.delay(0, 0), seconds(1));
        assert_eq!(linear.delay(4, 0), seconds(4));
        let step = 10;
        let closure =
            Backoff::custom_with(move |failures| Duration::from_secs(u64::from(failures) * step));
        assert_eq!(closure.delay(2, 0), seconds(20));
        assert_eq!(closure, closure.clone());
        assert_ne!(closure, linear);
    }

    #[test]
    fn equal_are_backoffs_that_say_the_same() {
        let all = [
            Backoff::none(),
            Backoff::fixed(seconds(1)),
            Backoff::fixed(seconds(2)),
            Backoff::exponential(seconds(1), seconds(30)),
            Backoff::exponential(seconds(2), seconds(30)),
            Backoff::exponential(seconds(1), seconds(60)),
            Backoff::exponential(seconds(1), seconds(30)).factor(3),
            Backoff::exponential(seconds(1), seconds(30)).jitter(Jitter::None),
            Backoff::custom(|failures| Duration::from_secs(failures.into())),
            Backoff::custom(|failures| Duration::from_millis(failures.into())),
            Backoff::custom_with(|_| Duration::ZERO),
            Backoff::custom_with(|_| Duration::ZERO),
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(*one == *other, at == other_at, "{one:?} and {other:?}");
            }
            assert_eq!(*one, one.clone());
        }
    }

    #[test]
    fn three_retries_are_four_attempts() {
        let policy = RetryPolicy::default();
        let retried = (1..).take_while(|&n| policy.after_error(n, None, 1) != Decision::GiveUp);
        assert_eq!(retried.count(), 3);
        let never = RetryPolicy { retries: 0, ..RetryPolicy::new() };
        assert_eq!(never.after_error(1, Some(seconds(1)), 0), Decision::GiveUp);
        assert_eq!(never.after_error(0, None, 0), Decision::GiveUp);
    }

    #[test]
    fn a_requested_delay_replaces_the_backoff() {
        let policy = RetryPolicy::new();
        let day = seconds(86_400);
        assert_eq!(policy.after_error(1, Some(day), 0), Decision::Retry(day));
        assert_eq!(policy.after_error(4, Some(day), 0), Decision::GiveUp);
    }

    #[test]
    fn panics_are_retried_only_if_asked() {
        assert!(matches!(RetryPolicy::new().after_panic(1, 0), Decision::Retry(_)));
        assert_eq!(RetryPolicy::new().after_panic(4, 0), Decision::GiveUp);
        assert_eq!(IN_A_STATIC.after_panic(1, 0), Decision::GiveUp);
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            any::<u64>().prop_map(Duration::from_nanos),
            (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        ]
    }

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)];
        let shape = prop_oneof![
            Just(Backoff::none()),
            any_duration().prop_map(Backoff::fixed),
            any_duration().prop_map(|d| Backoff::custom_with(move |_| d)),
            (any_duration(), any_duration(), any::<u32>())
                .prop_map(|(base, cap, factor)| Backoff::exponential(base, cap).factor(factor)),
        ];
        (shape, jitter).prop_map(|(backoff, jitter)| backoff.jitter(jitter))
    }

    proptest! {
        #[test]
        fn a_delay_lies_in_its_band(
            backoff in any_backoff(), failures: u32, random: u64,
        ) {
            let band = backoff.band(failures);
            prop_assert!(band.start() <= band.end());
            prop_assert!(band.contains(&backoff.delay(failures, random)));
            prop_assert_eq!(backoff.delay(failures, 0), *band.start());
        }

        #[test]
        fn exponential_delays_never_shrink_nor_pass_the_cap(
            base in any_duration(), cap in any_duration(), factor: u32, failures in 1..u32::MAX,
        ) {
            let backoff = Backoff::exponential(base, cap).factor(factor).jitter(Jitter::None);
            let (this, next) = (backoff.delay(failures, 0), backoff.delay(failures + 1, 0));
            prop_assert!(base.min(cap) <= this && this <= next && next <= cap);
        }

        #[test]
        fn more_chance_never_means_less_delay(
            backoff in any_backoff(), failures: u32, a: u64, b: u64,
        ) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(backoff.delay(failures, low) <= backoff.delay(failures, high));
        }

        #[test]
        fn attempts_are_one_more_than_retries(retries: u32, failures: u32, random: u64) {
            let policy = RetryPolicy { retries, ..RetryPolicy::new() };
            let again = policy.after_error(failures, None, random) != Decision::GiveUp;
            prop_assert_eq!(again, failures.max(1) <= retries);
        }
    }
}

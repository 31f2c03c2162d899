//! Durations as text: a schedule's period, and what the keys of an attribute say.

use std::time::Duration;

use conveyor_core::Timestamp;
use conveyor_core::schedule::{Cadence, Interval};
use proc_macro2::Literal;
use syn::LitStr;

use super::attribute::{forget_places, points};
use crate::duration::{Backoff, parse, parse_positive};

/// A duration, or a backoff such as `1s..10m`.
///
/// # Panics
/// If something does not hold.
pub fn duration(text: &str) {
    let period = text.parse::<Interval>().ok();
    if let Some(interval) = period {
        check_interval(interval);
    }
    // As it stands in an attribute, with the quotes and escapes of a literal.
    let literal: LitStr = syn::parse_str(&Literal::string(text).to_string()).expect("a literal");
    assert_eq!(literal.value(), text);
    let length = read(parse(&literal));
    if let (Some(period), Some(length)) = (period, length) {
        assert_eq!(period.period(), length, "{text:?} means one length to a store and to a macro");
    }
    let positive = read(parse_positive(&literal, "timeout"));
    assert_eq!(positive, length.filter(|length| !length.is_zero()), "{text:?}");
    match read(Backoff::parse(&literal)) {
        Some(Backoff::None) => assert!(text.trim() == "none" || length == Some(Duration::ZERO)),
        Some(Backoff::Fixed(delay)) => assert_eq!(Some(delay), positive, "{text:?}"),
        Some(Backoff::Exponential(base, cap)) => {
            assert!(!base.is_zero() && base <= cap, "{text:?}");
        }
        Some(Backoff::Custom(_)) => unreachable!("text is no function"),
        None => assert!(length.is_none(), "what lasts that long can be waited for: {text:?}"),
    }
    forget_places();
}

/// What was read, if anything; a refusal says where.
fn read<T>(value: syn::Result<T>) -> Option<T> {
    value.map_err(|error| assert!(points(error.span()), "it points at nothing: {error}")).ok()
}

fn check_interval(interval: Interval) {
    let written = interval.to_string();
    assert_eq!(written.parse(), Ok(interval), "{written:?}");
    let cadence = Cadence::Interval(interval);
    assert_eq!(cadence.to_string().parse(), Ok(cadence.clone()), "{written:?}");
    assert!(interval.period() >= Interval::SHORTEST, "{written:?}");
    let anchor = Timestamp::UNIX_EPOCH;
    if let Some(next) = cadence.next_after(anchor, anchor) {
        assert_eq!(next, anchor + interval.period(), "{written:?}");
        assert_eq!(cadence.last_until(anchor, next), Some(next), "{written:?}");
    }
}

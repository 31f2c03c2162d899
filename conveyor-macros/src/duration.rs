//! Durations and backoffs, written as text.

use std::time::Duration;

use syn::{Expr, LitStr};

/// A duration such as `500ms`, `30s` or `1m 30s`.
///
/// # Errors
/// At the literal, if it is none.
pub(crate) fn parse(literal: &LitStr) -> syn::Result<Duration> {
    read(literal, &literal.value())
}

/// As [`parse`], and not zero.
///
/// # Errors
/// At the literal.
pub(crate) fn parse_positive(literal: &LitStr, key: &str) -> syn::Result<Duration> {
    let duration = parse(literal)?;
    if duration.is_zero() {
        let message = format!("`{key}` cannot be zero; leave it out for none, or give it a length");
        return Err(syn::Error::new(literal.span(), message));
    }
    Ok(duration)
}

fn read(literal: &LitStr, text: &str) -> syn::Result<Duration> {
    humantime::parse_duration(text.trim()).map_err(|error| {
        let message = format!(
            "`{text}` is not a duration ({error}); write numbers with their units, as in `500ms`, \
             `30s`, `1m 30s` or `2h`"
        );
        syn::Error::new(literal.span(), message)
    })
}

/// How long to wait before a retry.
pub(crate) enum Backoff {
    /// `"none"`
    None,
    /// `"5s"`
    Fixed(Duration),
    /// `"1s..10m"`
    Exponential(Duration, Duration),
    /// Something that is a `fn(u32) -> Duration`.
    Custom(Expr),
}

impl Backoff {
    /// A backoff as text.
    ///
    /// # Errors
    /// At the literal, if it is none.
    pub(crate) fn parse(literal: &LitStr) -> syn::Result<Self> {
        let text = literal.value();
        if text.trim() == "none" {
            return Ok(Backoff::None);
        }
        let Some((base, cap)) = text.split_once("..") else {
            let delay = read(literal, &text)?;
            return Ok(if delay.is_zero() { Backoff::None } else { Backoff::Fixed(delay) });
        };
        let (base, cap) = (read(literal, base)?, read(literal, cap)?);
        let refused = if base.is_zero() {
            "an exponential backoff cannot start at zero, since twice zero is zero; write \
             `1s..10m`, or `none` for no delay"
        } else if base > cap {
            "the first delay of this backoff is longer than its longest; write the shorter one \
             first, as in `1s..10m`"
        } else {
            return Ok(Backoff::Exponential(base, cap));
        };
        Err(syn::Error::new(literal.span(), refused))
    }
}

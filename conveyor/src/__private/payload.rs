//! Payloads: the text of a key, and the lack of one.

use conveyor_core::Context;
use conveyor_core::codec::CodecError;

/// What a worker's `key` gave for a payload.
#[derive(Debug)]
pub struct KeyText<K>(K);

/// What `key_of` gives for `payload`.
pub fn key_text<'a, P, K: ToString>(payload: &'a P, key_of: impl FnOnce(&'a P) -> K) -> KeyText<K> {
    KeyText(key_of(payload))
}

impl KeyText<String> {
    /// The text, as it is.
    #[must_use]
    pub fn text(self) -> String {
        self.0
    }
}

/// With this in scope, whatever can be shown is a key.
pub trait KeyByDisplay {
    /// The text.
    fn text(self) -> String;
}

impl<K: ToString> KeyByDisplay for KeyText<K> {
    fn text(self) -> String {
        self.0.to_string()
    }
}

/// Checks that a task has no payload, without counting a reference to it.
///
/// # Errors
/// [`CodecError`] if it has one.
pub fn expect_unit(ctx: &Context) -> Result<(), CodecError> {
    match ctx.claimed().payload.downcast_ref::<()>() {
        Some(()) => Ok(()),
        None => ctx.payload::<()>().map(drop),
    }
}

//! Payloads: what is done with one, the text of its key, and the lack of one.

use std::marker::PhantomData;
use std::sync::Arc;

use conveyor_core::codec::{CodecError, Codecs};
use conveyor_core::payload::Own;
use conveyor_core::task::TaskDefaults;
use conveyor_core::worker::KindDefinition;
use conveyor_core::{Context, Kind, Payload, Task};

use super::KindOf;

/// What a worker's `key` gave for a payload, and how it is shown.
#[derive(Debug)]
pub struct KeyText<K> {
    key: K,
    show: fn(&K) -> String,
}

/// What `key_of` gives for `payload`.
pub fn key_text<'a, P, K: ToString>(payload: &'a P, key_of: impl FnOnce(&'a P) -> K) -> KeyText<K> {
    KeyText { key: key_of(payload), show: K::to_string }
}

impl KeyText<String> {
    /// The text, as it is.
    #[must_use]
    pub fn text(self) -> String {
        self.key
    }
}

/// With this in scope, whatever can be shown is a key.
pub trait KeyByDisplay {
    /// The text.
    fn text(self) -> String;
}

impl<K> KeyByDisplay for KeyText<K> {
    fn text(self) -> String {
        (self.show)(&self.key)
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

/// Refuses a type that cannot be a payload; the one place where a worker says that it must be one.
pub fn require_payload<P: Payload>() {}

/// What a worker does with its payload's type. With [`NotAPayload`] in scope it compiles for every
/// type, so that a type which is none is reported by [`require_payload`], and by nothing else.
#[derive(Debug)]
pub struct PayloadOf<P>(PhantomData<P>);

impl<P: Payload> PayloadOf<P> {
    /// The payload of an attempt.
    ///
    /// # Errors
    /// As [`Context::payload`].
    pub fn shared(ctx: &Context) -> Result<Arc<P>, CodecError> {
        ctx.payload()
    }

    /// A worker's task.
    pub fn task(
        kind: Kind,
        payload: P,
        of_type: Option<&'static TaskDefaults<P>>,
        of_worker: Option<&'static TaskDefaults<P>>,
    ) -> Task<P> {
        Task::with_defaults(kind, payload, of_type, of_worker)
    }

    /// A task of a method's kind.
    pub fn task_of(kind: &KindOf<P>, payload: P) -> Task<P> {
        kind.task(payload)
    }

    /// Tells a kind of the key that its worker derives.
    pub fn key(kind: &mut KindDefinition, key: fn(&P) -> String) {
        kind.key(key);
    }
}

/// See [`PayloadOf`]. None of this is ever called.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait NotAPayload<P: 'static> {
    fn shared(_: &Context) -> Result<Arc<P>, CodecError> {
        unreachable!("{REFUSED}")
    }

    fn task(
        _: Kind,
        _: P,
        _: Option<&'static TaskDefaults<P>>,
        _: Option<&'static TaskDefaults<P>>,
    ) -> Task<P> {
        unreachable!("{REFUSED}")
    }

    fn task_of(_: &KindOf<P>, _: P) -> Task<P> {
        unreachable!("{REFUSED}")
    }

    fn key(_: &mut KindDefinition, _: fn(&P) -> String) {
        unreachable!("{REFUSED}")
    }
}

const REFUSED: &str = "require_payload refuses this type";

impl<P: 'static> NotAPayload<P> for PayloadOf<P> {}

/// The last resort of [`Own`], by an autoref more: for a type that is neither `Clone` nor a payload.
pub trait CannotOwn<P> {
    /// Never called.
    ///
    /// # Errors
    /// Never.
    fn own(&self, _: &P, _: &Codecs) -> Result<P, CodecError> {
        unreachable!("{REFUSED}")
    }
}

impl<P> CannotOwn<P> for &Own<P> {}

//! What a task carries: the value as it is, or its bytes.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError, Codecs};

/// What can be a task's payload. Implemented for every type that qualifies.
pub trait Payload: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Payload for T {}

/// A payload whose type is not known where it is kept.
///
/// Memory holds values as they are, never encoded; cloning one shares it.
#[derive(Clone)]
pub struct AnyPayload(Form);

#[derive(Clone)]
enum Form {
    Value(Arc<dyn Value>),
    Encoded(Arc<Encoded>),
}

/// A payload as bytes, with the name of the codec that wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The name of the [`Codec`](crate::codec::Codec) that wrote the bytes.
    pub codec: Arc<str>,
    /// The bytes, as the codec wrote them.
    pub bytes: Arc<[u8]>,
}

/// A payload's value behind a pointer: it can be told apart by type, and encoded.
trait Value: Any + Send + Sync {
    fn as_serialize(&self) -> &dyn erased_serde::Serialize;
    fn type_name(&self) -> &'static str;
}

impl<T: Payload> Value for T {
    fn as_serialize(&self) -> &dyn erased_serde::Serialize {
        self
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}

impl AnyPayload {
    /// Holds `value` as it is.
    pub fn new<T: Payload>(value: T) -> Self {
        AnyPayload(Form::Value(Arc::new(value)))
    }

    /// Holds bytes that a codec wrote.
    #[must_use]
    pub fn from_encoded(encoded: Encoded) -> Self {
        AnyPayload(Form::Encoded(Arc::new(encoded)))
    }

    /// The value, if it is held as it is and is a `T`.
    #[must_use]
    pub fn downcast_ref<T: Payload>(&self) -> Option<&T> {
        match &self.0 {
            Form::Value(value) => (&**value as &dyn Any).downcast_ref(),
            Form::Encoded(_) => None,
        }
    }

    /// The payload as a `T`: shared if it is one, else a copy by way of the codec.
    ///
    /// # Errors
    /// [`CodecError`] if the payload is of another type and does not decode as a `T`.
    pub fn shared<T: Payload>(&self, codecs: &Codecs) -> Result<Arc<T>, CodecError> {
        match &self.0 {
            Form::Value(value) => {
                let any: Arc<dyn Any + Send + Sync> = value.clone();
                any.downcast::<T>().or_else(|_| {
                    let codec = codecs.writer();
                    let bytes = codec.encode(value.as_serialize())?;
                    codec::decode(codec, &bytes).map(Arc::new)
                })
            }
            Form::Encoded(encoded) => codecs.decode(&encoded.codec, &encoded.bytes).map(Arc::new),
        }
    }

    /// The payload as bytes, for a store that keeps bytes.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the codec cannot express the value.
    pub fn encoded(&self, codecs: &Codecs) -> Result<Encoded, CodecError> {
        match &self.0 {
            Form::Value(value) => {
                let codec = codecs.writer();
                let bytes = codec.encode(value.as_serialize())?;
                Ok(Encoded { codec: codec.name().into(), bytes: bytes.into() })
            }
            Form::Encoded(encoded) => Ok(Encoded::clone(encoded)),
        }
    }
}

impl fmt::Debug for AnyPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Value(value) => f.write_str(value.type_name()),
            Form::Encoded(encoded) => {
                write!(f, "{} bytes of {}", encoded.bytes.len(), encoded.codec)
            }
        }
    }
}

/// Makes a payload the handler's own: by `Clone` where the type has it, else by the codec.
///
/// The original stays with the store, since a retry or a hand-back needs it. For code that a macro
/// writes, where the type is known; with [`CopyByCodec`] in scope, method lookup prefers `Clone`.
#[derive(Debug)]
pub struct Own<T>(PhantomData<T>);

impl<T> Own<T> {
    /// For the payload type `T`.
    #[must_use]
    pub const fn new() -> Self {
        Own(PhantomData)
    }
}

impl<T> Default for Own<T> {
    fn default() -> Self {
        Own::new()
    }
}

impl<T: Clone> Own<T> {
    /// A clone of `shared`.
    ///
    /// # Errors
    /// None; the signature is [`CopyByCodec::own`]'s.
    pub fn own(&self, shared: &T, _: &Codecs) -> Result<T, CodecError> {
        Ok(shared.clone())
    }
}

/// See [`Own`].
pub trait CopyByCodec<T> {
    /// A copy of `shared`, encoded and decoded.
    ///
    /// # Errors
    /// [`CodecError`] if the value does not survive its own codec.
    fn own(&self, shared: &T, codecs: &Codecs) -> Result<T, CodecError>;
}

impl<T: Payload> CopyByCodec<T> for Own<T> {
    fn own(&self, shared: &T, codecs: &Codecs) -> Result<T, CodecError> {
        let codec = codecs.writer();
        codec::decode(codec, &codec.encode(shared)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct NotClone(u32);

    #[test]
    fn a_value_of_the_same_type_is_shared_not_copied() {
        let payload = AnyPayload::new(NotClone(7));
        let codecs = Codecs::default();
        let first = payload.shared::<NotClone>(&codecs).unwrap();
        let second = payload.shared::<NotClone>(&codecs).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_value_of_another_type_goes_through_the_codec() {
        let codecs = Codecs::default();
        let payload = AnyPayload::new(7u64);
        assert_eq!(*payload.shared::<NotClone>(&codecs).unwrap(), NotClone(7));
        assert!(payload.shared::<String>(&codecs).is_err());
    }

    #[test]
    fn a_handler_gets_a_clone_or_a_copy() {
        let codecs = Codecs::default();
        assert_eq!(Own::<NotClone>::new().own(&NotClone(3), &codecs), Ok(NotClone(3)));
        let text = String::from("x");
        assert_eq!(Own::<String>::new().own(&text, &codecs), Ok(text));
    }
}

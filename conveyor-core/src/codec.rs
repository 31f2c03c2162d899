//! How payloads become bytes, where a store needs bytes.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

/// Turns payloads into bytes and back.
///
/// Its name is stored beside the bytes, so a process can read what an older one wrote as long as
/// it still knows the codec. The trait is dyn-safe; [`Json`] is the default.
pub trait Codec: Send + Sync + 'static {
    /// The name that is stored beside the bytes, such as `json`. It must never change.
    fn name(&self) -> &'static str;

    /// Encodes `value`.
    ///
    /// # Errors
    /// [`CodecError`] if the value cannot be expressed in this format.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError>;

    /// Gives a deserializer over `bytes` to `visit`, once.
    ///
    /// # Errors
    /// [`CodecError`] if the bytes are not in this format, if `visit` fails, or if bytes are left
    /// over after it.
    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), CodecError>;
}

/// What a [`Codec`] calls with its deserializer.
pub type Visit<'a> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'a;

/// Why a payload could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload's own `Serialize` failed, or the format cannot express it.
    #[error("cannot encode the payload as {codec}: {reason}")]
    Encode {
        /// The codec's name.
        codec: &'static str,
        /// What it said.
        reason: String,
    },
    /// The bytes are not a payload of the type that the worker takes.
    #[error("cannot decode the payload as {type_name} from {codec}: {reason}")]
    Decode {
        /// The codec's name.
        codec: String,
        /// The type that was expected.
        type_name: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// The payload was written by a codec that this process does not know.
    #[error(
        "the payload was written by the codec {codec:?}, which is not known here; register it with the manager's builder"
    )]
    UnknownCodec {
        /// The name stored beside the bytes.
        codec: String,
    },
}

/// JSON, by `serde_json`: the default codec.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value)
            .map_err(|error| CodecError::Encode { codec: self.name(), reason: error.to_string() })
    }

    fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), CodecError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let failed = |reason: String| CodecError::Decode {
            codec: self.name().to_owned(),
            type_name: "a payload",
            reason,
        };
        visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
            .map_err(|error| failed(error.to_string()))?;
        json.end().map_err(|error| failed(error.to_string()))
    }
}

/// The codecs that a process knows: one to write with, any number to read with.
#[derive(Clone)]
pub struct Codecs {
    known: Vec<Arc<dyn Codec>>,
}

impl Default for Codecs {
    fn default() -> Self {
        Codecs::new(Arc::new(Json))
    }
}

impl Codecs {
    /// Writes and reads with `codec`.
    #[must_use]
    pub fn new(codec: Arc<dyn Codec>) -> Self {
        Codecs { known: vec![codec] }
    }

    /// Also reads what `codec` wrote.
    pub fn also_read(&mut self, codec: Arc<dyn Codec>) {
        self.known.push(codec);
    }

    /// Also reads what any of these codecs wrote.
    pub fn also_read_all(&mut self, others: Codecs) {
        self.known.extend(others.known);
    }

    /// The codec to write with.
    #[must_use]
    pub fn writer(&self) -> &dyn Codec {
        &*self.known[0]
    }

    /// Decodes what the codec called `name` wrote.
    ///
    /// # Errors
    /// [`CodecError::UnknownCodec`], or [`CodecError::Decode`] if the bytes are not a `T`.
    pub fn decode<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, CodecError> {
        let codec = self
            .known
            .iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| CodecError::UnknownCodec { codec: name.to_owned() })?;
        decode(&**codec, bytes)
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|codec| codec.name())).finish()
    }
}

/// Decodes a `T` from what `codec` wrote.
pub(crate) fn decode<T: DeserializeOwned>(
    codec: &dyn Codec,
    bytes: &[u8],
) -> Result<T, CodecError> {
    let type_name = std::any::type_name::<T>();
    let mut value = None;
    codec
        .decode(bytes, &mut |deserializer| {
            value = Some(erased_serde::deserialize::<T>(deserializer)?);
            Ok(())
        })
        .map_err(|error| match error {
            CodecError::Decode { codec, reason, .. } => {
                CodecError::Decode { codec, type_name, reason }
            }
            other => other,
        })?;
    value.ok_or_else(|| CodecError::Decode {
        codec: codec.name().to_owned(),
        type_name,
        reason: "the codec gave no deserializer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_wrote_is_read_back() {
        let bytes = Json.encode(&vec![1u32, 2]).unwrap();
        assert_eq!(bytes, b"[1,2]");
        assert_eq!(Codecs::default().decode::<Vec<u32>>("json", &bytes), Ok(vec![1, 2]));
    }

    /// JSON from its end to its beginning.
    struct Backwards(&'static str);

    impl Codec for Backwards {
        fn name(&self) -> &'static str {
            self.0
        }

        fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
            let mut bytes = Json.encode(value)?;
            bytes.reverse();
            Ok(bytes)
        }

        fn decode(&self, bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), CodecError> {
            let bytes: Vec<u8> = bytes.iter().rev().copied().collect();
            Json.decode(&bytes, visit)
        }
    }

    #[test]
    fn what_any_known_codec_wrote_is_read_and_the_first_one_writes() {
        let mut codecs = Codecs::new(Arc::new(Backwards("backwards")));
        assert_eq!(codecs.writer().encode(&[1u8, 2]), Ok(b"]2,1[".to_vec()));
        assert!(codecs.decode::<[u8; 2]>("json", b"[1,2]").is_err());
        codecs.also_read_all(Codecs::default());
        codecs.also_read(Arc::new(Backwards("older")));
        for (name, bytes) in [("backwards", b"]2,1["), ("json", b"[1,2]"), ("older", b"]2,1[")] {
            assert_eq!(codecs.decode(name, bytes), Ok([1u8, 2]), "{name}");
        }
        assert_eq!(codecs.writer().name(), "backwards");
    }

    #[test]
    fn numbers_with_a_fraction_are_read_back_to_the_last_bit() {
        let numbers = vec![1.8888888888888889e65, 7.2530911202704965e37, f64::MIN_POSITIVE, -0.0];
        let bytes = Json.encode(&numbers).unwrap();
        let read = Codecs::default().decode::<Vec<f64>>("json", &bytes).unwrap();
        let bits = |numbers: &[f64]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&numbers));
    }

    #[test]
    fn trailing_bytes_wrong_types_and_unknown_codecs_are_errors_that_say_so() {
        let codecs = Codecs::default();
        let trailing = codecs.decode::<u32>("json", b"1 2").unwrap_err().to_string();
        assert!(trailing.contains("trailing characters"), "{trailing}");
        let wrong = codecs.decode::<u32>("json", b"\"x\"").unwrap_err().to_string();
        assert!(wrong.contains("as u32 from json"), "{wrong}");
        let unknown = codecs.decode::<u32>("cbor", b"1").unwrap_err().to_string();
        assert!(unknown.contains("\"cbor\""), "{unknown}");
    }
}

//! Payloads as bytes, with the name of their codec beside them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use conveyor_core::Payload;
use conveyor_core::codec::{CodecError, Codecs};
use conveyor_core::payload::{AnyPayload, Encoded};
use serde::{Deserialize, Serialize};

/// A payload with something of everything that serde knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Everything {
    Nothing,
    Numbers(u8, i64, u64, i128, f32, f64),
    Text { letter: char, text: String, flag: Option<bool> },
    Many(Vec<Everything>),
    Named(BTreeMap<String, Everything>),
}

/// An envelope as one input: the codec's name, a line break, and the bytes; without a line break,
/// bytes of JSON.
///
/// # Panics
/// If something does not hold.
pub fn envelope(input: &[u8]) {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) => payload(&String::from_utf8_lossy(&input[..end]), &input[end + 1..]),
        None => payload("json", input),
    }
}

/// Bytes that a store gives back as written by `codec`.
///
/// # Panics
/// If something does not hold.
pub fn payload(codec: &str, bytes: &[u8]) {
    let codecs = Codecs::default();
    let encoded = Encoded { codec: codec.into(), bytes: bytes.into() };
    let payload = AnyPayload::from_encoded(encoded.clone());
    assert_eq!(payload.encoded(&codecs).as_ref(), Ok(&encoded), "bytes in are bytes out");
    check::<()>(&encoded, &codecs);
    check::<f64>(&encoded, &codecs);
    check::<String>(&encoded, &codecs);
    check::<Vec<(String, i64)>>(&encoded, &codecs);
    check::<Everything>(&encoded, &codecs);
    check::<serde_json::Value>(&encoded, &codecs);
}

fn check<T: Payload + Clone + Debug + PartialEq>(encoded: &Encoded, codecs: &Codecs) {
    let read = AnyPayload::from_encoded(encoded.clone()).shared::<T>(codecs);
    if &*encoded.codec != "json" {
        let codec = encoded.codec.to_string();
        assert_eq!(read, Err(CodecError::UnknownCodec { codec }), "what wrote it is not guessed");
        return;
    }
    let expected = serde_json::from_slice::<T>(&encoded.bytes).map_err(|error| error.to_string());
    match (read, expected) {
        (Ok(value), expected) => {
            assert_eq!(Ok(&*value), expected.as_ref());
            // What a handler gets from the next store is what it got from this one.
            let written = AnyPayload::new(T::clone(&value)).encoded(codecs).expect("it was read");
            let again = AnyPayload::from_encoded(written.clone()).shared::<T>(codecs);
            assert_eq!(again, Ok(value), "by way of {}", written.bytes.escape_ascii());
        }
        (Err(CodecError::Decode { codec, type_name, .. }), Err(_)) => {
            assert_eq!((&*codec, type_name), ("json", std::any::type_name::<T>()));
        }
        (Err(error), expected) => panic!("{error}, but JSON says {expected:?}"),
    }
}

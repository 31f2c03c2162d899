//! Whatever text or bytes come in, the answer is a value or an error: never a panic, never a hang.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use conveyor_core::codec::Codecs;
use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::schedule::Cadence;
use conveyor_core::{Key, Kind, Priority, QueueName, Schedule, TaskId, Timestamp};
use proptest::prelude::*;

/// Text that looks like a cron expression, more or less.
fn nearly_cron() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("*".to_owned()),
        (0u32..70).prop_map(|number| number.to_string()),
        (0u32..70, 0u32..70).prop_map(|(from, to)| format!("{from}-{to}")),
        (0u32..70).prop_map(|step| format!("*/{step}")),
        (0u32..70, 0u32..70, 0u32..9).prop_map(|(from, to, step)| format!("{from}-{to}/{step}")),
        (0u32..9, 0u32..9).prop_map(|(day, nth)| format!("{day}#{nth}")),
        prop::sample::select(vec![
            "L", "W", "15W", "LW", "5L", "MON", "jan", "?", ",", "-", "/", ""
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(field, 0..8).prop_map(|fields| fields.join(" "))
}

proptest! {
    #[test]
    fn cron_expressions(text in prop_oneof![nearly_cron(), any::<String>()], zone in any::<String>()) {
        for zone in [zone.as_str(), "UTC", "America/New_York"] {
            let Ok(schedule) = Schedule::cron_in(&text, zone) else { continue };
            // One that is accepted has a next instant, and survives being written down.
            let start = Timestamp::from_secs(1_772_000_000);
            let next = schedule.cadence.next_after(start, start);
            prop_assert!(next.is_some_and(|next| next > start), "{text:?} in {zone}");
            let written = schedule.cadence.to_string();
            prop_assert_eq!(written.parse::<Cadence>().ok(), Some(schedule.cadence));
        }
    }

    #[test]
    fn cadences(text in prop_oneof![
        any::<String>(),
        any::<String>().prop_map(|rest| format!("every {rest}")),
        (any::<u64>(), "[a-zµ]{0,3}").prop_map(|(number, unit)| format!("every {number}{unit}")),
        nearly_cron().prop_map(|rest| format!("cron {rest} @ Europe/Berlin")),
    ]) {
        if let Ok(cadence) = text.parse::<Cadence>() {
            prop_assert_eq!(cadence.to_string().parse::<Cadence>().ok(), Some(cadence));
        }
    }

    #[test]
    fn names(text in any::<String>(), long in 0usize..3_000) {
        for text in [text.clone(), text.repeat(long / (text.len() + 1) + 1)] {
            let control = text.chars().any(char::is_control);
            let fits = |limit: usize| !text.is_empty() && text.len() <= limit && !control;
            prop_assert_eq!(Kind::new(text.as_str()).is_ok(), fits(Kind::MAX_LEN));
            prop_assert_eq!(QueueName::new(text.as_str()).is_ok(), fits(QueueName::MAX_LEN));
            prop_assert_eq!(Key::new(text.as_str()).is_ok(), fits(Key::MAX_LEN));
            if let Err(error) = Key::new(text.as_str()) {
                prop_assert!(error.to_string().len() < 1_000, "the message stays readable");
            }
        }
    }

    #[test]
    fn priorities_and_ids(text in any::<String>(), number in any::<i16>(), id in any::<u128>()) {
        if let Ok(priority) = text.parse::<Priority>() {
            prop_assert_eq!(priority.to_string().parse::<Priority>(), Ok(priority));
        }
        prop_assert_eq!(number.to_string().parse::<Priority>(), Ok(Priority::new(number)));
        if let Ok(id) = text.parse::<TaskId>() {
            prop_assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
        }
        let id = TaskId::from_u128(id);
        prop_assert_eq!(id.to_string().parse::<TaskId>(), Ok(id));
    }

    #[test]
    fn payloads(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            any::<Vec<(String, i64)>>().prop_map(|value| serde_json::to_vec(&value).unwrap()),
            (0usize..300).prop_map(|depth| "[".repeat(depth).into_bytes()),
        ],
        codec in prop_oneof![Just("json".to_owned()), any::<String>()],
    ) {
        let codecs = Codecs::default();
        let encoded = Encoded { codec: codec.as_str().into(), bytes: bytes.into() };
        let payload = AnyPayload::from_encoded(encoded.clone());
        // Bytes in are bytes out, whatever they are.
        prop_assert_eq!(payload.encoded(&codecs), Ok(encoded));
        if let Ok(value) = payload.shared::<Vec<(String, i64)>>(&codecs) {
            let again = AnyPayload::new(Vec::clone(&value)).encoded(&codecs).unwrap();
            let again = AnyPayload::from_encoded(again).shared::<Vec<(String, i64)>>(&codecs);
            prop_assert_eq!(again, Ok(value));
        }
    }

    #[test]
    fn times(micros in any::<i64>(), by in any::<std::time::Duration>()) {
        let time = Timestamp::from_micros(micros);
        prop_assert!(time + by >= time && time - by <= time);
        let _ = (time.to_string(), time.to_jiff(), (time + by).saturating_since(time));
    }
}

//! Payloads: bytes in are bytes out, many or few, and whatever they are.

use conveyor_core::payload::AnyPayload;
use conveyor_core::store::{NewTask, ScheduleDefinition, Tick, Ticked, Verdict};
use conveyor_core::{Kind, Schedule};

use crate::store_suite::Suite;
use crate::store_suite::setup::{A, Setup};
use crate::store_suite::task::{bytes, encoded, task};
use crate::store_suite::verdict::{give_back, settle};

const MEBIBYTE: usize = 1 << 20;

/// A payload that no compression makes small, and no text can hold.
fn noise(len: usize) -> AnyPayload {
    let mut random = crate::Random::new(7);
    let noise: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
    bytes("raw", &noise)
}

/// Whether a payload comes out of a claim as it went in.
fn comes_back(s: &Setup, payload: &AnyPayload) {
    let claimed = s.active(A, NewTask { payload: payload.clone(), ..task() });
    assert!(encoded(&claimed.payload) == encoded(payload), "{payload:?} comes back as another");
    s.settle(&claimed, give_back());
    let again = s.claim_one(A);
    assert!(encoded(&again.payload) == encoded(payload), "{payload:?}, a second time");
    s.settle(&again, Verdict::Succeed);
}

pub fn bytes_in_are_bytes_out(suite: &Suite) {
    let s = suite.open();
    let every: Vec<u8> = (0..=255).collect();
    for payload in [&every[..], b"", b"\0", b"null", b"{\"a\":1,\"a\":2, \"b\" : 1.0}", b"\xff"] {
        comes_back(&s, &bytes("json", payload));
    }
}

pub fn the_name_of_the_codec_is_kept_with_the_bytes(suite: &Suite) {
    let s = suite.open();
    for codec in ["json", "JSON", "application/x-thrift; v=2", "ü"] {
        comes_back(&s, &bytes(codec, b"\x01"));
    }
}

pub fn a_payload_of_a_mebibyte_is_carried(suite: &Suite) {
    let s = suite.open();
    let limit = s.store.capabilities().max_payload;
    assert!(limit >= MEBIBYTE, "the store says that it takes no more than {limit} bytes");
    comes_back(&s, &noise(MEBIBYTE));
}

pub fn several_large_payloads_go_in_one_batch(suite: &Suite) {
    let s = suite.open();
    let new: Vec<NewTask> =
        (0..8).map(|part| NewTask { payload: noise(MEBIBYTE / 2 + part), ..task() }).collect();
    s.enqueue_all(new.iter().cloned());
    let claimed = s.ask(A).tasks();
    assert_eq!(claimed.len(), 8);
    for (claimed, new) in claimed.iter().zip(&new) {
        assert!(encoded(&claimed.payload) == encoded(&new.payload));
    }
}

pub fn children_and_ticks_carry_payloads_too(suite: &Suite) {
    let s = suite.open();
    let payload = noise(10_000);
    let mut end = settle(&s.active(A, task()), Verdict::Succeed);
    end.children = vec![NewTask { payload: payload.clone(), ..task() }];
    s.settle_as(end);
    let name = Kind::from_static("work");
    let schedule = Schedule::every(s.ticks(1)).expect("a tick is at least 1 ms");
    let state = s.done(s.store.put_schedule(ScheduleDefinition { name: name.clone(), schedule }));
    let task = Some(NewTask { payload: payload.clone(), ..task() });
    let tick = Tick { name, revision: state.revision, from: state.mark, to: state.anchor, task };
    assert!(matches!(s.done(s.store.tick(vec![tick]))[0], Ticked::Fired(_)));
    for claimed in s.ask(A).tasks() {
        assert!(encoded(&claimed.payload) == encoded(&payload));
    }
    assert_eq!(s.counts().active, 2);
}

pub fn a_store_that_encodes_nothing_gives_values_back_as_they_are(suite: &Suite) {
    let s = suite.open();
    if s.store.capabilities().encoded {
        return; // An engine encodes what such a store is given.
    }
    let claimed = s.active(A, NewTask { payload: AnyPayload::new(7u64), ..task() });
    assert_eq!(claimed.payload.downcast_ref::<u64>(), Some(&7));
}

//! Any text as a kind, a queue, a key, a priority or an id.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| conveyor_fuzz_checks::name(input));

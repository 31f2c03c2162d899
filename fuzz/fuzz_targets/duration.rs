//! Any text as a period, a duration or a backoff.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| conveyor_fuzz_checks::duration(input));

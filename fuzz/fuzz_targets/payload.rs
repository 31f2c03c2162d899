//! Any bytes as a payload: the name of a codec, a line break, and what it is said to have written.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| conveyor_fuzz_checks::envelope(input));

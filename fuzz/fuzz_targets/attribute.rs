//! Any text as the arguments of `#[worker(…)]`, `#[consume(…)]` and `#[task(…)]`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| conveyor_fuzz_checks::attribute(input));

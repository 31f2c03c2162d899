//! Any text as a cron expression, with a zone after an `@`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| conveyor_fuzz_checks::cron(input));

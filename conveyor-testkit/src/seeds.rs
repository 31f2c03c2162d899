//! [`for_seeds`]: one test, many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The environment variable with the one seed to run.
const VARIABLE: &str = "CONVEYOR_SEED";

/// Runs `test` with each of the seeds in turn. The first one that panics is printed to stderr with
/// how to run it alone, and the panic goes on.
///
/// If the environment variable `CONVEYOR_SEED` is set (`17`, or `0x11`), that seed runs alone,
/// whether it is among `seeds` or not.
///
/// ```
/// use conveyor_testkit::{for_seeds, simulate};
///
/// for_seeds(0..100, |seed| {
///     simulate(seed, |sim| async move {
///         sim.run_until_idle().await;
///         assert_eq!(sim.live_tasks(), 0);
///     });
/// });
/// ```
///
/// # Panics
/// If `test` does, or if `CONVEYOR_SEED` is no number.
pub fn for_seeds(seeds: impl IntoIterator<Item = u64>, test: impl FnMut(u64)) {
    match std::env::var_os(VARIABLE) {
        Some(seed) => run([parse(&seed.to_string_lossy())], test),
        None => run(seeds, test),
    }
}

fn run(seeds: impl IntoIterator<Item = u64>, mut test: impl FnMut(u64)) {
    for (passed, seed) in seeds.into_iter().enumerate() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!(
                "seed {seed} failed after {passed} that passed; run it alone with {VARIABLE}={seed}"
            );
            resume_unwind(panic);
        }
    }
}

fn parse(text: &str) -> u64 {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.unwrap_or_else(|error| {
        panic!("{VARIABLE} is {text:?}, which is no seed ({error}); set it to a number such as 17")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_run_in_order_until_one_fails() {
        let mut ran = Vec::new();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            run(3..10, |seed| {
                ran.push(seed);
                assert_ne!(seed, 5, "five");
            });
        }));
        assert!(failed.is_err(), "the panic goes on");
        assert_eq!(ran, [3, 4, 5]);
    }

    #[test]
    fn a_seed_is_decimal_or_hexadecimal() {
        assert_eq!(parse("17"), 17);
        assert_eq!(parse("0xff"), 255);
        assert_eq!(parse("18446744073709551615"), u64::MAX);
        let refused = catch_unwind(|| parse("seventeen")).unwrap_err();
        let text = conveyor_core::worker::panic_text(&*refused);
        assert!(text.contains("CONVEYOR_SEED is \"seventeen\""), "{text}");
    }
}

//! `cargo xtask fuzz`: runs a fuzz target. The same checks run in the tests, on what proptest and
//! the seeds give them; a fuzzer goes on from there, for as long as one likes.

use crate::command::{cargo, run as run_command};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// What can be fuzzed: each is a binary of the `fuzz` workspace, with seeds in a directory of its
/// name.
const TARGETS: &[(&str, &str)] = &[
    ("attribute", "the arguments of #[worker], #[consume] and #[task]"),
    ("cron", "cron expressions and their zones"),
    ("duration", "periods, durations and backoffs"),
    ("name", "kinds, queues, keys, priorities and ids"),
    ("payload", "bytes that a store gives back, and the name of their codec"),
];

/// How long to go on, unless the arguments say so.
const SECONDS: u32 = 60;

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return Ok(());
    };
    if ["--help", "-h"].contains(&name.as_str()) {
        print!("{}", help());
        return Ok(());
    }
    if !TARGETS.iter().any(|(target, _)| target == name) {
        return Err(Failure::Usage(format!("no fuzz target `{name}`\n\n{}", help())));
    }
    let seconds = seconds(rest)?;
    let root = Workspace::load()?.root;
    // What the fuzzer finds worth keeping goes to the first of these, which has to be there.
    let [corpus, seeds] = [format!("fuzz/corpus/{name}"), format!("fuzz/seeds/{name}")];
    let broken = |error| Failure::Broken(format!("cannot make {corpus}: {error}"));
    std::fs::create_dir_all(root.join(&corpus)).map_err(broken)?;
    let mut command = cargo(&root, ["+nightly", "fuzz", "run"]);
    // Nothing here is unsafe, so a sanitizer would find nothing, and make attributes forty times
    // slower. With `cfg(fuzzing)` tokens keep no places, and no check sees where a message points.
    command.args(["--sanitizer=none", "--no-cfg-fuzzing", name, &corpus, &seeds, "--"]);
    run_command(command.args([format!("-max_total_time={seconds}"), "-timeout=10".to_owned()]))
}

fn seconds(arguments: &[String]) -> Result<u32> {
    match arguments {
        [] => Ok(SECONDS),
        [seconds] => seconds
            .parse()
            .map_err(|_| Failure::Usage(format!("`{seconds}` is no number of seconds"))),
        [_, other, ..] => Err(Failure::Usage(format!("`cargo xtask fuzz` takes no `{other}`"))),
    }
}

fn help() -> String {
    let mut text = format!(
        "Usage: cargo xtask fuzz <TARGET> [SECONDS]\n\n\
         For {SECONDS} seconds if nothing is said, for ever if 0. It needs a nightly toolchain, a \
         C++ compiler, and `cargo install cargo-fuzz`.\n\nTargets:\n"
    );
    for (name, about) in TARGETS {
        text += &format!("  {name:<10} {about}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_told_with_those_that_are() {
        let failure = run(&["corn".to_owned()]).unwrap_err();
        assert!(failure.is_usage());
        assert!(failure.to_string().contains("`corn`") && failure.to_string().contains("  cron"));
    }

    #[test]
    fn how_long_is_a_number_or_left_out() {
        assert_eq!(seconds(&[]).unwrap(), SECONDS);
        assert_eq!(seconds(&["5".to_owned()]).unwrap(), 5);
        assert!(seconds(&["5s".to_owned()]).unwrap_err().is_usage());
        assert!(seconds(&["5".to_owned(), "6".to_owned()]).unwrap_err().is_usage());
    }

    /// Nothing else builds the targets but nightly.
    #[test]
    fn every_target_has_its_file_its_entry_and_seeds() {
        let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for (name, _) in TARGETS {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name}");
            assert!(fuzz.join("seeds").join(name).is_dir(), "{name}");
        }
    }
}

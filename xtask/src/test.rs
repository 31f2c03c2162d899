//! `cargo xtask test`: everything that has to hold before a change is proposed.
//!
//! [`STEPS`] is the list, run in order until one fails; [`FEATURE_SETS`] says with which features
//! the crates are checked and tested. Both are the places to add to.

use std::process::Command;
use std::time::Instant;

use crate::command::{add_flags, cargo, is_ci, output, program, run as run_command, succeeds};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;
use crate::{layers, papers, plants, servers, sim, torture};

/// One step: the name to run it alone by, and what it does.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Workspace) -> Result,
}

const STEPS: &[Step] = &[
    Step { name: "lock", about: "Cargo.lock is committed and up to date", run: lock },
    Step { name: "fmt", about: "all code is formatted", run: fmt },
    Step { name: "layers", about: "each crate uses only what its layer may", run: layers::check },
    Step { name: "clippy", about: "no warning, with every feature set", run: clippy },
    Step { name: "servers", about: "what tests start beside them is there", run: servers::check },
    Step { name: "tests", about: "unit, crate and doc tests, with every feature set", run: tests },
    Step { name: "loom", about: "waits, wake-ups and shutdown, in every interleaving", run: loom },
    Step {
        name: "sim",
        about: "thousands of worlds, none of which breaks a promise",
        run: sim::check,
    },
    Step {
        name: "torture",
        about: "real processes on each store, killed and stopped for a minute",
        run: torture::check,
    },
    Step {
        name: "plants",
        about: "each planted bug shows in a world, or in a store's suite",
        run: plants::check,
    },
    Step { name: "examples", about: "every example builds", run: examples },
    Step { name: "docs", about: "the documentation builds without a warning", run: docs },
    Step { name: "papers", about: "the README's program, links, decisions", run: papers::check },
];

/// Features to check and test a part of the workspace with.
struct FeatureSet {
    name: &'static str,
    packages: &'static [&'static str],
    features: &'static [&'static str],
    /// Whether doc tests run too. They are written for the default features, so only there.
    doc_tests: bool,
    /// The tests with one of these in their names; all of them if there is none.
    only: &'static [&'static str],
    /// The feature without which there is nothing to do yet: a crate's name and the feature's.
    needs: Option<(&'static str, &'static str)>,
}

const FEATURE_SETS: &[FeatureSet] = &[
    FeatureSet {
        name: "default",
        packages: &["--workspace"],
        features: &[],
        doc_tests: true,
        only: &[],
        needs: None,
    },
    // The engine alone, as the simulator and other people's runtimes use it.
    FeatureSet {
        name: "no runtime",
        packages: &["--package=conveyor-runtime"],
        features: &["--no-default-features"],
        doc_tests: false,
        only: &[],
        needs: None,
    },
    // Workers written by hand: no macro may be needed for anything.
    FeatureSet {
        name: "no macros",
        packages: &["--package=conveyor"],
        features: &["--no-default-features", "--features=tokio"],
        doc_tests: false,
        only: &[],
        needs: None,
    },
    FeatureSet {
        name: "smol",
        packages: &["--package=conveyor"],
        features: &["--no-default-features", "--features=smol,macros"],
        doc_tests: false,
        only: &[],
        needs: Some(("conveyor", "smol")),
    },
    FeatureSet {
        name: "both runtimes",
        packages: &["--package=conveyor", "--package=conveyor-runtime"],
        features: &["--features=conveyor/smol,conveyor/tokio"],
        doc_tests: false,
        only: &[],
        needs: Some(("conveyor", "smol")),
    },
    // The stores' own tests run with the default set; here, the facade with a store in it.
    FeatureSet {
        name: "sqlite",
        packages: &["--package=conveyor"],
        features: &["--features=sqlite"],
        doc_tests: false,
        only: &[],
        needs: Some(("conveyor", "sqlite")),
    },
    FeatureSet {
        name: "postgres",
        packages: &["--package=conveyor"],
        features: &["--features=postgres"],
        doc_tests: false,
        only: &[],
        needs: Some(("conveyor", "postgres")),
    },
    // The driver's thread runs on smol: what it waits for, and what it drops.
    FeatureSet {
        name: "postgres on smol",
        packages: &["--package=conveyor", "--package=conveyor-postgres"],
        features: &["--no-default-features", "--features=conveyor/smol,conveyor/postgres"],
        doc_tests: false,
        only: &["claim::", "dropped::", "transaction", "wake::", "outlives_the_death"],
        needs: Some(("conveyor", "postgres")),
    },
];

const HELP: &str = "\
Usage: cargo xtask test [--only STEP]... [--list]

Runs every step in order and stops at the first that fails.

Options:
  --only STEP  run this step alone; may be given several times
  --list       print the steps and what they do
  --help       print this
";

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Help,
    List,
    /// These steps, or all if there are none.
    Run(Vec<String>),
}

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    match parse(arguments)? {
        Request::Help => print!("{HELP}"),
        Request::List => {
            for Step { name, about, .. } in STEPS {
                println!("{name:<9} {about}");
            }
        }
        Request::Run(only) => {
            let chosen = |step: &&Step| only.is_empty() || only.iter().any(|one| one == step.name);
            run_steps(&Workspace::load()?, STEPS.iter().filter(chosen))?;
        }
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut only = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        let name = match argument {
            "--help" | "-h" => return Ok(Request::Help),
            "--list" => return Ok(Request::List),
            "--only" => arguments.next().unwrap_or_default(),
            other => other.strip_prefix("--only=").ok_or_else(|| {
                Failure::Usage(format!("`cargo xtask test` takes no `{other}`\n\n{HELP}"))
            })?,
        };
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            let names = names.join(", ");
            return Err(Failure::Usage(format!("no step `{name}`; there are {names}")));
        }
        only.push(name.to_owned());
    }
    Ok(Request::Run(only))
}

fn run_steps<'a>(workspace: &Workspace, steps: impl Iterator<Item = &'a Step>) -> Result {
    let mut times = Vec::new();
    for Step { name, about, run } in steps {
        println!("\n=== {name}: {about}");
        let began = Instant::now();
        let result = run(workspace);
        let seconds = began.elapsed().as_secs_f64();
        result.map_err(|cause| Failure::Step { name, seconds, cause: Box::new(cause) })?;
        println!("=== {name}: passed in {seconds:.1} s");
        times.push(seconds);
    }
    let (count, total) = (times.len(), times.iter().sum::<f64>());
    let steps = if count == 1 { "step" } else { "steps" };
    println!("\n{count} {steps} passed in {total:.1} s");
    Ok(())
}

/// The lock file decides what is built, so a build that changes it has tested something else.
fn lock(workspace: &Workspace) -> Result {
    let root = &workspace.root;
    output(&mut cargo(root, ["metadata", "--format-version=1", "--locked"]))?;
    if succeeds(&mut program("git", root, ["rev-parse", "--git-dir"])) != Some(true) {
        println!("skipped: whether Cargo.lock is committed, since this is no git repository");
        return Ok(());
    }
    let tracked = ["ls-files", "--error-unmatch", "Cargo.lock"];
    if succeeds(&mut program("git", root, tracked)) != Some(true) {
        return Err(Failure::Broken("Cargo.lock is not committed: git add Cargo.lock".into()));
    }
    let unchanged = ["diff", "--quiet", "HEAD", "--", "Cargo.lock"];
    if succeeds(&mut program("git", root, unchanged)) != Some(true) {
        let changed = "Cargo.lock is not as committed: commit it with what changed it";
        if is_ci() {
            return Err(Failure::Broken(changed.into()));
        }
        println!("note: {changed}");
    }
    Ok(())
}

fn fmt(workspace: &Workspace) -> Result {
    let root = &workspace.root;
    run_command(&mut cargo(root, ["fmt", "--all", "--", "--check"]))?;
    // Workspaces of their own, so that their dependencies never weigh on ours.
    for apart in ["benches/Cargo.toml", "fuzz/Cargo.toml"] {
        if root.join(apart).exists() {
            let arguments = ["fmt", "--all", "--manifest-path", apart, "--", "--check"];
            run_command(&mut cargo(root, arguments))?;
        }
    }
    Ok(())
}

fn clippy(workspace: &Workspace) -> Result {
    for set in present(workspace) {
        let mut command = with_features(workspace, "clippy", set);
        run_command(command.args(["--all-targets", "--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn tests(workspace: &Workspace) -> Result {
    for set in present(workspace) {
        let mut command = with_features(workspace, "test", set);
        if !set.doc_tests {
            command.args(["--lib", "--bins", "--tests"]);
        }
        command.arg("--").args(set.only);
        run_command(&mut command)?;
    }
    Ok(())
}

/// The feature sets that there is something to do for, telling of the others.
fn present(workspace: &Workspace) -> impl Iterator<Item = &'static FeatureSet> {
    FEATURE_SETS.iter().filter(|set| match set.needs {
        Some((name, feature)) if !has_feature(workspace, name, feature) => {
            println!("skipped: {}, since `{name}` has no feature `{feature}`", set.name);
            false
        }
        _ => {
            println!("features: {}", set.name);
            true
        }
    })
}

fn has_feature(workspace: &Workspace, name: &str, feature: &str) -> bool {
    workspace.find(name).is_some_and(|one| one.features.contains_key(feature))
}

fn with_features(workspace: &Workspace, subcommand: &str, set: &FeatureSet) -> Command {
    let mut command = cargo(&workspace.root, [subcommand, "--locked"]);
    command.args(set.packages).args(set.features);
    command
}

/// The crates with models that loom runs: modules named `loom_tests`, beside what they check,
/// behind `#[cfg(all(loom, test))]`.
const LOOM: &[&str] = &["conveyor-core", "conveyor-runtime"];

/// Runs the models that loom drives.
///
/// `--cfg loom` reaches every dependency. Tokio does not build with it as we use it, so the default
/// features are off; what does look at it (`event-listener`) needs its own `loom` feature, given
/// in a crate's `[target.'cfg(loom)'.dependencies]`. All other tests are left out: outside of a
/// model, loom's locks panic.
fn loom(workspace: &Workspace) -> Result {
    let arguments = ["test", "--locked", "--release", "--no-default-features", "--lib"];
    let mut command = cargo(&workspace.root, arguments);
    for name in LOOM {
        command.args(["--package", name]);
    }
    // Clippy does not see what only this compiles, so the compiler's own warnings are errors here.
    add_flags(&mut command, "RUSTFLAGS", "--cfg loom -D warnings");
    // Other flags build every dependency anew; apart, they leave the usual build alone.
    command.arg("--target-dir").arg(workspace.target.join("loom"));
    run_command(command.args(["--", "loom_tests::"]))
}

/// Builds them only: the tests of the workspace run them.
fn examples(workspace: &Workspace) -> Result {
    let arguments = ["build", "--locked", "--workspace", "--examples"];
    run_command(&mut cargo(&workspace.root, arguments))
}

fn docs(workspace: &Workspace) -> Result {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps", "--all-features"];
    let mut command = cargo(&workspace.root, arguments);
    add_flags(&mut command, "RUSTDOCFLAGS", "-D warnings");
    run_command(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Request> {
        parse(&arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_choose_steps() {
        assert_eq!(parsed(&[]).unwrap(), Request::Run(vec![]));
        let chosen = Request::Run(vec!["fmt".into(), "loom".into()]);
        assert_eq!(parsed(&["--only", "fmt", "--only=loom"]).unwrap(), chosen);
        assert_eq!(parsed(&["--list"]).unwrap(), Request::List);
        assert_eq!(parsed(&["--only", "fmt", "--help"]).unwrap(), Request::Help);
    }

    #[test]
    fn what_is_not_understood_is_told_with_the_way_out() {
        let names = parsed(&["--only", "lint"]).unwrap_err().to_string();
        assert!(names.contains("no step `lint`") && names.contains("clippy"), "{names}");
        assert!(parsed(&["--only"]).unwrap_err().is_usage());
        assert!(parsed(&["--fast"]).unwrap_err().to_string().contains("`--fast`"));
    }

    #[test]
    fn the_first_step_that_fails_ends_the_run_and_tells_how_to_repeat_it() {
        fn fails(_: &Workspace) -> Result {
            Err(Failure::Broken("no luck".into()))
        }
        fn must_not_run(_: &Workspace) -> Result {
            panic!("a step ran after one that failed")
        }
        let steps = [
            Step { name: "one", about: "", run: fails },
            Step { name: "two", about: "", run: must_not_run },
        ];
        let empty = r#"{ "workspace_root": "/", "target_directory": "/", "packages": [] }"#;
        let failure = run_steps(&Workspace::parse(empty).unwrap(), steps.iter()).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("step `one` failed") && text.contains("no luck"), "{text}");
        assert!(text.contains("cargo xtask test --only one"), "{text}");
    }
}

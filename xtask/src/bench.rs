//! `cargo xtask bench`: runs a benchmark of the `benches` workspace, in release.

use crate::command::{cargo, run as run_command};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// What can be measured: each is a binary of the `benches` workspace.
const BENCHES: &[(&str, &str)] = &[
    ("memory", "enqueue and drain at once, against bare tokio::spawn"),
    ("sqlite", "enqueue and drain at once in a file, with and without waiting for the disk"),
    ("postgres", "enqueue and drain at once in a private server, against bare statements"),
    ("idle", "context switches of a manager that has nothing to do"),
];

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
    if !BENCHES.iter().any(|(bench, _)| bench == name) {
        return Err(Failure::Usage(format!("no benchmark `{name}`\n\n{}", help())));
    }
    let benches = Workspace::load()?.root.join("benches");
    let arguments = ["run", "--release", "--quiet", "--bin", name, "--"];
    run_command(cargo(&benches, arguments).args(rest))
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask bench <NAME> [ARGUMENTS]\n\nBenchmarks:\n");
    for (name, about) in BENCHES {
        text += &format!("  {name:<8} {about}\n");
    }
    text
}

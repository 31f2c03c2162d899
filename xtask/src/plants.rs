//! The planted bugs: the tests are seen to catch each mistake that must never be made.

use std::process::Command;

use crate::command::{add_flags, cargo, run as run_command};
use crate::failure::Result;
use crate::sim;
use crate::workspace::Workspace;

/// The stores that bugs can be planted in, with their test of the suite.
const STORES: &[(&str, &str)] =
    &[("conveyor-sqlite", "store_suite"), ("conveyor-postgres", "conformance")];

/// The step of the test command.
pub(crate) fn check(workspace: &Workspace) -> Result {
    sim::check_plants(workspace)?;
    let mut command = cargo(&workspace.root, ["test", "--locked", "--quiet"]);
    can_be_planted(&mut command, workspace);
    for (package, test) in STORES {
        command.args(["--package", package, "--test", test]);
    }
    // Alone, since it plants in the whole process.
    command.args(["--", "each_planted_bug_is_caught", "--exact", "--ignored", "--nocapture"]);
    run_command(&mut command)
}

/// Has a build be one in which bugs can be planted.
pub(crate) fn can_be_planted(command: &mut Command, workspace: &Workspace) {
    add_flags(command, "RUSTFLAGS", "--cfg conveyor_plant");
    // Other flags build every dependency anew; apart, they leave the usual build alone.
    command.arg("--target-dir").arg(workspace.target.join("planted"));
}

//! `cargo xtask sim`: simulated worlds with mishaps, held against what Conveyor promises.

use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::failure::Result;
use crate::plants::can_be_planted;
use crate::workspace::Workspace;

const HELP: &str = "\
Usage: cargo xtask sim [--seeds N] [--first S] [--seed S] [--twice] [--history] [--plants]

Makes a world for each seed: processes on one store, which crash, stop and are replaced, on wires
that lose, delay and double. Everything that happens is held against what Conveyor promises; the
first world that breaks a promise is told: its seed, its options, and the story of its tasks.

Options:
  --seeds N   how many worlds (2000)
  --first S   the first seed (0)
  --seed S    this one alone
  --twice     each world twice, to see that its seed decides everything
  --history   tell everything that happens in each
  --plants    plant each known bug in turn, and see that a world shows it
  --help      print this
";

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    if arguments.iter().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        print!("{HELP}");
        return Ok(());
    }
    let plants = arguments.iter().any(|argument| argument == "--plants");
    run_command(worlds(&Workspace::load()?, plants).args(arguments))
}

/// The step of the test command.
pub(crate) fn check(workspace: &Workspace) -> Result {
    run_command(worlds(workspace, false).args(["--seeds", "2000", "--twice"]))
}

/// Shows that [`check`] can fail.
pub(crate) fn check_plants(workspace: &Workspace) -> Result {
    run_command(worlds(workspace, true).args(["--seeds", "2000", "--plants"]))
}

/// The program that makes worlds; with bugs that can be planted, if it is to.
fn worlds(workspace: &Workspace, plants: bool) -> Command {
    let mut command = cargo(&workspace.root, ["run", "--locked", "--quiet"]);
    command.args(["--package", "conveyor-tests", "--bin", "sim"]);
    if plants {
        can_be_planted(&mut command, workspace);
    }
    command.arg("--");
    command
}

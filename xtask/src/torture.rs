//! `cargo xtask torture`: real processes on a store, killed and stopped, held against what Conveyor
//! promises.

use std::process::Command;

use crate::command::{cargo, run as run_command};
use crate::failure::Result;
use crate::workspace::Workspace;

const HELP: &str = "\
Usage: cargo xtask torture [--store sqlite|postgres] [--seconds N] [--seed S]

Starts four worker processes on one store, kills them with SIGKILL, stops them beyond their leases,
shuts them down and starts new ones, with tasks that take their process with them; all drawn from a
seed. Then everything must come to rest, and what happened is held against what Conveyor promises.
What was drawn is the same again with the same seed; when it hits whom is not.

Options:
  --store NAME  which store: sqlite (if not given) or postgres, whose server is killed as well, behind
                a wire that delays, cuts, and loses replies
  --seconds N   how long the chaos lasts (60)
  --seed S      what all is drawn from; printed, if it is not given
  --help        print this
";

/// The stores that the test command tortures.
const STORES: [&str; 2] = ["sqlite", "postgres"];

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    if arguments.iter().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        print!("{HELP}");
        return Ok(());
    }
    torture(&Workspace::load()?, arguments)
}

/// The step of the test command.
pub(crate) fn check(workspace: &Workspace) -> Result {
    STORES.iter().try_for_each(|store| torture(workspace, &["--store".into(), (*store).into()]))
}

fn torture(workspace: &Workspace, arguments: &[String]) -> Result {
    let mut command: Command = cargo(&workspace.root, ["run", "--locked", "--quiet"]);
    command.args(["--package", "conveyor-tests", "--bin", "torture", "--"]).args(arguments);
    // What goes wrong is kept there.
    run_command(command.arg("--folder").arg(workspace.target.join("torture")))
}

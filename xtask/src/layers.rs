//! `cargo xtask layers`: each crate uses only what its layer may use.
//!
//! The layers are what lets a store be written against the core alone, the engine run on any
//! runtime and on the simulator, and time be faked in tests. They are easy to break by one import
//! that compiles, so they are checked and not merely agreed upon.

use crate::command;
use crate::failure::{Failure, Result, none};
use crate::workspace::Workspace;

mod clock;
mod edges;
mod source;
mod tree;
mod types;
mod unsafety;

const HELP: &str = "\
Usage: cargo xtask layers

Checks that
  - a crate depends only on the crates below it (xtask/src/layers/edges.rs);
  - a build for one runtime has nothing of another in it (xtask/src/layers/tree.rs);
  - the core's public API shows foreign types of few crates only (xtask/src/layers/types.rs);
  - the core neither reads a clock nor does I/O, and only the runtimes' own files name a runtime
    (xtask/src/layers/clock.rs);
  - every published library forbids unsafe code (xtask/src/layers/unsafety.rs);
  - the core builds for wasm32-unknown-unknown, if that target is installed.
";

/// The target that has no clock, no files, no threads: what builds for it needs none of them.
const BARE_TARGET: &str = "wasm32-unknown-unknown";

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    match arguments {
        [] => check(&Workspace::load()?),
        [flag] if flag == "--help" || flag == "-h" => {
            print!("{HELP}");
            Ok(())
        }
        [other, ..] => Err(Failure::Usage(format!("`cargo xtask layers` takes no `{other}`"))),
    }
}

/// All checks, the cheap ones first.
pub(crate) fn check(workspace: &Workspace) -> Result {
    none(edges::HEADING, edges::check(workspace))?;
    none(tree::HEADING, tree::check(workspace)?)?;
    none(clock::HEADING, clock::check(workspace)?)?;
    none(unsafety::HEADING, unsafety::check(workspace)?)?;
    none(types::HEADING, types::check(workspace)?)?;
    builds_without_a_system(workspace)
}

fn builds_without_a_system(workspace: &Workspace) -> Result {
    let root = &workspace.root;
    let arguments = ["--print", "target-libdir", "--target", BARE_TARGET];
    let directory = command::output(&mut command::program("rustc", root, arguments))?;
    if !std::path::Path::new(directory.trim()).exists() {
        println!(
            "skipped: the core's build for {BARE_TARGET}, which is not installed \
             (rustup target add {BARE_TARGET})"
        );
        return Ok(());
    }
    let arguments = ["build", "--locked", "--package=conveyor-core", "--target", BARE_TARGET];
    command::run(&mut command::cargo(root, arguments))
}

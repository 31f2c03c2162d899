//! The servers that tests start for themselves: here, that their programs are there.

use std::path::Path;

use crate::command::{output, program, run as run_command, succeeds};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// A program that tests need, and the package of Debian's that it is in.
struct Needed {
    program: &'static str,
    /// Where it is, if not in `PATH`: folders with a folder for each version.
    or_below: Option<&'static str>,
    package: &'static str,
}

const NEEDED: &[Needed] = &[
    Needed { program: "setpriv", or_below: None, package: "util-linux" },
    Needed { program: "initdb", or_below: Some("/usr/lib/postgresql"), package: "postgresql" },
    Needed { program: "pgbouncer", or_below: None, package: "pgbouncer" },
];

/// The step of the test command: installs what is missing if it can, and says how if not.
pub(crate) fn check(workspace: &Workspace) -> Result {
    let missing = || NEEDED.iter().filter(|needed| !needed.is_here()).map(|needed| needed.package);
    let packages: Vec<&str> = missing().collect();
    if packages.is_empty() {
        println!("nothing is missing: {}", programs());
        return Ok(());
    }
    let by_hand = || {
        let packages = packages.join(" ");
        Failure::Broken(format!(
            "programs that tests start are missing; as root: apt-get install {packages}"
        ))
    };
    let root = &workspace.root;
    let is_root = output(&mut program("id", root, ["-u"])).is_ok_and(|id| id.trim() == "0");
    if !is_root || succeeds(&mut program("apt-get", root, ["--version"])) != Some(true) {
        return Err(by_hand());
    }
    run_command(&mut program("apt-get", root, ["update", "--quiet"]))?;
    let arguments = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let mut install = program("apt-get", root, arguments.iter().chain(&packages));
    // In this run level, no server is started that a package brings.
    run_command(install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))?;
    if missing().next().is_some() { Err(by_hand()) } else { Ok(()) }
}

fn programs() -> String {
    NEEDED.iter().map(|needed| needed.program).collect::<Vec<_>>().join(", ")
}

impl Needed {
    fn is_here(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_below = |folder: &Path| {
            let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
            versions.map(|one| one.path().join("bin").join(self.program)).any(|one| one.exists())
        };
        // Where Debian has servers, which is not in everybody's path.
        let sbin = Path::new("/usr/sbin").to_path_buf();
        std::env::split_paths(&path).chain([sbin]).any(|folder| folder.join(self.program).exists())
            || self.or_below.is_some_and(|folder| is_below(Path::new(folder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path_and_missed_elsewhere() {
        let needed = |program| Needed { program, or_below: Some("/usr/lib"), package: "p" };
        assert!(needed("cargo").is_here());
        assert!(!needed("no-such-program").is_here());
    }
}

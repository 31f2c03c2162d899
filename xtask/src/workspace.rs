//! The workspace as cargo sees it: the little of `cargo metadata` that the checks look at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::command;
use crate::failure::{Failure, Result};

/// The crates of the workspace and where things are.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    #[serde(rename = "packages")]
    pub(crate) crates: Vec<Crate>,
}

/// A crate of ours.
#[derive(Debug, Deserialize)]
pub(crate) struct Crate {
    pub(crate) name: String,
    /// The registries that it may be published to: `None` for any, empty for none.
    publish: Option<Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    targets: Vec<Target>,
    manifest_path: PathBuf,
}

/// What a crate of ours says that it needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) optional: bool,
}

/// A library, a binary, a test, an example.
#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
    src_path: PathBuf,
}

impl Workspace {
    /// Asks cargo for the workspace that the current directory is in.
    pub(crate) fn load() -> Result<Self> {
        let arguments = ["metadata", "--format-version=1", "--no-deps", "--locked"];
        let text = command::output(&mut command::cargo(Path::new("."), arguments))?;
        Self::parse(&text)
    }

    /// Reads what `cargo metadata` printed.
    pub(crate) fn parse(metadata: &str) -> Result<Self> {
        serde_json::from_str(metadata)
            .map_err(|error| Failure::Broken(format!("cannot read cargo's metadata: {error}")))
    }

    /// The crate of that name, if it is in the workspace.
    pub(crate) fn find(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|one| one.name == name)
    }

    /// The path from the root, for people to read.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Crate {
    /// Whether users can get it from a registry.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    /// The directory that its manifest is in.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }

    /// The root file of its library, if it has one.
    pub(crate) fn library(&self) -> Option<&Path> {
        let is_library = |kind: &String| ["lib", "rlib", "proc-macro"].contains(&kind.as_str());
        let target = self.targets.iter().find(|target| target.kind.iter().any(is_library))?;
        Some(&target.src_path)
    }
}

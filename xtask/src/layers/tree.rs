//! A build for one runtime has nothing of another in it.

use crate::command;
use crate::failure::Result;
use crate::workspace::Workspace;

/// What is wrong where [`check`] finds something.
pub(super) const HEADING: &str = "a build for one runtime brings another along";

/// Features of the facade, and the crate that must not be in their tree.
const WITHOUT: &[(&str, &str)] = &[
    ("smol,macros,postgres,sqlite", "tokio"),
    ("tokio,macros,postgres,sqlite", "smol"),
    ("macros", "tokio"),
    ("macros", "smol"),
];

/// The trees that hold what they must not.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (features, unwanted) in WITHOUT {
        let arguments = [
            "tree",
            "--locked",
            "--package=conveyor",
            "--no-default-features",
            "--features",
            features,
            "--edges=normal,build",
            "--prefix=none",
            "--format={p}",
        ];
        let tree = command::output(&mut command::cargo(&workspace.root, arguments))?;
        if let Some(found) = find(&tree, unwanted) {
            faults.push(format!("the facade with {features:?} needs {found}"));
        }
    }
    Ok(faults)
}

/// The first crate of that name, or of one that is a part of it, such as `tokio-util`.
fn find<'a>(tree: &'a str, unwanted: &str) -> Option<&'a str> {
    tree.lines().find(|line| {
        let name = line.split(' ').next().unwrap_or_default();
        name == unwanted || name.strip_prefix(unwanted).is_some_and(|rest| rest.starts_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_and_its_parts_are_found_and_others_are_not() {
        let tree = "conveyor v0.1.0\nsmol v2.0.2\nmio v1.0.0\n";
        assert_eq!(find(tree, "smol"), Some("smol v2.0.2"));
        assert_eq!(find(tree, "tokio"), None);
        assert_eq!(find("tokio-util v0.7.0\n", "tokio"), Some("tokio-util v0.7.0"));
        assert_eq!(find("smolstr v0.1.0\n", "smol"), None);
    }
}

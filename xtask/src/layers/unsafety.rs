//! Every library that users get forbids unsafe code in its root file.

use super::source;
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// What is wrong where [`check`] finds something.
pub(super) const HEADING: &str = "a library could contain unsafe code";

/// The libraries that do not.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for one in workspace.crates.iter().filter(|one| one.is_published()) {
        let Some(root) = one.library() else { continue };
        let text = std::fs::read_to_string(root)
            .map_err(|error| Failure::Broken(format!("cannot read {}: {error}", root.display())))?;
        if !forbids_unsafe_code(&text) {
            let place = workspace.relative(root);
            faults.push(format!("{place}:1: `#![forbid(unsafe_code)]` is missing"));
        }
    }
    Ok(faults)
}

fn forbids_unsafe_code(text: &str) -> bool {
    let tokens = source::tokens(text);
    let words: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    let attribute = ["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"];
    words.windows(attribute.len()).any(|window| window == attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_counts_only_as_code() {
        assert!(forbids_unsafe_code("//! docs\n#![forbid(unsafe_code)]\npub mod a;"));
        assert!(!forbids_unsafe_code("//! docs\npub mod a;"));
        assert!(!forbids_unsafe_code("// #![forbid(unsafe_code)]"));
        assert!(!forbids_unsafe_code("#![deny(unsafe_code)]"));
    }
}

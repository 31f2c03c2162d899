//! `cargo xtask papers`: what the documents claim about files still holds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, none};
use crate::workspace::Workspace;

mod markdown;

const HELP: &str = "\
Usage: cargo xtask papers

Checks that
  - the first Rust program of README.md is examples/examples/quickstart.rs, to the letter;
  - every relative link in README.md, ARCHITECTURE.md, CONTRIBUTING.md and docs/ leads to a file;
  - docs/decisions/README.md lists every page beside it.
";

const README: &str = "README.md";
const QUICKSTART: &str = "examples/examples/quickstart.rs";
const DECISIONS: &str = "docs/decisions";

/// The command.
pub(crate) fn run(arguments: &[String]) -> Result {
    match arguments {
        [] => check(&Workspace::load()?),
        [flag] if flag == "--help" || flag == "-h" => {
            print!("{HELP}");
            Ok(())
        }
        [other, ..] => Err(Failure::Usage(format!("`cargo xtask papers` takes no `{other}`"))),
    }
}

/// All checks; a project without a README has nothing to compare yet.
pub(crate) fn check(workspace: &Workspace) -> Result {
    let root = &workspace.root;
    if root.join(README).exists() {
        let program =
            if root.join(QUICKSTART).exists() { Some(read(root, QUICKSTART)?) } else { None };
        let faults = readme_program(&read(root, README)?, program.as_deref());
        none("the README's program is not the example", faults)?;
    } else {
        println!("skipped: the README's program, since there is no {README}");
    }

    let papers = papers(root)?;
    println!("{} documents", papers.len());
    let mut faults = Vec::new();
    for paper in &papers {
        let text = read(root, paper)?;
        faults.extend(dead_links(paper, &text, |path| root.join(path).exists()));
    }
    none("a link leads nowhere", faults)?;

    let index = format!("{DECISIONS}/{README}");
    let index = if root.join(&index).exists() { read(root, &index)? } else { String::new() };
    none("the index of decisions is not complete", unlisted_decisions(&index, &papers))
}

/// The documents, as paths from the root with `/` between names.
fn papers(root: &Path) -> Result<Vec<String>> {
    let mut found: Vec<String> = [README, "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .into_iter()
        .filter(|name| root.join(name).exists())
        .map(str::to_owned)
        .collect();
    let mut directories = vec![PathBuf::from("docs")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            if root.join(&path).is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(root: &Path, path: &str) -> Result<String> {
    std::fs::read_to_string(root.join(path))
        .map_err(|error| Failure::Broken(format!("cannot read {path}: {error}")))
}

/// How the README's first program differs from the example that is compiled and run.
fn readme_program(readme: &str, example: Option<&str>) -> Vec<String> {
    let blocks = markdown::code_blocks(readme);
    let program =
        blocks.iter().find(|block| block.language == "rust" && block.text.contains("fn main()"));
    let (program, example) = match (program, example) {
        (Some(program), Some(example)) => (program, example),
        (None, _) => return vec![format!("{README}:1: there is no Rust program with a main")],
        (_, None) => {
            return vec![format!("{QUICKSTART}:1: the README's program should be here")];
        }
    };
    let shown: Vec<&str> = program.text.lines().collect();
    let real: Vec<&str> = example.lines().collect();
    let longer = shown.len().max(real.len());
    let Some(at) = (0..longer).find(|at| shown.get(*at) != real.get(*at)) else {
        return Vec::new();
    };
    let line = |lines: &[&str]| lines.get(at).map_or("its end".into(), |line| format!("`{line}`"));
    vec![format!(
        "{README}:{}: {} is {} in {QUICKSTART}:{}",
        program.line + at,
        line(&shown),
        line(&real),
        at + 1
    )]
}

/// The relative links of a document that lead to nothing.
fn dead_links(paper: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for link in markdown::links(text) {
        let Some(path) = target(paper, link.target) else {
            continue;
        };
        if path.starts_with("..") {
            faults.push(format!("{paper}:{}: `{}` leaves the repository", link.line, link.target));
        } else if !exists(&path) {
            faults.push(format!("{paper}:{}: `{}`: there is no {path}", link.line, link.target));
        }
    }
    faults
}

/// Where a link of a document leads, from the root; `None` if to the web or to the document itself.
fn target(paper: &str, link: &str) -> Option<String> {
    let path = link.split(['#', '?']).next().unwrap_or_default();
    let has_scheme = path.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'));
    if path.is_empty() || has_scheme || path.starts_with("//") {
        return None;
    }
    let from_root = path.starts_with('/');
    let directory = paper.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut names: Vec<&str> = if from_root { Vec::new() } else { directory.split('/').collect() };
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| !["", ".."].contains(last)) => {
                names.pop();
            }
            _ => names.push(name),
        }
    }
    names.retain(|name| !name.is_empty());
    let path = names.join("/").replace("%20", " ");
    Some(if path.is_empty() { ".".to_owned() } else { path })
}

/// The pages of decisions that the index does not link to.
fn unlisted_decisions(index: &str, papers: &[String]) -> Vec<String> {
    let index_path = format!("{DECISIONS}/{README}");
    let listed: BTreeSet<String> = markdown::links(index)
        .into_iter()
        .filter_map(|link| target(&index_path, link.target))
        .collect();
    papers
        .iter()
        .filter(|paper| paper.starts_with(DECISIONS) && **paper != index_path)
        .filter(|paper| !listed.contains(*paper))
        .map(|paper| format!("{index_path}: there is no link to {paper}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "# C\n\n```rust\nlet a;\n```\n\n```rust\nfn main() {\n    run();\n}\n```\n";

    #[test]
    fn the_readmes_program_is_the_example_to_the_letter() {
        assert_eq!(readme_program(SHOWN, Some("fn main() {\n    run();\n}\n")), [""; 0]);
        assert_eq!(
            readme_program(SHOWN, Some("fn main() {\n    stop();\n}\n")),
            ["README.md:9: `    run();` is `    stop();` in examples/examples/quickstart.rs:2"]
        );
        assert_eq!(
            readme_program(SHOWN, Some("fn main() {\n    run();\n}\n// more\n")),
            ["README.md:11: its end is `// more` in examples/examples/quickstart.rs:4"]
        );
    }

    #[test]
    fn a_readme_needs_a_program_and_its_example() {
        assert!(readme_program("# C\n", Some("fn main() {}"))[0].contains("no Rust program"));
        assert!(readme_program(SHOWN, None)[0].contains("quickstart.rs:1"));
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        let text = "[a](b.md)\n[c](../README.md#top) [d](gone.md)\n";
        let exists = |path: &str| ["docs/b.md", "README.md"].contains(&path);
        assert_eq!(
            dead_links("docs/a.md", text, exists),
            ["docs/a.md:2: `gone.md`: there is no docs/gone.md"]
        );
    }

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let target = |paper, link| target(paper, link);
        assert_eq!(target("docs/decisions/x.md", "../a.md").as_deref(), Some("docs/a.md"));
        assert_eq!(target("docs/x.md", "/LICENSE-MIT").as_deref(), Some("LICENSE-MIT"));
        assert_eq!(target("docs/x.md", "..").as_deref(), Some("."));
        assert_eq!(target("README.md", "./docs/").as_deref(), Some("docs"));
        assert_eq!(target("README.md", "#words"), None);
        assert_eq!(target("README.md", "https://example.com/a"), None);
        assert_eq!(target("README.md", "mailto:a@example.com"), None);
        assert_eq!(dead_links("a.md", "[x](../y)", |_| true).len(), 1);
    }

    #[test]
    fn a_decision_that_the_index_forgets_is_found() {
        let papers = ["docs/decisions/README.md", "docs/decisions/a.md", "docs/decisions/b.md"];
        let papers = papers.map(str::to_owned);
        let index = "- [A](a.md): why\n- `b.md`\n";
        assert_eq!(
            unlisted_decisions(index, &papers),
            ["docs/decisions/README.md: there is no link to docs/decisions/b.md"]
        );
        assert_eq!(unlisted_decisions("", &papers).len(), 2);
    }
}

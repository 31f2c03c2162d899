//! Writes the examples anew as a user of smol would write them: another `main`, another runtime for
//! the builder, another timer. What else they are made of is the same on both, and is tested so.

use std::path::Path;
use std::{env, fs};

/// Not among them: `axum_app`, whose server runs on tokio alone, and `indexer`, whose progress and
/// audit are written on tokio. `on_smol` runs on nothing else.
const EXAMPLES: [&str; 7] =
    ["dedup", "explain", "priorities", "quickstart", "retries_and_panics", "schedules", "shutdown"];

/// What a user of tokio writes, and what a user of smol does.
const CHANGES: [(&str, &str); 3] = [
    (
        "#[tokio::main]\nasync fn main() -> conveyor::Result<()> {",
        "pub(crate) fn main() -> conveyor::Result<()> {\n    smol::block_on(example())\n}\n\n\
         async fn example() -> conveyor::Result<()> {",
    ),
    // With both runtimes in the build the default one is tokio.
    (
        "Manager::builder()",
        "Manager::builder().runtime(std::sync::Arc::new(conveyor::SmolRuntime::new()))",
    ),
    ("tokio::time::sleep(", "smol::Timer::after("),
];

fn main() {
    let from = Path::new("../examples/examples");
    let to = env::var_os("OUT_DIR").expect("cargo sets it");
    println!("cargo::rerun-if-changed={}", from.display());
    for name in EXAMPLES {
        let file = format!("{name}.rs");
        let source = fs::read_to_string(from.join(&file)).expect("the example is there");
        fs::write(Path::new(&to).join(&file), on_smol(name, &source)).expect("it can be written");
    }
}

fn on_smol(name: &str, source: &str) -> String {
    // The file becomes part of a module, which has no place for inner comments.
    let code = source.lines().skip_while(|line| line.starts_with("//!"));
    let mut code = code.collect::<Vec<_>>().join("\n");
    for (tokio, smol) in CHANGES {
        code = code.replace(tokio, smol);
    }
    // A macro that needs no runtime of tokio's.
    let rest = code.replace("tokio::select!", "");
    assert!(!rest.contains("tokio"), "the example {name} needs more of tokio than CHANGES knows");
    code
}

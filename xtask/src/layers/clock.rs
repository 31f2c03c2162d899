//! What a crate's code may not name: clocks and I/O in the core, runtimes outside their own files.
//!
//! Time and the outside world come in through the core's `Runtime` trait and nowhere else. That is
//! what lets the simulator replay a day in milliseconds and one engine run on every runtime.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::source::{self, Mention};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// What a set of files may not name, and why.
struct Ban {
    of: &'static [&'static str],
    because: &'static str,
}

/// The bans that hold in one crate, each with the files it does not hold in.
struct Scope {
    name: &'static str,
    bans: &'static [(&'static Ban, &'static [&'static str])],
}

// A pattern that begins with `::` is a path from its crate on; any other is a part of a path.
const CLOCKS: Ban = Ban {
    of: &[
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "Zoned::now",
        "ZonedDateTime::now",
        "Uuid::now_v1",
        "Uuid::now_v6",
        "Uuid::now_v7",
    ],
    because: "the time comes from the runtime or the store, so that tests can set it",
};
const CHANCE: Ban = Ban {
    of: &["Uuid::new_v4", "::rand", "::getrandom", "::fastrand"],
    because: "randomness comes from the runtime, so that a seed replays a run",
};
const THREADS: Ban = Ban {
    of: &["::std::thread::sleep", "::std::thread::spawn", "::std::thread::Builder"],
    because: "waiting and running are the runtime's to do",
};
const SYSTEM: Ban = Ban {
    of: &[
        "::std::fs",
        "::std::net",
        "::std::env",
        "::std::process",
        "::std::os",
        "::std::io::stdin",
        "::std::io::stdout",
        "::std::io::stderr",
        "TimeZone::system",
    ],
    because: "the core does no I/O",
};
const PRINTING: Ban = Ban {
    of: &["print!", "println!", "eprint!", "eprintln!", "dbg!"],
    because: "a library's output is the user's to choose: use tracing",
};
const TOKIO: Ban = Ban {
    of: &["::tokio", "::tokio_util", "::tokio_stream"],
    because: "only the runtime's own file may know tokio",
};
const SMOL: Ban = Ban {
    of: &["::smol", "::async_io", "::async_executor", "::async_global_executor", "::blocking"],
    because: "only the runtime's own file may know smol",
};

const NOWHERE: &[&str] = &[];
const RUNTIMES: &[&str] = &["src/runtimes/"];

/// The crates that are watched. A store may use its driver's runtime, in a file for that.
const SCOPES: &[Scope] = &[
    Scope {
        name: "conveyor-core",
        bans: &[
            (&CLOCKS, NOWHERE),
            (&CHANCE, NOWHERE),
            (&THREADS, NOWHERE),
            (&SYSTEM, NOWHERE),
            (&PRINTING, NOWHERE),
            (&TOKIO, NOWHERE),
            (&SMOL, NOWHERE),
        ],
    },
    Scope {
        name: "conveyor-runtime",
        bans: &[
            (&CLOCKS, RUNTIMES),
            (&CHANCE, RUNTIMES),
            (&THREADS, RUNTIMES),
            (&PRINTING, NOWHERE),
            (&TOKIO, &["src/runtimes/tokio.rs", "src/runtimes/tokio/"]),
            (&SMOL, &["src/runtimes/smol.rs", "src/runtimes/smol/"]),
        ],
    },
    Scope { name: "conveyor", bans: &[(&CLOCKS, NOWHERE), (&TOKIO, NOWHERE), (&SMOL, NOWHERE)] },
    Scope {
        name: "conveyor-postgres",
        bans: &[
            (&CHANCE, NOWHERE),
            (&PRINTING, NOWHERE),
            (&TOKIO, &["src/driver.rs"]),
            (&SMOL, &["src/driver.rs"]),
        ],
    },
    Scope { name: "conveyor-testkit", bans: &[(&TOKIO, NOWHERE), (&SMOL, NOWHERE)] },
];

/// What is wrong where [`check`] finds something.
pub(super) const HEADING: &str =
    "a crate names what its layer may not use (SCOPES in xtask/src/layers/clock.rs)";

/// The places that name what they may not.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for scope in SCOPES {
        let Some(one) = workspace.find(scope.name) else {
            continue;
        };
        let mut files = Vec::new();
        read_sources(&one.directory().join("src"), &mut files)?;
        let in_tests = test_files(&files);
        for (path, text) in files.iter().filter(|(path, _)| !in_tests.contains(path)) {
            let inside = path.strip_prefix(one.directory()).unwrap_or(path);
            let place = workspace.relative(path).to_string();
            faults.extend(check_file(scope, &inside.to_string_lossy(), &place, text));
        }
    }
    Ok(faults)
}

fn read_sources(directory: &Path, files: &mut Vec<(PathBuf, String)>) -> Result {
    let broken = |path: &Path, error: std::io::Error| {
        Failure::Broken(format!("cannot read {}: {error}", path.display()))
    };
    let entries = std::fs::read_dir(directory).map_err(|error| broken(directory, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| broken(directory, error))?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).map_err(|error| broken(&path, error))?;
            files.push((path, text));
        }
    }
    Ok(())
}

/// The files that are modules of tests, by the `#[cfg(test)] mod name;` of another file.
fn test_files(files: &[(PathBuf, String)]) -> HashSet<PathBuf> {
    let mut in_tests = HashSet::new();
    for (path, text) in files {
        let owns_directory =
            ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
        let directory =
            if owns_directory { path.with_file_name("") } else { path.with_extension("") };
        for module in source::without_tests(&source::tokens(text)).1 {
            in_tests.insert(directory.join(format!("{module}.rs")));
            in_tests.insert(directory.join(module).join("mod.rs"));
        }
    }
    in_tests
}

/// Checks one file: `inside` is its path from the crate on, `place` the one to show.
fn check_file(scope: &Scope, inside: &str, place: &str, text: &str) -> Vec<String> {
    let (tokens, _) = source::without_tests(&source::tokens(text));
    let mentions = source::mentions(&tokens);
    let mut faults = Vec::new();
    for mention in &mentions {
        let ban = scope.bans.iter().find(|(ban, exempt)| {
            !exempt.iter().any(|prefix| inside.starts_with(prefix))
                && ban.of.iter().any(|pattern| names(mention, pattern))
        });
        if let Some((ban, _)) = ban {
            let path = mention.path.join("::");
            let because = ban.because;
            faults.push(format!("{place}:{}: `{path}`: {because}", mention.line));
        }
    }
    faults
}

fn names(mention: &Mention, pattern: &str) -> bool {
    let Some(anchored) = pattern.strip_prefix("::") else {
        let parts: Vec<&str> = pattern.split("::").collect();
        return mention.path.windows(parts.len()).any(|window| window == parts);
    };
    let parts: Vec<&str> = anchored.split("::").collect();
    // A lone word is a variable or a feature's name, unless it is imported.
    let is_path = mention.is_import || mention.path.len() > 1;
    is_path && mention.path.len() >= parts.len() && mention.path[..parts.len()] == parts[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, inside: &str, text: &str) -> Vec<String> {
        let scope = SCOPES.iter().find(|scope| scope.name == name).unwrap();
        check_file(scope, inside, inside, text)
    }

    fn lines(name: &str, inside: &str, text: &str) -> Vec<String> {
        let place = |fault: &String| fault.split(": ").next().unwrap_or_default().to_owned();
        faults(name, inside, text).iter().map(place).collect()
    }

    #[test]
    fn the_core_reads_no_clock_however_it_is_spelled() {
        for source in [
            "fn f() { std::time::Instant::now(); }",
            "use std::time::SystemTime as Clock; fn f() { Clock::now(); }",
            "use jiff::Timestamp; const F: fn() -> Timestamp = Timestamp::now;",
            "fn f() { jiff::Zoned::now(); }",
            "fn f() { info!(at = ?Instant::now()); }",
            "fn f() { Uuid::now_v7(); }",
        ] {
            assert_eq!(lines("conveyor-core", "src/a.rs", source), ["src/a.rs:1"], "{source}");
        }
    }

    #[test]
    fn the_core_does_no_io_and_knows_no_runtime() {
        for source in [
            "use std::{fmt, fs};",
            "fn f() { ::std::net::TcpStream::connect(a); }",
            "use std::thread; fn f() { thread::sleep(d); }",
            "fn f() { println!(\"x\"); }",
            "fn f() { tokio::spawn(g); }",
            "use smol;",
        ] {
            assert_eq!(lines("conveyor-core", "src/a.rs", source), ["src/a.rs:1"], "{source}");
        }
    }

    #[test]
    fn a_fault_says_where_and_why() {
        assert_eq!(
            faults("conveyor-core", "src/a.rs", "\n\nuse std::fs;\n"),
            ["src/a.rs:3: `std::fs`: the core does no I/O"]
        );
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        for source in [
            "//! Never calls `Instant::now` or tokio::spawn.",
            "const S: &str = \"std::fs\";",
            "use std::time::Instant; use std::io::Read; use std::thread::ThreadId;",
            "#[cfg(test)] mod tests { fn f() { std::time::Instant::now(); println!(); } }",
            "#[cfg(feature = \"tokio\")] pub mod tokio;",
            "pub use crate::runtimes::tokio; fn f(tokio: u8) { tokio::x(); tokio + 1 }",
            "fn f() { clock.now(); }",
        ] {
            assert_eq!(faults("conveyor-core", "src/a.rs", source), [""; 0], "{source}");
        }
    }

    #[test]
    fn only_a_runtimes_own_file_knows_it() {
        let tokio = "use tokio::task; fn f() { std::time::Instant::now(); }";
        let smol = "use async_io::Timer;";
        let runtime = "conveyor-runtime";
        assert_eq!(lines(runtime, "src/runtimes/tokio.rs", tokio), [""; 0]);
        assert_eq!(lines(runtime, "src/runtimes/smol.rs", smol), [""; 0]);
        assert_eq!(lines(runtime, "src/runtimes/smol.rs", tokio), ["src/runtimes/smol.rs:1"]);
        assert_eq!(lines(runtime, "src/runtimes/tokio.rs", smol), ["src/runtimes/tokio.rs:1"]);
        assert_eq!(lines(runtime, "src/pool.rs", tokio), ["src/pool.rs:1", "src/pool.rs:1"]);
    }

    #[test]
    fn modules_of_tests_are_found_beside_their_owner() {
        let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        let found = test_files(&[
            file("src/lib.rs", "#[cfg(test)] mod tests; mod pool;"),
            file("src/pool.rs", "#[cfg(test)]\nmod width;"),
        ]);
        assert!(found.contains(Path::new("src/tests.rs")));
        assert!(found.contains(Path::new("src/pool/width.rs")));
        assert!(!found.contains(Path::new("src/pool.rs")));
    }
}

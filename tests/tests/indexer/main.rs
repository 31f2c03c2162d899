//! The example `indexer` as its users see it: a process on a tree with everything in it that a
//! disk may hold.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "what tests share is a test too")]

mod kept;
mod run;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use run::{Run, Tree, indexer, row};

#[test]
fn it_counts_what_is_there_and_nothing_holds_it_up() {
    let tree = Tree::new();
    tree.write("src/main.rs", "fn main() {\n    let x = 1;\n}\n");
    tree.write("src/lib.rs", "//! A lib.\n");
    tree.write("tool", "#!/usr/bin/env python3\nprint(1)\n");
    tree.write("deep/er/empty.txt", "");
    tree.write("target/CACHEDIR.TAG", "");
    tree.write("target/debug/made.rs", "fn main() {}\n");
    tree.write("huge.json", vec![b'7'; 3_000_000]);
    tree.write(OsStr::from_bytes(b"not-\xff-utf8.c"), "int x;\n");
    tree.write("line\nbreak\u{1b}[31m.c", "int y;\n");
    tree.write("l/".repeat(600) + "long.c", "int z;\n");
    tree.write(".git/objects/1.rs", "not ours\n");
    symlink("nowhere", tree.0.join("dangling.rs")).unwrap();
    symlink("..", tree.0.join("src/circle")).unwrap();
    symlink("main.rs", tree.0.join("src/again.rs")).unwrap();
    assert!(Command::new("mkfifo").arg(tree.0.join("fifo.rs")).status().unwrap().success());
    let _socket = UnixListener::bind(tree.0.join("socket.rs")).unwrap();

    let (output, said) = Run::of(&tree, &["--consumers=2"]).end();
    assert!(output.status.success());
    assert_eq!(row(&said, "Rust"), [2, 4, 11, 40]);
    assert_eq!(row(&said, "Python"), [1, 2, 3, 32]);
    assert_eq!(row(&said, "plain text"), [1, 0, 0, 0]);
    assert_eq!(row(&said, "JSON"), [1, 0, 1, 3_000_000]);
    assert_eq!(row(&said, "C "), [3, 3, 6, 21]);
    assert_eq!(row(&said, "total")[0], 8);
    assert!(said.contains("files on disk 8 = indexed 8 + unreadable 0\n"));
    assert!(said.contains("tasks 8 = succeeded 8 + failed 0 + cancelled 0 + crashed 0 + live 0\n"));
    let skipped = "symbolic links 3, special files 2, version control directories 1, caches 1\n";
    assert!(said.contains(skipped));
}

#[test]
fn a_file_that_cannot_be_read_is_retried_and_reported() {
    let tree = Tree::new();
    tree.write("open.rs", "fn main() {}\n");
    for number in 0..12 {
        let path = tree.write(format!("closed-{number:02}\n.rs"), "secret");
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Nothing is closed to root.
    let mut command = if fs::metadata(&tree.0).unwrap().uid() == 0 {
        // Where the build is may be closed to others.
        let copy = tree.0.with_extension("bin");
        fs::copy(indexer(), &copy).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups"]).arg(copy);
        command
    } else {
        Command::new(indexer())
    };
    command.arg(&tree.0);
    let (output, said) = Run::start(command).end();
    let _ = fs::remove_file(tree.0.with_extension("bin"));

    assert!(output.status.success(), "it agrees with the disk all the same");
    assert!(said.contains("\nunreadable files: 12\n"));
    assert!(said.contains("\"closed-00\\n.rs\": Permission denied"));
    assert!(said.contains("\"closed-09\\n.rs\""));
    assert!(!said.contains("\"closed-10"));
    assert!(said.contains("  and 2 more\n"));
    assert!(said.contains("files on disk 13 = indexed 1 + unreadable 12\n"));
    assert!(said.contains("attempts: retried 24,"));
}

#[test]
fn an_interrupt_midway_gives_a_summary() {
    let tree = Tree::new();
    // Without end for this test, and without a byte on disk.
    let huge = fs::File::create(tree.0.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    for number in 0..50 {
        tree.write(format!("{number}.rs"), "fn main() {}\n");
    }
    let run = Run::of(&tree, &["--consumers", "2"]);
    run.wait_for("50 of 51 files");
    run.signal("-INT");
    let (output, said) = run.end();
    assert!(output.status.success());
    assert!(said.starts_with("interrupted"));
    assert_eq!(row(&said, "Rust")[0], 50);
    assert!(said.contains("files on disk 51 = indexed 50 + unreadable 0 + to do 1\n"));
    assert!(said.contains("live 1\n"));
}

#[test]
fn it_watches_and_reads_again_what_changes() {
    let tree = Tree::new();
    tree.write("a.rs", "one\n");
    tree.write("gone.rs", "gone\n");
    // A file that grows while it is looked at, and then rests.
    let mut log = fs::File::create(tree.0.join("log.txt")).unwrap();
    let run = Run::of(&tree, &["--watch", "--interval", "50ms", "--consumers", "1"]);
    for _ in 0..40 {
        log.write_all(b"line\n").unwrap();
        sleep(Duration::from_millis(25));
    }
    tree.write("a.rs", "one two\n");
    tree.write("new.rs", "three\n");
    fs::remove_file(tree.0.join("gone.rs")).unwrap();
    // Seen by a later scan than all of that, and larger: read by the one consumer after them.
    run.wait_for("3 of 3 files");
    tree.write("last.md", vec![b'x'; 50_000]);
    run.wait_for("4 of 4 files");
    run.signal("-TERM");
    let (output, said) = run.end();
    assert!(output.status.success());
    assert_eq!(row(&said, "Rust"), [2, 2, 3, 14]);
    assert_eq!(row(&said, "plain text"), [1, 40, 40, 200]);
    assert!(said.contains("files on disk 4 = indexed 4 + unreadable 0"));
}

#[test]
fn a_mistake_on_the_command_line_is_told() {
    for (arguments, told) in [
        (&["--interval", "soon"][..], "\"soon\""),
        (
            &["--store", "mysql://here"],
            "\"mysql://here\" is no store; there are memory, sqlite:FILE",
        ),
        (&["--store=postgres://127.0.0.1:1/x"], "indexer: the postgres store cannot be reached: "),
        (&["--store=sqlite:/no/such/directory/x"], "/no/such/directory/x"),
        (&["--no-such-option"], "\"--no-such-option\""),
        (&["/no/such/directory"], "cannot list the directory \"/no/such/directory\""),
    ] {
        let mut command = Command::new(indexer());
        command.args(arguments);
        let output = command.output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{told}");
    }
    let mut command = Command::new(indexer());
    command.arg("--help");
    let (output, said) = Run::start(command).end();
    assert!(output.status.success() && said.contains("Skipped"));
}

//! Every example runs to its end and prints what a reader should see: on tokio as it is written,
//! and on smol as `build.rs` has rewritten it. `axum_app` and `indexer` are there for tokio alone:
//! the one's server needs it, and the other's progress and audit are written on it.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the examples are, built once for all tests.
fn examples() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "--package=conveyor-examples", "--examples"])
            .status()
            .expect("cargo can be run");
        assert!(status.success(), "the examples build");
        // This test is in `target/debug/deps`, they are in `target/debug/examples`.
        let test = std::env::current_exe().expect("a test knows where it is");
        test.ancestors().nth(2).expect("it is in a target directory").join("examples")
    })
}

/// The output of an example that was called with these arguments.
fn run(example: &str, arguments: &[&str]) -> String {
    let program = examples().join(example);
    output(example, Command::new("timeout").arg("60").arg(program).args(arguments))
}

/// The outputs of an example on tokio and on smol.
fn run_on_both(example: &str) -> [String; 2] {
    let on_smol = env!("CARGO_BIN_EXE_examples_on_smol");
    [run(example, &[]), output(example, Command::new("timeout").args(["60", on_smol, example]))]
}

fn output(example: &str, command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the example can be run");
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{example}: {status}\n{stdout}\n{stderr}");
    stdout
}

/// Asserts that the lines are there, in this order.
fn assert_lines(output: &str, expected: &[&str]) {
    let mut rest = output;
    for line in expected {
        match rest.split_once(line) {
            Some((_, after)) => rest = after,
            None => panic!("{line:?} is missing, or out of order, in:\n{output}"),
        }
    }
}

#[test]
fn quickstart() {
    for output in run_on_both("quickstart") {
        assert_lines(
            &output,
            &[
                "twice? a live send_email task has the key \"welcome:ada\"",
                "sent a mail to ada@example.com by localhost, at attempt 2",
                "the mail succeeded",
                "1 retried, 0 queued",
            ],
        );
        assert_lines(&output, &["refreshed the cache, for the 1. time", "for the 2. time"]);
    }
}

#[test]
fn priorities() {
    for output in run_on_both("priorities") {
        let lanes = ["critical", "high", "5", "normal", "low"];
        let expected: Vec<String> = lanes
            .iter()
            .flat_map(|lane| [1, 2].map(|number| format!("{lane}: number {number} of its lane")))
            .chain(["did not wait for the long ones".to_owned(), "crunched".to_owned()])
            .collect();
        assert_lines(&output, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn retries_and_panics() {
    for output in run_on_both("retries_and_panics") {
        assert_lines(
            &output,
            &[
                "flaky succeeded",
                "panics_once succeeded",
                "fatal failed: the account is closed",
                "rate_limited succeeded",
                "by_status failed: status 404",
                "slow failed: gave up in good order",
                "not_yet succeeded",
                "4 processed, 3 failed, 5 retried, 1 panicked, 1 timed out, 1 snoozed",
            ],
        );
    }
}

#[test]
fn schedules() {
    for output in run_on_both("schedules") {
        assert_lines(&output, &["heartbeat", "slows down to once an hour", "heartbeats"]);
        // As many pages as were crawled, whatever the machine's mood.
        let crawled = output.matches("crawled page").count();
        assert_lines(&output, &[&format!("{crawled} pages")]);
    }
}

#[test]
fn explain() {
    for output in run_on_both("explain") {
        assert_lines(
            &output,
            &[
                "send_email task ",
                " (queue mail, priority normal) is ended:\n  it succeeded; held by ",
                " (this process), by claim 2\n  it ran before:\n    claim 1, by ",
                ": it failed: the mail server is too busy for ada@example.com\n",
                " is scheduled:\n  it is scheduled until ",
                " is queued:\n  its queue mail is paused; `resume` it\n",
                "1 queued in this page, the first of kind send_email\n",
                "1 scheduled in this page, the first of kind send_email\n",
                "there never was a task of the kind \"send_mail\", and no worker here is for it; \
                 known are send_email\n",
            ],
        );
    }
}

#[test]
fn dedup() {
    for output in run_on_both("dedup") {
        assert_lines(
            &output,
            &[
                "refused: customer:7 is held by the first: true",
                "the first succeeded",
                "again succeeded",
                "1 duplicates were refused",
            ],
        );
    }
}

#[test]
fn shutdown() {
    for output in run_on_both("shutdown") {
        assert_lines(
            &output,
            &[
                "saves its work, since the manager shuts down",
                "2 finished, 2 handed back, 0 abandoned",
                "and nothing is accepted any more",
                "2 queued and 1 scheduled are left for the next start",
            ],
        );
    }
}

#[cfg(unix)]
#[test]
fn on_smol_until_a_signal() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    for signal in ["-INT", "-TERM"] {
        let mut child = Command::new(examples().join("on_smol"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example can be run");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut next = || lines.next().expect("there is another line").expect("it is text");
        while !next().starts_with("tick 2") {}
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        let rest: Vec<String> = std::iter::from_fn(|| lines.next()?.ok()).collect();
        assert!(child.wait().expect("it ends").success());
        assert_lines(&rest.join("\n"), &["stopped: ", "0 abandoned"]);
    }
}

#[cfg(unix)]
#[test]
fn shutdown_by_a_signal() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut child = Command::new(examples().join("shutdown"))
        .arg("wait")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("there is another line").expect("it is text");
    // Both short tasks are done, so the manager runs and listens.
    while !next().starts_with("short") {}
    while !next().starts_with("short") {}
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let rest: Vec<String> = std::iter::from_fn(|| lines.next()?.ok()).collect();
    assert!(child.wait().expect("it ends").success());
    assert_lines(
        &rest.join("\n"),
        &["0 finished, 2 handed back, 0 abandoned", "is accepted any more"],
    );
}

#[test]
fn axum_app() {
    let output = run("axum_app", &["demo"]);
    assert_lines(
        &output,
        &[
            "listening on http://127.0.0.1:",
            "-> 202",
            "-> 409",
            "-> 200 {\"end\":\"succeeded\",\"state\":\"ended\"}",
            "-> 200 {\"active\":0,\"processed\":1,\"queued\":0}",
            "no more requests",
            "no more tasks",
            "1 processed",
        ],
    );
}

#[cfg(unix)]
#[test]
fn axum_app_by_a_signal() {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::Stdio;

    let mut child = Command::new("timeout")
        .arg("60")
        .arg(examples().join("axum_app"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = lines.next().expect("there is a line").expect("it is text");
    let address = first.strip_prefix("listening on http://").expect("it tells its address");
    // A client that keeps its connection must not hold the shutdown up.
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").expect("it takes requests");
    client.read_exact(&mut [0; 64]).expect("it answers");
    // `timeout` passes it on.
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    let rest: Vec<String> = std::iter::from_fn(|| lines.next()?.ok()).collect();
    child.wait().expect("it ends");
    assert_lines(&rest.join("\n"), &["no more requests", "no more tasks"]);
}

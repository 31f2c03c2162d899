//! What a signal to stop does to a process: the same on every runtime.
#![cfg(unix)]
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A process that runs two managers, and says what becomes of them.
struct Service {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(runtime: &str, task: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_run_until_stopped"))
            .args([runtime, task])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Service { process, lines }
    }

    /// Each of the managers says these things, in whatever order.
    fn expect(&mut self, what: &[&str]) {
        let mut expected: Vec<_> = [what, what].concat();
        let mut said: Vec<_> =
            expected.iter().map(|_| self.lines.next().unwrap().unwrap()).collect();
        expected.sort_unstable();
        said.sort_unstable();
        assert_eq!(said, expected);
    }

    fn send(&self, signal: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn let_tasks_end(&mut self) {
        drop(self.process.stdin.take());
    }

    fn assert_success(&mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

fn a_signal_drains_every_manager_and_another_one_is_no_harm(runtime: &str) {
    for signal in ["-TERM", "-INT"] {
        let mut service = Service::start(runtime, "waits");
        service.expect(&["ready"]);
        service.send(signal);
        service.expect(&["draining"]);
        // Its handlers are still at work: it neither dies of these nor hurries.
        service.send("-INT");
        service.send("-TERM");
        service.let_tasks_end();
        service.expect(&["finished 1 returned 0 abandoned 0 active 0 processed 1"]);
        service.assert_success();
    }
}

#[test]
fn on_tokio() {
    a_signal_drains_every_manager_and_another_one_is_no_harm("tokio");
}

#[test]
fn on_tokio_with_one_thread() {
    a_signal_drains_every_manager_and_another_one_is_no_harm("tokio-on-one-thread");
}

#[test]
fn on_smol() {
    a_signal_drains_every_manager_and_another_one_is_no_harm("smol");
}

const HANDED_BACK: &str = "finished 0 returned 1 abandoned 0 active 0 processed 0";

/// The managers stop alike; then, `main` is left, and here the runtimes differ.
#[test]
fn a_process_on_tokio_ends_when_its_blocking_work_does() {
    for runtime in ["tokio", "tokio-on-one-thread"] {
        let mut service = Service::start(runtime, "blocks");
        service.expect(&["ready"]);
        service.send("-TERM");
        service.expect(&["draining", HANDED_BACK]);
        std::thread::sleep(Duration::from_millis(50));
        assert!(service.process.try_wait().unwrap().is_none(), "{runtime} waits for the threads");
        service.let_tasks_end();
        service.assert_success();
    }
}

#[test]
fn a_process_on_smol_does_not_wait_for_its_blocking_work() {
    let mut service = Service::start("smol", "blocks");
    service.expect(&["ready"]);
    service.send("-TERM");
    service.expect(&["draining", HANDED_BACK]);
    service.assert_success();
}

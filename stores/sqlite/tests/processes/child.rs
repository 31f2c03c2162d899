//! Another process: this test binary once more, which does as it is told, line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// What a process is told to be one, and with which file.
const FILE: &str = "CONVEYOR_TEST_FILE";

/// What begins each line that a process says; the rest is the test harness's.
const SAYS: &str = "the process says: ";

/// For how long an answer is waited for; a machine may be slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that was started, and is ended with this.
pub(crate) struct Process {
    child: Child,
    tell: ChildStdin,
    said: Receiver<String>,
}

impl Process {
    /// Starts a process, which runs the test of that name.
    pub(crate) fn start(test: &str, file: &Path) -> Process {
        let mut child = Command::new(std::env::current_exe().expect("it has a name"))
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        let tell = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(SAYS) {
                    // Nobody listens any more.
                    let _ = sender.send(said.to_owned());
                }
            }
        });
        Process { child, tell, said }
    }

    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.tell, "{what}").expect("the process listens");
    }

    pub(crate) fn answer(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("the process answers")
    }

    pub(crate) fn ask(&mut self, what: &str) -> String {
        self.tell(what);
        self.answer()
    }

    /// Whether it says nothing for so long.
    pub(crate) fn is_silent(&self, time: Duration) -> bool {
        self.said.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is done, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file that this process was started with, if it is one of those.
pub(crate) fn file() -> Option<std::path::PathBuf> {
    std::env::var_os(FILE).map(Into::into)
}

/// Answers each line that this process is told.
pub(crate) fn obey(mut answer: impl FnMut(&[&str]) -> String) {
    for line in std::io::stdin().lines() {
        let line = line.expect("lines of text");
        let words: Vec<&str> = line.split(' ').collect();
        println!("{SAYS}{}", answer(&words));
    }
}

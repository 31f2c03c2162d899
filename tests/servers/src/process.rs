//! Processes: started so that none outlives the test, and signalled.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A signal that a test sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It is gone at once.
    Kill,
    /// It stands still.
    Stop,
    /// It goes on.
    Continue,
    /// It is asked to end.
    Terminate,
    /// As `Ctrl-C`; a PostgreSQL server ends without waiting for its clients.
    Interrupt,
    /// A PostgreSQL server ends without writing anything.
    Quit,
}

/// A command for a program that is killed when the thread that starts it ends: as that of a test does
/// when the whole process is killed.
///
/// `setpriv`, which every Debian has, makes it so and then becomes the program, whose id is that of
/// the child.
pub fn dies_with_us(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The same, as another user, with nothing of our own rights. Only root may.
pub(crate) fn dies_with_us_as(user: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--pdeathsig", "KILL", "--"]);
    command.arg(program);
    command
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Sends a signal to a process that we started; nothing happens if it is gone.
///
/// # Errors
/// If there is no `kill` here.
pub fn signal(process: u32, signal: Signal) -> io::Result<()> {
    let name = match signal {
        Signal::Kill => "-KILL",
        Signal::Stop => "-STOP",
        Signal::Continue => "-CONT",
        Signal::Terminate => "-TERM",
        Signal::Interrupt => "-INT",
        Signal::Quit => "-QUIT",
    };
    let mut kill = Command::new("kill");
    kill.args([name, &process.to_string()]).stderr(Stdio::null()).status().map(|_| ())
}

/// The processes that a process started, and theirs.
pub(crate) fn below(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![process];
    let all: Vec<(u32, u32)> = processes().collect();
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|(_, its_parent)| *its_parent == parent);
        for (child, _) in children {
            found.push(*child);
            parents.push(*child);
        }
    }
    found
}

/// Waits until a process is gone; `false` if it is not within that time. One that nobody has waited
/// for yet counts as gone.
pub(crate) fn is_gone_within(process: u32, time: Duration) -> bool {
    let began = Instant::now();
    while status(process).is_some_and(|(_, state)| !['Z', 'X'].contains(&state)) {
        if began.elapsed() > time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Each process and its parent.
fn processes() -> impl Iterator<Item = (u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        status(process).map(|(parent, _)| (process, parent))
    })
}

/// A process's parent and state, if it is there.
fn status(process: u32) -> Option<(u32, char)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After its name, which may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_below_us_and_gone_when_killed() {
        let mut child = dies_with_us("sleep").arg("600").spawn().unwrap();
        assert!(below(std::process::id()).contains(&child.id()));
        assert!(!is_gone_within(child.id(), Duration::from_millis(20)));
        signal(child.id(), Signal::Kill).unwrap();
        assert!(is_gone_within(child.id(), Duration::from_secs(10)));
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let start = || {
            let child = dies_with_us("sleep").arg("600").spawn().unwrap();
            // It is tied to the thread before it becomes the program; not earlier.
            let name = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
            while name().trim() != "sleep" {
                std::thread::yield_now();
            }
            child
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert!(is_gone_within(child.id(), Duration::from_secs(10)));
        assert!(!child.wait().unwrap().success());
    }
}

//! [`Children`]: the worker processes, and what is done to them.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::line::What;
use super::recorder::Recorder;

/// How workers are started.
pub(super) struct Children {
    pub(super) program: PathBuf,
    pub(super) url: String,
    pub(super) lease: Duration,
    pub(super) pipe: PipeWriter,
    pub(super) recorder: Recorder,
    /// What they say when they panic.
    pub(super) said: File,
    pub(super) alive: Vec<Worker>,
    pub(super) started: u32,
}

/// A worker process.
pub(super) struct Worker {
    process: Child,
    number: u32,
    /// When it goes on, if it is stopped.
    goes_on: Option<Instant>,
    /// Whether it was asked to shut down.
    leaves: bool,
}

impl Worker {
    /// Whether nothing was done to it.
    pub(super) fn is_well(&self) -> bool {
        self.goes_on.is_none() && !self.leaves
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.goes_on.is_some()
    }

    fn signal(&self, signal: &str) -> std::io::Result<()> {
        let id = self.process.id().to_string();
        Command::new("kill").args([signal, &id]).status().map(drop)
    }

    /// Gives it an order; one that is gone needs none.
    fn order(&mut self, order: &str) {
        if let Some(orders) = &mut self.process.stdin {
            let _ = writeln!(orders, "{order}");
        }
    }
}

impl Children {
    /// Starts a worker that draws its tasks from that seed.
    pub(super) fn start(&mut self, seed: u64) -> std::io::Result<()> {
        self.started += 1;
        let number = self.started;
        self.recorder.note_of(number, What::Up);
        let process = Command::new(&self.program)
            .args(["worker", "--store", &self.url])
            .args(["--process", &number.to_string(), "--seed", &seed.to_string()])
            .args(["--lease", &self.lease.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(self.pipe.try_clone()?)
            .stderr(self.said.try_clone()?)
            .spawn()?;
        self.alive.push(Worker { process, number, goes_on: None, leaves: false });
        Ok(())
    }

    /// Kills the worker at that place.
    pub(super) fn kill(&mut self, at: usize) -> std::io::Result<()> {
        let worker = &mut self.alive[at];
        self.recorder.note_of(worker.number, What::Kill);
        worker.process.kill()
    }

    /// Stops the worker at that place for so long.
    pub(super) fn stop(&mut self, at: usize, time: Duration) -> std::io::Result<()> {
        let worker = &mut self.alive[at];
        self.recorder.note_of(worker.number, What::Stop);
        worker.goes_on = Some(Instant::now() + time);
        worker.signal("-STOP")
    }

    /// Asks the worker at that place to shut down.
    pub(super) fn shut_down(&mut self, at: usize) {
        let worker = &mut self.alive[at];
        self.recorder.note_of(worker.number, What::ShutDown);
        worker.leaves = true;
        worker.order("stop");
    }

    /// Lets those go on whose time has come, or all.
    pub(super) fn go_on(&mut self, all: bool) -> std::io::Result<()> {
        for worker in &mut self.alive {
            if worker.goes_on.is_some_and(|time| all || time <= Instant::now()) {
                worker.goes_on = None;
                self.recorder.note_of(worker.number, What::GoOn);
                worker.signal("-CONT")?;
            }
        }
        Ok(())
    }

    /// Has all of them enqueue no more.
    pub(super) fn drain(&mut self) {
        self.alive.iter_mut().for_each(|worker| worker.order("drain"));
    }

    /// Takes note of those that are no more, and tells how many there are.
    pub(super) fn bury(&mut self) -> std::io::Result<usize> {
        let before = self.alive.len();
        let mut at = 0;
        while at < self.alive.len() {
            match self.alive[at].process.try_wait()? {
                Some(status) => {
                    let worker = self.alive.swap_remove(at);
                    self.recorder.note_of(worker.number, What::Dead(status.to_string()));
                }
                None => at += 1,
            }
        }
        Ok(before - self.alive.len())
    }
}

/// None outlives the driver: what nobody waits for would torture the machine.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

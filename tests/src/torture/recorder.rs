//! [`Recorder`]: where a process writes down what happens.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use conveyor::Context;

use super::line::{Attempt, Begun, How, Line, What, now};

/// The writing end of the driver's pipe, in the name of one process. Clones share it.
///
/// A line is written by one call, and is shorter than what a pipe takes as a whole: so it is there
/// or not, whatever happens to the process, and never amid another's.
#[derive(Clone)]
pub(super) struct Recorder {
    process: u32,
    pipe: Arc<File>,
}

impl Recorder {
    /// Writes to that pipe.
    pub(super) fn new(process: u32, pipe: OwnedFd) -> Self {
        Recorder { process, pipe: Arc::new(File::from(pipe)) }
    }

    /// Writes to this process's own output, which must be the pipe.
    pub(super) fn to_stdout(process: u32) -> io::Result<Self> {
        Ok(Recorder::new(process, io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Notes what happens in this process.
    pub(super) fn note(&self, what: What) {
        self.note_of(self.process, what);
    }

    /// Notes what happens to another process.
    pub(super) fn note_of(&self, process: u32, what: What) {
        let line = Line { at: now(), by: process, what }.written();
        // Without a reader the driver is gone, and with it whoever would want to know.
        let _ = (&*self.pipe).write_all(line.as_bytes());
    }

    /// Notes that a handler begins.
    pub(super) fn begin(&self, ctx: &Context) -> Running {
        let attempt = Attempt { task: ctx.id(), epoch: ctx.epoch() };
        let kind = ctx.kind().as_str().to_owned();
        let key = ctx.key().map(|key| key.as_str().to_owned());
        self.note(What::Start(attempt, Begun { kind, key, attempt: ctx.attempt() }));
        Running { recorder: self.clone(), attempt, how: How::Dropped }
    }
}

/// A handler that has begun. Its end is noted when this is dropped.
pub(super) struct Running {
    recorder: Recorder,
    attempt: Attempt,
    how: How,
}

impl Running {
    /// Notes that it was told to stop.
    pub(super) fn told(&self, why: String) {
        self.recorder.note(What::Told(self.attempt, why));
    }

    /// Notes its end.
    pub(super) fn end(mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.recorder.note(What::End(self.attempt, self.how));
    }
}

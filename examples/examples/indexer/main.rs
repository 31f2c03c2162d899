//! Indexes a directory: language, lines, words, bytes and a hash of each file.
//!
//! ```text
//! cargo run --release --example indexer -- [DIR]
//! ```
//!
//! A producer scans the directory at an interval, and makes a task for each file that is new or
//! has changed; consumers read the files. See `worker.rs` first.

mod index;
mod options;
mod read;
mod report;
mod scan;
mod worker;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor::prelude::*;
use conveyor::{Counts, Metrics};
use tokio::sync::oneshot;

use crate::index::Index;
use crate::options::{Command, Options};
use crate::report::Report;
use crate::scan::{Scan, scan};
use crate::worker::{Indexer, QUEUE};

/// How long files that are being read have to be done after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

/// How often the progress is shown, and looked at whether all is done.
const LOOK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Index(options)) => options,
        Ok(Command::Help) => {
            return print(options::HELP).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        Err(error) => {
            eprintln!("indexer: {error}");
            return ExitCode::from(2);
        }
    };
    match run_on_tokio(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("indexer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_on_tokio(options: Options) -> conveyor::Result<bool> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(run(options));
    // Dropped, it would wait for a read that a dead file server holds up.
    runtime.shutdown_background();
    result
}

/// Indexes, and tells what came of it; `false` if what was counted does not agree.
async fn run(options: Options) -> conveyor::Result<bool> {
    let Options { root, interval, watch, consumers } = options;
    if let Err(error) = std::fs::read_dir(&root) {
        return Err(cannot_list(&root, &error).into());
    }
    let began = Instant::now();
    let index = Arc::new(Index::default());
    let mut builder = Manager::builder()
        .shared_state(Arc::clone(&index))
        .register(Indexer { root: root.clone() })
        .default_schedule(Schedule::every(interval)?)
        .shutdown_grace(GRACE);
    if let Some(consumers) = consumers {
        builder = builder.consumers(consumers);
    }
    let manager = builder.build()?;

    let (tell, mut told) = oneshot::channel();
    let observer = Observer { manager: manager.clone(), index: Arc::clone(&index), root, interval };
    let observer = tokio::spawn(observer.observe(watch, tell));
    // Until Ctrl-C, SIGTERM, or the observer's shutdown.
    manager.run().await?;
    observer.abort();
    clear_progress();

    let report = match told.try_recv() {
        Ok(done) => done?,
        Err(_) => {
            let counts = of_files(&manager.metrics());
            Report { index: index.snapshot(), counts, audit: None }
        }
    };
    let done = report.audit.is_some();
    let (summary, agrees) = report.summary(began.elapsed());
    if !done {
        print("interrupted: this is what was done until then\n\n")?;
    }
    print(&summary)?;
    Ok(agrees || !done)
}

/// Shows the progress, and shuts the manager down when the tree is done.
struct Observer {
    manager: Manager,
    index: Arc<Index>,
    root: PathBuf,
    interval: Duration,
}

impl Observer {
    async fn observe(self, watch: bool, tell: oneshot::Sender<conveyor::Result<Report>>) {
        let began = Instant::now();
        let mut shown = Shown::default();
        let mut next_audit = began;
        loop {
            tokio::time::sleep(LOOK).await;
            let metrics = self.manager.metrics();
            let files = of_files(&metrics);
            shown.show(&report::progress(self.index.progress(), files.failed, began.elapsed()));
            let scanned = metrics.ended() > files.ended();
            if watch || !scanned || files.live() > 0 || Instant::now() < next_audit {
                continue;
            }
            // Whatever the audit finds to be done, the producer finds as well.
            next_audit = Instant::now() + self.interval;
            let done = self.audit().await;
            if let Some(done) = done.transpose() {
                // Nobody listens if a signal came first.
                let _ = tell.send(done);
                let Ok(_) = self.manager.shutdown(GRACE).await;
                return;
            }
        }
    }

    /// Looks whether everything on disk is known, while nothing moves; if not, goes on.
    async fn audit(&self) -> conveyor::Result<Option<Report>> {
        self.manager.pause(QUEUE).await?;
        let metrics = self.manager.metrics();
        if metrics.active == 0 && of_files(&metrics).live() == 0 {
            let (root, index) = (self.root.clone(), Arc::clone(&self.index));
            let audit = tokio::task::spawn_blocking(move || -> io::Result<(Scan, bool)> {
                let audit = scan(&root, || false)?;
                let done = index.compare(&audit).is_empty();
                Ok((audit, done))
            });
            let (audit, done) = audit.await?.map_err(|error| cannot_list(&self.root, &error))?;
            if done {
                let (index, counts) = (self.index.snapshot(), of_files(&metrics));
                return Ok(Some(Report { index, counts, audit: Some(audit) }));
            }
        }
        self.manager.resume(QUEUE).await?;
        Ok(None)
    }
}

fn cannot_list(root: &Path, error: &io::Error) -> String {
    format!("cannot list the directory {root:?}: {error}")
}

/// What is counted of the files' tasks; the scans are tasks too.
fn of_files(metrics: &Metrics) -> Counts {
    metrics.kind(Indexer::CONSUME.kind().as_str())
}

/// How often a line of progress is added where it cannot be replaced.
const SHOW: Duration = Duration::from_secs(1);

/// The progress as it was last shown: a line that changes on a terminal, some lines elsewhere.
#[derive(Default)]
struct Shown {
    line: String,
    at: Option<Instant>,
}

impl Shown {
    fn show(&mut self, line: &str) {
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{line}");
            return;
        }
        // What was done and what is to do; not the speed, which always changes.
        let state = line.split('(').next().unwrap_or_default();
        if state != self.line && self.at.is_none_or(|at| at.elapsed() >= SHOW) {
            eprintln!("{line}");
            state.clone_into(&mut self.line);
            self.at = Some(Instant::now());
        }
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}

/// Prints a text; whoever has read enough of it may leave.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

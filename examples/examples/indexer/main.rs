//! Indexes a directory: language, lines, words, bytes and a hash of each file.
//!
//! ```text
//! cargo run --release --example indexer -- [DIR]
//! cargo run --release --example indexer -- --store sqlite:index.db [DIR]
//! ```
//!
//! A producer scans the directory at an interval, and makes a task for each file that is new or
//! has changed; consumers read the files. See `worker.rs` first, then `place.rs`: with a store that
//! outlives the process, so does the index, and whoever starts again goes on.

mod index;
mod options;
mod place;
mod read;
mod report;
mod scan;
mod table;
mod worker;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conveyor::prelude::*;
use conveyor::{Counts, Metrics};
use tokio::sync::oneshot;

use crate::index::Index;
use crate::options::{Command, Options};
use crate::report::Report;
use crate::scan::Tree;
use crate::worker::Indexer;

/// How long files that are being read have to be done after Ctrl-C.
const GRACE: Duration = Duration::from_secs(2);

/// How long a process that was killed holds the files that it was reading.
const LEASE: Duration = Duration::from_secs(5);

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
    let Options { root, store, interval, watch, consumers } = options;
    let began = Instant::now();
    let mut tree = Tree::open(&root).map_err(|error| cannot_list(&root, &error))?;
    let mut builder = Manager::builder()
        .default_schedule(Schedule::every(interval)?)
        .lease(LEASE)
        .shutdown_grace(GRACE);
    if let Some(consumers) = consumers {
        builder = builder.consumers(consumers);
    }
    let (builder, index) = store.open(&mut tree, builder).await?;
    let index = Arc::new(index);
    let manager = builder
        .shared_state(Arc::clone(&index))
        .register(Indexer { tree: tree.clone() })
        .build()?;
    let waiting = of_files(&manager.fetch_metrics().await?).live();
    let indexed = index.progress().known;
    if indexed > 0 || waiting > 0 {
        eprintln!("going on: {indexed} files were indexed before, {waiting} wait");
    }

    let (tell, mut told) = oneshot::channel();
    let observer = Observer { manager: manager.clone(), index: Arc::clone(&index), tree, interval };
    let observer = tokio::spawn(observer.observe(watch, tell));
    // Until Ctrl-C, SIGTERM, or the observer's shutdown.
    manager.run().await?;
    observer.abort();
    clear_progress();

    let report = match told.try_recv() {
        Ok(done) => done?,
        Err(_) => {
            let counts = of_files(&manager.fetch_metrics().await?);
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
    tree: Tree,
    interval: Duration,
}

impl Observer {
    async fn observe(self, watch: bool, tell: oneshot::Sender<conveyor::Result<Report>>) {
        let began = Instant::now();
        let mut shown = Shown::default();
        let mut next_audit = began;
        loop {
            tokio::time::sleep(LOOK).await;
            let progress = self.index.progress();
            shown.show(&report::progress(progress, began.elapsed()));
            if watch || progress.on_disk.is_none() || Instant::now() < next_audit {
                continue;
            }
            // A store that is away comes back: the manager waits for it as well.
            let Ok(metrics) = self.manager.fetch_metrics().await else { continue };
            if of_files(&metrics).live() > 0 {
                continue;
            }
            // Whatever the audit finds to be done, the producer finds as well.
            next_audit = Instant::now() + self.interval;
            let done = self.audit(of_files(&metrics)).await;
            if let Some(done) = done.transpose() {
                // Nobody listens if a signal came first.
                let _ = tell.send(done);
                let Ok(_) = self.manager.shutdown(GRACE).await;
                return;
            }
        }
    }

    /// Looks whether everything on disk is known, and nothing was counted meanwhile.
    async fn audit(&self, before: Counts) -> conveyor::Result<Option<Report>> {
        let tree = self.tree.clone();
        let audit = tokio::task::spawn_blocking(move || tree.scan(|| false)).await?;
        let audit = audit.map_err(|error| cannot_list(&self.tree.root, &error))?;
        let due = self.index.compare(&audit).await?;
        let counts = of_files(&self.manager.fetch_metrics().await?);
        if !due.is_empty() || counts != before {
            return Ok(None);
        }
        Ok(Some(Report { index: self.index.snapshot(), counts, audit: Some(audit) }))
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

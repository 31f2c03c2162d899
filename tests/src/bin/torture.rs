//! Tortures a store with real processes, and says which promises were broken.
//!
//! ```text
//! torture [--store sqlite|postgres] [--seconds N] [--seed S] [--folder PATH]
//! ```
//!
//! With `worker` before the options it is one of those processes; the driver starts it so.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use conveyor_tests::torture::checker::Broken;
use conveyor_tests::torture::driver::{Plan, torture};
use conveyor_tests::torture::worker::{Orders, work};

/// How long claims hold: short, so that much happens.
const LEASE: Duration = Duration::from_secs(2);

/// How many broken promises are printed; the others are in a file.
const TOLD: usize = 20;
/// Of how many the story is printed too, and how many lines of it at most.
const STORIES: usize = 3;
const STORY: usize = 80;

/// What the command line says.
#[derive(Default)]
struct Arguments {
    worker: bool,
    store: Option<String>,
    seconds: Option<u64>,
    seed: Option<u64>,
    folder: Option<PathBuf>,
    process: u32,
    lease: Option<u64>,
}

fn main() -> ExitCode {
    let result = parse(std::env::args().skip(1)).and_then(|arguments| {
        if arguments.worker { run_worker(arguments) } else { run_driver(arguments) }
    });
    result.unwrap_or_else(|error| {
        eprintln!("torture: {error}");
        ExitCode::from(2)
    })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> conveyor::Result<Arguments> {
    let mut parsed = Arguments::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "worker" => parsed.worker = true,
            "--store" => parsed.store = Some(value()?),
            "--seconds" => parsed.seconds = Some(value()?.parse()?),
            "--seed" => parsed.seed = Some(value()?.parse()?),
            "--folder" => parsed.folder = Some(value()?.into()),
            "--process" => parsed.process = value()?.parse()?,
            "--lease" => parsed.lease = Some(value()?.parse()?),
            other => {
                let usage =
                    "torture [--store sqlite|postgres] [--seconds N] [--seed S] [--folder PATH]";
                return Err(format!("there is no {other:?}; {usage}").into());
            }
        }
    }
    Ok(parsed)
}

fn run_worker(arguments: Arguments) -> conveyor::Result<ExitCode> {
    let orders = Orders {
        process: arguments.process,
        url: arguments.store.ok_or("a worker needs a --store")?,
        seed: arguments.seed.unwrap_or_default(),
        lease: arguments.lease.map_or(LEASE, Duration::from_millis),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build()?.block_on(work(orders))?;
    Ok(ExitCode::SUCCESS)
}

fn run_driver(arguments: Arguments) -> conveyor::Result<ExitCode> {
    let store = arguments.store.unwrap_or_else(|| "sqlite".to_owned());
    let seconds = arguments.seconds.unwrap_or(60);
    let seed = arguments.seed.unwrap_or_else(drawn);
    let parent = arguments.folder.unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("conveyor-torture-{store}-{seed}-{}", std::process::id()));
    println!("torture {store}: seed {seed}, {seconds} s, files in {}", folder.display());
    let outcome = torture(&Plan {
        program: std::env::current_exe()?,
        folder: folder.clone(),
        store: store.clone(),
        time: Duration::from_secs(seconds),
        seed,
        lease: LEASE,
    })?;
    for broken in outcome.broken.iter().take(TOLD) {
        println!("broken: {broken}");
    }
    for broken in outcome.broken.iter().take(STORIES) {
        println!("the story of {broken}:");
        story(broken, &outcome.history)?.iter().for_each(|line| println!("  {line}"));
    }
    println!("torture {store}: seed {seed}, {seconds} s, {}", outcome.tally);
    if outcome.broken.is_empty() {
        std::fs::remove_dir_all(folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let all: String = outcome.broken.iter().map(|broken| format!("{broken}\n")).collect();
    let broken = folder.join("broken.txt");
    std::fs::write(&broken, all)?;
    println!("{} times a promise was broken: {}", outcome.broken.len(), broken.display());
    println!("the history: {}", outcome.history.display());
    println!("again: cargo xtask torture --store {store} --seconds {seconds} --seed {seed}");
    Ok(ExitCode::FAILURE)
}

/// What the history tells of its tasks, and what befell the ground in between; the end of it, if it
/// is long.
fn story(broken: &Broken, history: &Path) -> conveyor::Result<Vec<String>> {
    let tasks: Vec<String> = broken.tasks.iter().map(ToString::to_string).collect();
    let history = std::fs::read_to_string(history)?;
    let is_told = |line: &&str| tasks.iter().any(|task| line.contains(task));
    let ground = ["\"server_kill\"", "\"server_up\"", "\"wire\""];
    let is_ground = |line: &&str| ground.iter().any(|what| line.contains(what));
    let lines = history.lines().skip_while(|line| !is_told(line));
    let mut lines: Vec<_> = lines.filter(|line| is_told(line) || is_ground(line)).collect();
    let last = lines.iter().rposition(is_told).map_or(0, |last| last + 1);
    lines.truncate(last);
    Ok(lines[last.saturating_sub(STORY)..].iter().map(ToString::to_string).collect())
}

/// A seed that nobody chose, short enough to type.
fn drawn() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 16
}

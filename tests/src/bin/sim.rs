//! Makes a world for each of many seeds, and says which promises were broken in them.
//!
//! ```text
//! sim [--seeds N] [--first S] [--seed S] [--twice] [--history]
//! ```
//!
//! In a build with `--cfg conveyor_plant`, `--plants` plants each known bug in turn, and says at
//! which seed it is caught: the checker is worth what it finds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conveyor_core::worker::panic_text;
use conveyor_tests::world::{self, World};

/// What to run.
#[derive(Clone, Copy, Debug)]
struct Arguments {
    first: u64,
    seeds: u64,
    /// Each seed twice, to see that it is the same world.
    twice: bool,
    /// The whole history, not only the story of what went wrong.
    history: bool,
    /// Each known bug is planted, and must be caught.
    plants: bool,
    /// No more seeds after the first that goes wrong.
    until_wrong: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if arguments.plants {
        return catch_plants(arguments);
    }
    let began = Instant::now();
    Run::of(arguments).tell(began.elapsed())
}

#[cfg(not(conveyor_plant))]
fn catch_plants(_: Arguments) -> ExitCode {
    eprintln!(
        "nothing can be planted in this build; build with RUSTFLAGS=\"--cfg conveyor_plant\""
    );
    ExitCode::from(2)
}

/// Plants one bug after the other, each until a world shows it.
#[cfg(conveyor_plant)]
fn catch_plants(arguments: Arguments) -> ExitCode {
    use conveyor_core::plant::{Plant, plant};

    let mut all_caught = true;
    for bug in Plant::ALL {
        plant(Some(bug));
        let run = Run::of(Arguments { until_wrong: true, ..arguments });
        let mut done = run.done.into_inner().expect("no thread panics with it");
        done.wrong.sort();
        match done.wrong.first() {
            Some((seed, report)) => {
                let what = report.lines().find(|line| line.starts_with("at "));
                let what = what.or(report.lines().next()).unwrap_or_default();
                println!("{bug}: caught at seed {seed}: {what}");
            }
            None => {
                println!("{bug}: NOT CAUGHT in {} worlds", done.worlds);
                all_caught = false;
            }
        }
    }
    if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        first: 0,
        seeds: 2_000,
        twice: false,
        history: false,
        plants: false,
        until_wrong: false,
    };
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().ok_or(format!("{argument} takes a number"))?;
            text.parse::<u64>()
                .map_err(|error| format!("{argument} takes a number: {text:?}: {error}"))
        };
        match argument.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--first" => parsed.first = number()?,
            "--seed" => (parsed.first, parsed.seeds) = (number()?, 1),
            "--twice" => parsed.twice = true,
            "--history" => parsed.history = true,
            "--plants" => parsed.plants = true,
            other => {
                return Err(format!(
                    "there is no {other:?}; \
                     sim [--seeds N] [--first S] [--seed S] [--twice] [--history] [--plants]"
                ));
            }
        }
    }
    Ok(parsed)
}

#[derive(Default)]
struct Run {
    next: AtomicU64,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    worlds: u64,
    events: u64,
    time: Duration,
    most_steps: u64,
    /// What went wrong, by seed.
    wrong: Vec<(u64, String)>,
}

impl Run {
    /// Runs them all, on every core.
    fn of(arguments: Arguments) -> Self {
        let run = Run::default();
        let threads = std::thread::available_parallelism().map_or(1, Into::into);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| run.work(arguments));
            }
        });
        run
    }

    fn work(&self, arguments: Arguments) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= arguments.seeds || (arguments.until_wrong && self.is_wrong()) {
                return;
            }
            let seed = arguments.first + n;
            let made = make(seed, arguments);
            let mut done = self.done.lock().expect("no thread panics with it");
            done.worlds += 1;
            match made {
                Ok(world) => {
                    done.events += world.events.len() as u64;
                    done.time += world.time;
                    done.most_steps = done.most_steps.max(world.steps);
                }
                Err(report) => done.wrong.push((seed, report)),
            }
        }
    }

    fn is_wrong(&self) -> bool {
        !self.done.lock().expect("no thread panics with it").wrong.is_empty()
    }

    fn tell(self, took: Duration) -> ExitCode {
        let Done { worlds, events, time, most_steps, mut wrong } =
            self.done.into_inner().expect("as above");
        wrong.sort();
        if let Some((_, report)) = wrong.first() {
            println!("{report}");
        }
        let per_second = events as f64 / took.as_secs_f64();
        println!(
            "{worlds} worlds, {} of them wrong: {:.0} simulated hours and {events} events in \
             {took:.1?}, {per_second:.0} events a second; at most {most_steps} steps a world",
            wrong.len(),
            time.as_secs_f64() / 3_600.0,
        );
        if wrong.is_empty() {
            return ExitCode::SUCCESS;
        }
        let seeds: Vec<u64> = wrong.iter().map(|(seed, _)| *seed).collect();
        println!("the seeds that went wrong: {seeds:?}; replay one with --seed {}", seeds[0]);
        ExitCode::FAILURE
    }
}

fn make(seed: u64, arguments: Arguments) -> Result<World, String> {
    let run = || {
        catch_unwind(AssertUnwindSafe(|| world::run(seed)))
            .map_err(|panic| format!("seed {seed}: {}", panic_text(&*panic)))
    };
    let world = run()?;
    if arguments.history {
        world.events.iter().for_each(|event| println!("{event}"));
    }
    if !world.broken.is_empty() {
        return Err(world.report());
    }
    if arguments.twice && !world.is_same(&run()?) {
        return Err(format!("seed {seed}: it is another world the second time"));
    }
    Ok(world)
}

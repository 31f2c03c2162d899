//! The role of the driver: chaos, then rest, then the question whether every promise was kept.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conveyor::{Filter, Kind, Manager, Store, Task, TaskId};
use conveyor_testkit::Random;

use super::checker::{AtRest, Broken, History, Rules, check};
use super::children::Children;
use super::ground::Ground;
use super::line::{Line, What};
use super::load::Load;
use super::open::open;
use super::recorded::RecordedStore;
use super::recorder::Recorder;
use super::report::Tally;

/// How many workers there are at a time.
const WORKERS: usize = 4;
/// How many of them may be stopped at once.
const MAY_BE_STOPPED: usize = 2;
/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(120);
/// How long the driver waits before it looks again.
const LOOK: Duration = Duration::from_millis(10);

/// What a torture is made of.
pub struct Plan {
    /// What the workers are started as.
    pub program: PathBuf,
    /// Where its files are.
    pub folder: PathBuf,
    /// The name of the store.
    pub store: String,
    /// How long the chaos lasts.
    pub time: Duration,
    /// What everything that is drawn is drawn from.
    pub seed: u64,
    /// How long claims hold.
    pub lease: Duration,
}

/// What came of it.
pub struct Outcome {
    /// What happened how often.
    pub tally: Tally,
    /// Promises that were broken.
    pub broken: Vec<Broken>,
    /// Where the history is.
    pub history: PathBuf,
}

/// Tortures the store.
///
/// # Errors
/// If processes, files or the store are not to be had: then nothing was shown.
pub fn torture(plan: &Plan) -> conveyor::Result<Outcome> {
    std::fs::create_dir_all(&plan.folder)?;
    let path = plan.folder.join("history.jsonl");
    let (reader, pipe) = std::io::pipe()?;
    let written = write_down(reader, &path)?;
    let recorder = Recorder::new(0, pipe.try_clone()?.into());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    let mut ground = Ground::new(&plan.store, &plan.folder, plan.seed)?;
    let manager = runtime.block_on(async {
        let store = RecordedStore::new(open(&ground.url()).await?, recorder.clone());
        Ok::<_, conveyor::Error>(Manager::builder().store(Arc::new(store)).build()?)
    })?;

    let accepted = Arc::<Mutex<Vec<TaskId>>>::default();
    let producer = runtime.spawn({
        let (manager, recorder, accepted) = (manager.clone(), recorder.clone(), accepted.clone());
        let mut load = Load::new(plan.seed);
        async move {
            loop {
                let new = load.enqueue(&manager, &recorder).await;
                accepted.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
                tokio::time::sleep(load.pause()).await;
            }
        }
    });
    let mut children = Children {
        program: plan.program.clone(),
        url: ground.url(),
        lease: plan.lease,
        pipe,
        recorder: recorder.clone(),
        said: File::create(plan.folder.join("stderr.log"))?,
        alive: Vec::new(),
        started: 0,
    };
    let mut random = Random::new(plan.seed ^ 0x0074_6f72_7475_7265);
    for _ in 0..WORKERS {
        children.start(random.next_u64())?;
    }
    let ends = Instant::now() + plan.time;
    let mut next_poison = Instant::now() + Duration::from_secs(1);
    let mut next_trouble = Instant::now() + Duration::from_secs(3);
    let mut next_fault = Instant::now() + Duration::from_millis(500);
    while Instant::now() < ends {
        thread::sleep(LOOK);
        for _ in 0..children.bury()? {
            children.start(random.next_u64())?;
        }
        children.go_on(false)?;
        ground.mend(false, &recorder);
        if Instant::now() >= next_fault {
            next_fault = Instant::now() + Duration::from_millis(100 + random.below(900) as u64);
            fault(&mut children, &mut random, plan.lease)?;
        }
        if Instant::now() >= next_trouble {
            next_trouble = Instant::now() + Duration::from_millis(500 + random.below(2_500) as u64);
            ground.disturb(&mut random, plan.lease, &recorder)?;
        }
        if Instant::now() >= next_poison {
            next_poison =
                Instant::now() + Duration::from_millis(4_000 + random.below(4_000) as u64);
            let victim = {
                let accepted = accepted.lock().unwrap_or_else(PoisonError::into_inner);
                let newest = accepted.len().saturating_sub(random.below(6));
                accepted.get(newest).copied()
            };
            let (manager, recorder) = (manager.clone(), recorder.clone());
            runtime.spawn(async move {
                if let Ok(receipt) = manager.enqueue(Task::new("poison", ())).await {
                    recorder.note(What::Acknowledged(receipt.id()));
                }
                if let Some(id) = victim {
                    // What the store answers to that is written down where it is called.
                    let _ = manager.cancel(id).await;
                }
            });
        }
    }

    producer.abort();
    ground.mend(true, &recorder);
    children.go_on(true)?;
    children.drain();
    recorder.note(What::Calm);
    let store = runtime.block_on(open(&ground.sure_url()))?;
    let mut broken = Vec::new();
    let kept_going = come_to_rest(&mut children, &mut random, &runtime, &store)?;
    if let Some(live) = kept_going {
        broken
            .push(Broken::new([], format!("{live} tasks are live {REST:?} after the last fault")));
    }
    let rest = runtime.block_on(look(&store))?;
    drop(children);
    recorder.note(What::Over);
    let lines = written.join().map_err(|_| "the history could not be written")??;
    let history = History::new(lines);
    let rules = Rules { may_fail: ground.may_fail() };
    broken.extend(check(&history, &rest, &rules));
    let lost = broken.iter().filter(|broken| broken.is_loss()).count();
    Ok(Outcome { tally: Tally::of(&history, rest.tasks.len(), lost), broken, history: path })
}

/// Does something to somebody.
fn fault(children: &mut Children, random: &mut Random, lease: Duration) -> conveyor::Result<()> {
    let at = random.below(children.alive.len().max(1));
    let what = random.below(10);
    let Some(worker) = children.alive.get(at) else { return Ok(()) };
    let stopped = children.alive.iter().filter(|worker| worker.is_stopped()).count();
    match what {
        // Also one that is stopped, or shuts down.
        0..6 => children.kill(at)?,
        6..9 if worker.is_well() && stopped < MAY_BE_STOPPED => {
            let millis = lease.as_millis() as usize;
            let time = Duration::from_millis((millis / 4 + random.below(millis * 2)) as u64);
            children.stop(at, time)?;
        }
        _ if worker.is_well() => children.shut_down(at),
        _ => {}
    }
    Ok(())
}

/// Waits until all tasks have ended, and all workers have stopped; if that takes too long, it tells
/// how many tasks are live.
fn come_to_rest(
    children: &mut Children,
    random: &mut Random,
    runtime: &tokio::runtime::Runtime,
    store: &Arc<dyn Store>,
) -> conveyor::Result<Option<u64>> {
    let ends = Instant::now() + REST;
    let schedule = Kind::new("tick")?;
    // The schedule goes on for a while, as it must.
    let ticks_until = Instant::now() + Duration::from_secs(5);
    let mut ticks = true;
    loop {
        thread::sleep(LOOK * 5);
        // A poison takes its process with it now, too.
        for _ in 0..children.bury()? {
            children.start(random.next_u64())?;
            children.drain();
        }
        let counters = runtime.block_on(store.counters())?;
        let (live, of_ticks) = (counters.total().live(), counters.kind("tick").live());
        if live == of_ticks && ticks && ticks_until <= Instant::now() {
            runtime.block_on(store.remove_schedule(&schedule))?;
            ticks = false;
        } else if live == 0 && !ticks {
            break;
        }
        if Instant::now() > ends {
            return Ok(Some(live));
        }
    }
    (0..children.alive.len()).for_each(|at| children.shut_down(at));
    while !children.alive.is_empty() {
        children.bury()?;
        if Instant::now() > ends {
            return Err("workers do not stop".into());
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}

/// All that the store holds.
async fn look(store: &Arc<dyn Store>) -> conveyor::Result<AtRest> {
    let mut filter = Filter { limit: 1_000, ..Filter::default() };
    let mut tasks = Vec::new();
    loop {
        let page = store.inspect(&filter).await?;
        tasks.extend(page.tasks);
        filter.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    Ok(AtRest { tasks, counts: store.counters().await?.total() })
}

/// Reads what the processes write, until the last line, and keeps it in a file.
fn write_down(
    pipe: PipeReader,
    path: &Path,
) -> conveyor::Result<JoinHandle<std::io::Result<Vec<Line>>>> {
    let mut file = BufWriter::new(File::create(path)?);
    Ok(thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(pipe).lines() {
            let line = line?;
            writeln!(file, "{line}")?;
            let line: Line = serde_json::from_str(&line)?;
            let over = line.what == What::Over;
            lines.push(line);
            if over {
                break;
            }
        }
        file.flush()?;
        Ok(lines)
    }))
}

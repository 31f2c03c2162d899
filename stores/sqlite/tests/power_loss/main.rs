//! Loss of power: whatever the disk has at that instant of what was written and not synced, no
//! acknowledged task is lost, and nothing is there by half.
//!
//! A small run is recorded as the disk sees it. For each instant of it the files are made anew that
//! a loss of power may leave, and a store is opened on them.
#![cfg(unix)]
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(unsafe_code, reason = "SQLite's way to its files is an interface of C")]

mod disk;
mod file;
mod run;
#[path = "../scene/mod.rs"]
mod scene;
mod vfs;

use std::path::Path;

use conveyor_core::Store;
use conveyor_core::store::{Durability, Filter};
use conveyor_sqlite::Synchronous;
use tempfile::TempDir;

use disk::{Disk, Unsynced};
use run::Run;
use scene::{done, id, task};
use vfs::Event;

/// What a caller was told, and when.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// The step of this number is done.
    Step(usize),
    /// The call of this number is answered, of those that are made at once.
    Answered(usize),
}

/// How many random states are looked at for each event.
const RANDOM: u64 = 1;

/// What was found in all states.
#[derive(Debug, Default)]
struct Found {
    events: usize,
    states: usize,
    /// Those without something that was acknowledged, the first in words.
    lost: usize,
    first_loss: Option<String>,
}

/// What had been acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    /// The last step that was done, if the store was open yet.
    step: Option<usize>,
    calls: Vec<usize>,
}

#[test]
fn full_loses_nothing_that_was_acknowledged() {
    let found = lose_power_everywhere(Synchronous::Full, Durability::PowerLoss);
    assert_eq!(found.lost, 0, "{}", found.first_loss.unwrap_or_default());
}

#[test]
fn normal_loses_the_last_moments_at_most_and_says_so() {
    let found = lose_power_everywhere(Synchronous::Normal, Durability::ProcessCrash);
    assert!(found.lost > 0, "else a loss of power would not be seen by these tests");
}

fn lose_power_everywhere(synchronous: Synchronous, label: Durability) -> Found {
    let folder = in_memory();
    let run = run::run(folder.path(), synchronous);
    let opened = run.events.iter().skip_while(|event| !matches!(event, Event::Note(_)));
    let moved = opened
        .filter(|event| matches!(event, Event::Write(path, ..) if path.ends_with("tasks.db")));
    assert!(moved.count() > 20, "commits were moved into the database, where it matters most");
    let mut disk = Disk::default();
    let mut acknowledged = Acknowledged::default();
    let mut before = [None, None];
    let mut found = Found::default();
    for (number, event) in (0..).zip(&run.events) {
        disk.tell(event);
        match event {
            Event::Note(Note::Step(step)) => {
                acknowledged = Acknowledged { step: Some(*step), calls: Vec::new() };
            }
            Event::Note(Note::Answered(call)) => acknowledged.calls.push(*call),
            _ => {}
        }
        found.events += 1;
        let some = (0..RANDOM).map(|part| Unsynced::Some(number * RANDOM + part));
        let some = some.filter(|_| !disk.is_synced());
        for unsynced in [Unsynced::Nothing, Unsynced::All].into_iter().chain(some) {
            let files = disk.after_loss(unsynced);
            // An event may leave a state as it was, and tell nobody anything.
            let told = (acknowledged.step, acknowledged.calls.len());
            let last = match unsynced {
                Unsynced::Nothing => Some(&mut before[0]),
                Unsynced::All => Some(&mut before[1]),
                Unsynced::Some(_) => None,
            };
            if let Some(last) = last {
                let state = Some((files.clone(), told));
                if *last == state {
                    continue;
                }
                *last = state;
            }
            found.states += 1;
            let left = in_memory();
            for (name, contents) in files {
                let name = name.file_name().expect("it is in a folder");
                std::fs::write(left.path().join(name), contents).expect("it is written");
            }
            let at =
                format!("{synchronous:?}, {unsynced:?} after event {number}, {acknowledged:?}");
            if let Some(loss) = look(left.path(), &run, &acknowledged, synchronous, label, &at) {
                found.lost += 1;
                found.first_loss.get_or_insert(loss);
            }
        }
    }
    println!(
        "{synchronous:?}: {} steps, {} events, {} states of the disk, {} with a loss",
        run.contents.len(),
        found.events,
        found.states,
        found.lost
    );
    assert!(found.events > 300 && found.states > found.events, "the run is no run: {found:?}");
    found
}

/// Opens a store on what is left, which must be sound; what is lost, if something is.
fn look(
    folder: &Path,
    run: &Run,
    acknowledged: &Acknowledged,
    synchronous: Synchronous,
    label: Durability,
    at: &str,
) -> Option<String> {
    let path = folder.join("tasks.db");
    let store = futures::executor::block_on(run::options(path.clone(), synchronous).open());
    let store = store.unwrap_or_else(|error| panic!("{at}: {error}"));
    let sql = file::to_read(&path);
    if let Some(wrong) = file::unsound(&sql) {
        panic!("{at}: {wrong}");
    }
    let (contents, known) = (file::contents(&sql), file::known(&sql));
    let listed = done(store.inspect(&Filter { limit: usize::MAX, ..Filter::default() })).tasks;
    assert_eq!(listed.len(), known.len(), "{at}");
    assert_eq!(done(store.durability()), label);
    done(store.enqueue_one(task(999)));
    assert_eq!(file::known(&sql).last(), Some(&id(999)), "{at}: it goes on");

    // Nothing of what was acknowledged is missing, and nothing is there by half: it is the file as
    // it was after the last step or is after the next, or between the calls of a crowd.
    let as_after = |step: usize| run.contents.get(step) == Some(&contents);
    let between = run.crowd.iter().enumerate().all(|(number, ids)| {
        let there = ids.iter().filter(|id| known.contains(id)).count();
        there == ids.len() || (there == 0 && !acknowledged.calls.contains(&number))
    });
    let Some(step) = acknowledged.step else {
        assert!(as_after(0), "{at}: {contents}");
        return None;
    };
    let is_crowded = step + 1 == run.crowded;
    let is_whole = as_after(step) && acknowledged.calls.is_empty()
        || as_after(step + 1)
        || is_crowded && between && has_all(&known, run, step);
    if is_whole {
        return None;
    }
    // Something is missing: the file is as it was at some time before.
    let before = (0..step).any(as_after);
    assert!(before || between, "{at}: it never was like this: {contents}");
    Some(format!("{at}: the file is as it was before: {contents}"))
}

/// Whether all tasks are known that the file had after a step.
fn has_all(known: &[conveyor_core::TaskId], run: &Run, step: usize) -> bool {
    let tasks = run.known[step].iter();
    tasks.into_iter().all(|id| known.contains(id))
}

/// A folder in memory, if there is such a place: these disks are thrown away.
fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}

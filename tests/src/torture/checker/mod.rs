//! The checker: holds the history of a torture against what Conveyor promises.
//!
//! What processes write down is in the order of the writing, not of the effects. But what is asked is
//! written before it takes effect, and what is answered after: so a check says that something was so
//! only if the lines leave no other way, and nothing is found that was not there. Each file is one
//! promise, with a broken history for each of its checks.

mod arrivals;
mod crashes;
mod keys;
mod leases;
mod numbers;
mod settles;
mod ticks;

#[cfg(test)]
mod example;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use conveyor::{Counts, TaskId, TaskInfo};

use super::line::{Attempt, Line, What};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What must not be.
    pub what: String,
    /// The tasks concerned.
    pub tasks: Vec<TaskId>,
}

impl Broken {
    pub(super) fn new(tasks: impl IntoIterator<Item = TaskId>, what: impl Into<String>) -> Self {
        Broken { what: what.into(), tasks: tasks.into_iter().collect() }
    }

    /// Whether it says that a task is lost.
    pub(super) fn is_loss(&self) -> bool {
        self.what.starts_with("lost")
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.what, self.tasks)
    }
}

/// What was found so far.
type Findings = Vec<Broken>;

/// What a store may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Whether calls may fail: if its server is killed, too.
    pub(super) may_fail: bool,
}

/// What the store holds at the end, and what it counted.
#[derive(Clone, Debug, Default)]
pub(super) struct AtRest {
    /// All that it knows of.
    pub(super) tasks: Vec<TaskInfo>,
    /// What it counted.
    pub(super) counts: Counts,
}

/// Everything that was written down, and where to find it.
pub(super) struct History {
    lines: Vec<Line>,
    tasks: BTreeMap<TaskId, Vec<usize>>,
    processes: BTreeMap<u32, Vec<usize>>,
    settled: BTreeSet<Attempt>,
}

impl History {
    /// The history of these lines.
    pub(super) fn new(lines: Vec<Line>) -> Self {
        let mut history = History {
            lines: Vec::new(),
            tasks: BTreeMap::new(),
            processes: BTreeMap::new(),
            settled: BTreeSet::new(),
        };
        for (at, line) in lines.iter().enumerate() {
            if let Some(task) = line.task() {
                history.tasks.entry(task).or_default().push(at);
            }
            if is_of_process(&line.what) {
                history.processes.entry(line.by).or_default().push(at);
            }
            if let What::Settled(attempt, _, super::line::Recorded::Applied) = line.what {
                history.settled.insert(attempt);
            }
        }
        history.lines = lines;
        history
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether a settle of that attempt took effect, as far as it is known.
    pub(super) fn was_settled(&self, attempt: Attempt) -> bool {
        self.settled.contains(&attempt)
    }

    /// Each task with its lines, and their places in the whole.
    fn tasks(&self) -> impl Iterator<Item = (TaskId, impl Iterator<Item = (usize, &Line)>)> {
        self.tasks.iter().map(|(&task, lines)| (task, self.these(lines)))
    }

    fn of(&self, task: TaskId) -> impl Iterator<Item = (usize, &Line)> {
        self.these(self.tasks.get(&task).map_or(&[][..], Vec::as_slice))
    }

    /// What was done to a process.
    fn of_process(&self, process: u32) -> impl Iterator<Item = (usize, &Line)> {
        self.these(self.processes.get(&process).map_or(&[][..], Vec::as_slice))
    }

    fn these<'a>(&'a self, lines: &'a [usize]) -> impl Iterator<Item = (usize, &'a Line)> {
        lines.iter().map(|&at| (at, &self.lines[at]))
    }

    /// Whether the process was killed or died, or was stopped, at some time between these places.
    fn was_disturbed(&self, process: u32, from: usize, to: usize) -> bool {
        let mut is_stopped = false;
        for (at, line) in self.of_process(process).take_while(|&(at, _)| at <= to) {
            match line.what {
                What::Stop => is_stopped = true,
                What::GoOn if at < from => is_stopped = false,
                What::Kill | What::Dead(_) | What::GoOn => return true,
                _ => {}
            }
        }
        is_stopped
    }
}

fn is_of_process(what: &What) -> bool {
    use What::{Dead, GoOn, Is, Kill, ShutDown, Stop, Up};
    matches!(what, Up | Kill | Dead(_) | Stop | GoOn | ShutDown | Is(_))
}

/// Every promise that the history breaks.
pub(super) fn check(history: &History, rest: &AtRest, rules: &Rules) -> Vec<Broken> {
    let mut found = Findings::new();
    arrivals::check(history, rest, &mut found);
    leases::check(history, &mut found);
    settles::check(history, rest, &mut found);
    keys::check(history, &mut found);
    ticks::check(history, rest, &mut found);
    crashes::check(history, rest, rules, &mut found);
    numbers::check(history, rest, rules, &mut found);
    found
}

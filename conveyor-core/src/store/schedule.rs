//! Schedules in a store: the definition, the mark, and the tick that moves it.

use super::enqueue::NewTask;
use crate::id::TaskId;
use crate::name::Kind;
use crate::schedule::Schedule;
use crate::time::Timestamp;

/// A schedule as a process knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleDefinition {
    /// Its name: the kind of the tasks that its ticks make.
    pub name: Kind,
    /// When it ticks.
    pub schedule: Schedule,
}

/// A schedule as the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleState {
    /// When it ticks.
    pub schedule: Schedule,
    /// How often the definition was replaced; a tick of an older revision changes nothing.
    pub revision: u64,
    /// When this revision was put: the first instant of an interval.
    pub anchor: Timestamp,
    /// The high-water mark: every instant up to it is done with. It only rises.
    pub mark: Timestamp,
    /// The store's time at the reply.
    pub now: Timestamp,
}

/// One instant of a schedule, to be done once in the whole cluster.
#[derive(Clone, Debug)]
pub struct Tick {
    /// The schedule's name.
    pub name: Kind,
    /// The revision that the instant was derived from.
    pub revision: u64,
    /// The mark that the instant was derived from; another process may have moved it since.
    pub from: Timestamp,
    /// The new mark: the instant itself, or a later one if instants between are given up.
    pub to: Timestamp,
    /// The task to insert with the move; none if the instants up to the mark are only given up.
    pub task: Option<NewTask>,
}

/// What became of a [`Tick`].
#[derive(Clone, Debug, PartialEq)]
pub enum Ticked {
    /// The mark moved, and the task is in the store.
    Fired(TaskId),
    /// The mark moved without a task: there was none, or the last one is still live and the
    /// schedule does not allow an overlap, or its key is taken.
    Skipped,
    /// The mark had moved already, it would not move by this tick, or the revision is not the
    /// current one: nothing changed. This is how the schedule stands.
    Stale(ScheduleState),
    /// There is no such schedule.
    Gone,
}

//! [`Tally`]: what a torture came to, in a line.

use std::collections::BTreeMap;
use std::fmt;

use super::checker::History;
use super::line::{Recorded, TickReply, What};

/// What happened how often.
#[derive(Debug, Default)]
pub struct Tally {
    /// Tasks that were there in the end.
    pub tasks: usize,
    /// Workers that were killed.
    pub kills: usize,
    /// Workers that were stopped, and went on.
    pub stops: usize,
    /// Processes that ended themselves: by poison.
    pub died: usize,
    /// Workers that were asked to stop.
    pub shut_down: usize,
    /// Attempts that began though the one before was never settled.
    pub duplicates: usize,
    /// Tasks that are not there, or never ended.
    pub lost: usize,
    /// How often the server was killed.
    pub server_kills: usize,
    /// How often something was wrong with the wire to it.
    pub wire_faults: usize,
    /// Settles that were refused.
    pub fenced: usize,
    /// Ticks that brought a task.
    pub ticks: usize,
    /// Calls that failed.
    pub errors: usize,
}

impl Tally {
    /// Counts what there is in the history.
    pub(super) fn of(history: &History, tasks: usize, lost: usize) -> Self {
        let mut tally = Tally { tasks, lost, ..Tally::default() };
        let mut last_start = BTreeMap::new();
        for line in history.lines() {
            match &line.what {
                What::Kill => tally.kills += 1,
                What::ServerKill => tally.server_kills += 1,
                What::Wire(fault) if fault != "None" => tally.wire_faults += 1,
                What::Stop => tally.stops += 1,
                What::ShutDown => tally.shut_down += 1,
                What::Dead(status) if status.contains("SIGABRT") => tally.died += 1,
                What::Settled(_, _, Recorded::Fenced) => tally.fenced += 1,
                What::Ticked(_, TickReply::Fired) => tally.ticks += 1,
                What::Error(..) => tally.errors += 1,
                What::Start(attempt, _) => {
                    let before = last_start.insert(attempt.task, *attempt);
                    if before.is_some_and(|before| !history.was_settled(before)) {
                        tally.duplicates += 1;
                    }
                }
                _ => {}
            }
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { tasks, kills, stops, died, shut_down, .. } = self;
        let Tally { duplicates, lost, fenced, ticks, errors, .. } = self;
        let Tally { server_kills, wire_faults, .. } = self;
        write!(
            f,
            "{tasks} tasks, {kills} kills, {stops} stops, {shut_down} shutdowns, {died} aborted, \
             {server_kills} kills of the server, {wire_faults} faults of the wire, \
             {duplicates} duplicates started, {lost} lost, {fenced} fenced, {ticks} ticks, \
             {errors} errors of the store"
        )
    }
}

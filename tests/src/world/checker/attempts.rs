//! [`Attempts`]: what handlers did, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conveyor::{Cancelled, Priority};
use conveyor_core::store::{Settled, Verdict};

use super::Findings;
use super::model::Model;
use crate::world::cluster::{MAIL, MAIL_CONSUMERS};
use crate::world::history::{Attempt, Change, Event, How, Settling, What};
use crate::world::options::Options;
use crate::world::workers::JobKind;

/// What a shutdown may take beyond its grace.
const AFTER_GRACE: Duration = Duration::from_millis(250);

/// An attempt that began.
struct Begun {
    process: usize,
    /// It was claimed to run with nothing beside it.
    alone: bool,
    told: Option<Cancelled>,
    over: Option<How>,
}

/// A process, as far as its attempts go.
#[derive(Default)]
pub(super) struct Process {
    pub(super) up: bool,
    pub(super) stopped: bool,
    /// When it last went on after a stop.
    went_on: Duration,
    /// When it was asked to shut down, and its grace.
    shuts_down: Option<(Duration, Duration)>,
    pub(super) running: BTreeSet<Attempt>,
}

impl Process {
    /// Whether it claims tasks.
    pub(super) fn works(&self) -> bool {
        self.up && !self.stopped && self.shuts_down.is_none()
    }
}

pub(super) struct Attempts {
    options: Options,
    begun: BTreeMap<Attempt, Begun>,
    pub(super) processes: BTreeMap<usize, Process>,
    /// Since when nothing is wrong.
    calm: Option<Duration>,
}

impl Attempts {
    pub(super) fn new(options: &Options) -> Self {
        let (begun, processes) = (BTreeMap::new(), BTreeMap::new());
        let calm = options.is_calm().then_some(Duration::ZERO);
        Attempts { options: options.clone(), begun, processes, calm }
    }

    /// How many attempts for which that holds run in a process.
    pub(super) fn count(
        &self,
        process: usize,
        model: &Model,
        which: impl Fn(&super::model::Row) -> bool,
    ) -> usize {
        let running = self.processes.get(&process).map(|process| process.running.iter());
        let rows = running.into_iter().flatten().map(|attempt| &model.rows[&attempt.task]);
        rows.filter(|row| which(row)).count()
    }

    /// Looks at what is about to happen.
    pub(super) fn before(&mut self, event: &Event, model: &Model, found: &mut Findings) {
        match &event.what {
            What::Start(attempt) => self.start(event, *attempt, model, found),
            What::Settle(settling, reply) => self.settle(settling, *reply, model, found),
            What::Rescue(rescued, _) => {
                let row = &model.rows[&rescued.id];
                let attempt = Attempt { task: rescued.id, epoch: row.epoch };
                self.lose(event, attempt, row.interrupted, found);
            }
            _ => {}
        }
    }

    /// Notes what happened.
    pub(super) fn after(&mut self, event: &Event, model: &Model, found: &mut Findings) {
        match &event.what {
            What::Told(attempt, why) => {
                if let Some(begun) = self.begun.get_mut(attempt) {
                    begun.told.get_or_insert(*why);
                }
            }
            What::Finish(attempt, how, told) => {
                if let Some(begun) = self.begun.get_mut(attempt) {
                    begun.over = Some(*how);
                    begun.told = *told;
                }
                self.process(event.process).running.remove(attempt);
            }
            What::World(change) => self.change(event, *change, model, found),
            _ => {}
        }
    }

    fn process(&mut self, process: usize) -> &mut Process {
        self.processes.entry(process).or_default()
    }

    fn start(&mut self, event: &Event, attempt: Attempt, model: &Model, found: &mut Findings) {
        let task = attempt.task;
        let mut wrong = |what: String| found.wrong([task], what);
        let row = model.current(task, attempt.epoch);
        match row {
            None => wrong(format!("{attempt} starts without holding its task")),
            Some(row) => {
                if row.lease_ends <= event.wall {
                    wrong(format!("{attempt} starts after its lease, until {}", row.lease_ends));
                }
                let holder = row.holder.and_then(|holder| model.processes.get(&holder));
                if holder != Some(&event.process) {
                    wrong(format!("{attempt} starts, but process {holder:?} holds it"));
                }
            }
        }
        let alone = row.is_some_and(|row| row.alone);
        let begun = Begun { process: event.process, alone, told: None, over: None };
        if self.begun.insert(attempt, begun).is_some() {
            wrong(format!("one claim starts twice: {attempt}"));
        }
        let beside = |other: &Attempt| self.begun.get(other).is_some_and(|begun| begun.alone);
        let process = self.processes.entry(event.process).or_default();
        if !process.works() && process.shuts_down.is_none() {
            wrong(format!("{attempt} starts in a process that is down or stopped"));
        }
        if (alone && !process.running.is_empty()) || process.running.iter().any(beside) {
            wrong(format!("{attempt} starts beside a suspect, or is one: {:?}", process.running));
        }
        process.running.insert(attempt);
        self.check_limits(event.process, attempt, model, found);
    }

    /// No more run than the kind, the pool and its reserve allow.
    fn check_limits(&self, process: usize, attempt: Attempt, model: &Model, found: &mut Findings) {
        let Some(row) = model.rows.get(&attempt.task) else { return };
        let mut at_most = |what: &str, limit: usize, count: usize| {
            if count > limit {
                found.wrong([attempt.task], format!("{count} {what} run; at most {limit} may"));
            }
        };
        let kind = &row.asked.kind;
        if let Some(limit) = JobKind::named(kind.as_str()).and_then(|kind| kind.concurrency) {
            let count = self.count(process, model, |row| row.asked.kind == *kind);
            at_most("tasks of the kind", limit as usize, count);
        }
        if row.asked.queue.as_str() == MAIL {
            let count = self.count(process, model, |row| row.asked.queue.as_str() == MAIL);
            at_most("tasks of the queue", MAIL_CONSUMERS, count);
            return;
        }
        let shared = |row: &super::model::Row| row.asked.queue.as_str() != MAIL;
        let Options { consumers, reserved, .. } = self.options;
        at_most("tasks", consumers, self.count(process, model, shared));
        let less_urgent =
            |row: &super::model::Row| shared(row) && row.asked.priority < Priority::HIGH;
        let count = self.count(process, model, less_urgent);
        at_most("tasks that are not urgent", consumers - reserved, count);
    }

    /// A handler whose lease ran out was told so before, if its process could.
    fn lose(&mut self, event: &Event, attempt: Attempt, interrupted: bool, found: &mut Findings) {
        let Some(begun) = self.begun.get(&attempt) else { return };
        if begun.over.is_some() || interrupted {
            return;
        }
        let Some(process) = self.processes.get(&begun.process) else { return };
        let awake = process.went_on + self.options.lease < event.at;
        if process.up && !process.stopped && awake && begun.told.is_none() {
            found.wrong([attempt.task], format!("{attempt} was not told that its lease is lost"));
        }
    }

    fn settle(&mut self, settling: &Settling, reply: Settled, model: &Model, found: &mut Findings) {
        let Settling { fence, verdict, .. } = settling;
        let attempt = Attempt { task: fence.task, epoch: fence.epoch };
        let mut wrong = |what: String| found.wrong([fence.task], what);
        let begun = self.begun.get(&attempt);
        let (over, told) = (begun.and_then(|begun| begun.over), begun.and_then(|b| b.told));
        let stopped = matches!(told, Some(Cancelled::Shutdown | Cancelled::LeaseLost));
        let timed_out = told == Some(Cancelled::Timeout);
        let failed = match over {
            Some(How::Failed | How::FailedFor(_) | How::FailedForGood) => !stopped,
            Some(How::Panicked) => true,
            Some(How::Stopped | How::Dropped) => timed_out,
            _ => false,
        };
        let unfinished = matches!(over, None | Some(How::Stopped | How::Dropped));
        let fits = match verdict {
            Verdict::Succeed => over == Some(How::Succeeded),
            Verdict::Retry { .. } | Verdict::Fail { .. } => failed,
            Verdict::Snooze { .. } => over == Some(How::Snoozed),
            Verdict::Cancel { .. } => {
                over == Some(How::CalledOff)
                    || told == Some(Cancelled::Requested)
                    || begun.is_none()
            }
            Verdict::Return { started: true } => begun.is_some() && (stopped || unfinished),
            Verdict::Return { started: false } => begun.is_none(),
            Verdict::Interrupt => begun.is_some() && over.is_none(),
            Verdict::Park { .. } => false,
        };
        if !fits {
            wrong(format!(
                "{attempt} ended as {over:?}, told {told:?}, and is settled: {verdict:?}"
            ));
        }
        if reply == Settled::Applied {
            check_retry(settling, over, model, found);
        }
    }

    fn change(&mut self, event: &Event, change: Change, model: &Model, found: &mut Findings) {
        let at = event.at;
        let process = self.processes.entry(event.process).or_default();
        match change {
            Change::Up => process.up = true,
            Change::Crash => {
                process.up = false;
                process.running.clear();
            }
            Change::Stop => process.stopped = true,
            Change::Go => {
                process.stopped = false;
                process.went_on = at;
            }
            Change::ShutDown(grace) => process.shuts_down = Some((at, grace)),
            Change::Down(abandoned) => {
                let Some((since, grace)) = process.shuts_down else { return };
                let was_stopped = process.stopped || process.went_on >= since;
                if process.up && !was_stopped && at > since + grace + AFTER_GRACE {
                    let took = at - since;
                    found.wrong([], format!("a shutdown within {grace:?} took {took:?}"));
                }
                process.up = false;
                let running: Vec<Attempt> = process.running.iter().copied().collect();
                if !running.is_empty() || abandoned > 0 {
                    let tasks = running.iter().map(|attempt| attempt.task);
                    found.wrong(tasks, format!("{running:?} run after the shutdown"));
                }
                let held = model.held_by_process(event.process);
                let calm = self.calm.is_some_and(|calm| calm <= since);
                if calm && !was_stopped && !held.is_empty() {
                    let what = format!("process {} shut down and holds tasks", event.process);
                    found.wrong(held, what);
                }
            }
            Change::Calm => _ = self.calm.get_or_insert(at),
            Change::Unregister | Change::Away(_) => {}
        }
    }
}

/// Retries are neither more nor fewer than the policy says, and as late.
fn check_retry(settling: &Settling, over: Option<How>, model: &Model, found: &mut Findings) {
    let id = settling.fence.task;
    let Some(row) = model.rows.get(&id) else { return };
    let Some(kind) = JobKind::named(row.asked.kind.as_str()) else { return };
    let retries = row.asked.retries.unwrap_or(kind.retries);
    let failures = row.budgets.errors + 1;
    match &settling.verdict {
        Verdict::Retry { delay, .. } => {
            if failures > retries {
                found
                    .wrong([id], format!("retried after {failures} failures of {retries} retries"));
            }
            let fits = match over {
                Some(How::FailedFor(asked)) => *delay == asked,
                _ => kind.backoff().band(failures).contains(delay),
            };
            if !fits {
                found.wrong([id], format!("retried after {delay:?}, which is not its backoff"));
            }
        }
        Verdict::Fail { .. } => {
            let for_good = over == Some(How::FailedForGood)
                || (over == Some(How::Panicked) && !kind.retry_on_panic);
            if failures <= retries && !for_good {
                found.wrong(
                    [id],
                    format!("given up after {failures} failures of {retries} retries"),
                );
            }
        }
        _ => {}
    }
}

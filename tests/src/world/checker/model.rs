//! [`Model`]: what the store must hold, and answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conveyor::{
    CancelReply, Counts, End, Fence, Incarnation, Key, Kind, QueueName, TaskId, TaskState,
    Timestamp,
};
use conveyor_core::store::{Budgets, Settled, Verdict};

use super::Findings;
use super::schedules::ScheduleRow;
use crate::world::history::{Answer, Asked, Change, Event, Reply, Settling, What};
use crate::world::options::Options;

/// A task as it must be.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) asked: Asked,
    pub(super) state: TaskState,
    pub(super) due: Timestamp,
    pub(super) epoch: u64,
    /// Who holds it, or settled it last; none after a rescue.
    pub(super) holder: Option<Incarnation>,
    pub(super) lease_ends: Timestamp,
    pub(super) interrupted: bool,
    /// Its holder has nothing beside it.
    pub(super) alone: bool,
    pub(super) cancel: bool,
    pub(super) suspect: bool,
    pub(super) budgets: Budgets,
    pub(super) end: Option<End>,
    /// Since when it is claimable or active; for the order of claims.
    pub(super) queued_at: Duration,
}

impl Row {
    pub(super) fn fence(&self) -> Option<Fence> {
        let incarnation = self.holder?;
        Some(Fence { task: self.asked.id, epoch: self.epoch, incarnation })
    }

    pub(super) fn is_active(&self) -> bool {
        self.state == TaskState::Active
    }

    /// Whether it may be claimed.
    pub(super) fn is_claimable(&self, now: Timestamp) -> bool {
        matches!(self.state, TaskState::Queued | TaskState::Scheduled) && self.due <= now
    }
}

pub(super) struct Model {
    capacity: Option<usize>,
    /// Nothing happens that a lease could run out by.
    pub(super) keeps_leases: bool,
    pub(super) rows: BTreeMap<TaskId, Row>,
    keys: BTreeMap<(Kind, Key), TaskId>,
    live: BTreeSet<TaskId>,
    pub(super) schedules: BTreeMap<Kind, ScheduleRow>,
    pub(super) paused: BTreeSet<QueueName>,
    pub(super) held: BTreeMap<Incarnation, BTreeSet<TaskId>>,
    /// Which process an incarnation is of.
    pub(super) processes: BTreeMap<Incarnation, usize>,
    /// How many claims each incarnation held when it was killed.
    pub(super) held_at_crash: BTreeMap<Incarnation, usize>,
    pub(super) rescued_from: BTreeSet<Incarnation>,
    /// The tasks of each number.
    pub(super) copies: BTreeMap<u32, BTreeSet<TaskId>>,
    pub(super) told: Vec<(u32, Reply)>,
    pub(super) counts: Counts,
    pub(super) claims: u64,
    pub(super) out_of_order: u64,
    calm: bool,
}

impl Model {
    pub(super) fn new(options: &Options) -> Self {
        Model {
            capacity: options.capacity,
            keeps_leases: options.is_calm() && !options.crashes && !options.stops,
            rows: BTreeMap::new(),
            keys: BTreeMap::new(),
            live: BTreeSet::new(),
            schedules: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: BTreeMap::new(),
            processes: BTreeMap::new(),
            held_at_crash: BTreeMap::new(),
            rescued_from: BTreeSet::new(),
            copies: BTreeMap::new(),
            told: Vec::new(),
            counts: Counts::default(),
            claims: 0,
            out_of_order: 0,
            calm: false,
        }
    }

    /// The tasks that have not ended.
    pub(super) fn live(&self) -> impl Iterator<Item = &Row> {
        self.live.iter().map(|task| &self.rows[task])
    }

    pub(super) fn is_paused(&self, queue: &QueueName) -> bool {
        self.paused.contains(queue)
    }

    /// What an incarnation holds that is not marked as interrupted.
    pub(super) fn held_by_process(&self, process: usize) -> Vec<TaskId> {
        let of = |by: &Incarnation| self.processes.get(by) == Some(&process);
        let held = self.held.iter().filter(|(by, _)| of(by)).flat_map(|(_, held)| held);
        held.copied().filter(|task| !self.rows[task].interrupted).collect()
    }

    /// The row of an attempt, if its claim is the current one.
    pub(super) fn current(&self, task: TaskId, epoch: u64) -> Option<&Row> {
        self.rows.get(&task).filter(|row| row.is_active() && row.epoch == epoch)
    }

    pub(super) fn apply(&mut self, event: &Event, found: &mut Findings) {
        match &event.what {
            What::Enqueue(asked, answer) => self.enqueue(event, asked, answer, found),
            What::Claim(wanted, given) => self.claim(event, wanted, given, found),
            What::Settle(settling, reply) => self.settle(event, settling, *reply, found),
            What::Renew(fence, lease, reply) => self.renew(event, *fence, *lease, *reply, found),
            What::Rescue(rescued, budget) => self.rescue(event, rescued, *budget, found),
            What::Cancel(id, reply) => self.cancel(*id, *reply, found),
            What::Pause(queue, true) => _ = self.paused.insert(queue.clone()),
            What::Pause(queue, false) => _ = self.paused.remove(queue),
            What::PutSchedule(name, state) => self.put_schedule(name, state, found),
            What::RemoveSchedule(name) => _ = self.schedules.remove(name),
            What::Tick(step, reply) => self.tick(event, step, reply, found),
            What::Receipt(number, reply) => self.told.push((*number, *reply)),
            What::World(Change::Crash) => self.crash(event.process),
            What::World(Change::Calm) => self.calm = true,
            What::World(Change::Unregister) if std::mem::take(&mut self.calm) => {
                self.schedules_are_kept(event, found);
            }
            _ => {}
        }
    }

    fn enqueue(&mut self, event: &Event, asked: &Asked, answer: &Answer, found: &mut Findings) {
        if self.rows.contains_key(&asked.id) {
            if *answer != Answer::Accepted {
                found.wrong([asked.id], format!("{answer:?} to a task that is in the store"));
            }
            return;
        }
        let holder = self.holder_of_key(asked);
        match answer {
            Answer::Accepted => {
                if let Some(holder) = holder {
                    found.wrong([asked.id, holder], "two live tasks have one key");
                }
                if self.capacity.is_some_and(|capacity| self.live.len() >= capacity) {
                    found.wrong([asked.id], "a task is accepted by a store that is full");
                }
                self.insert(event, asked);
            }
            Answer::Duplicate(of) => {
                self.counts.duplicates += 1;
                if holder.is_none() || *of != holder {
                    let what = format!("refused for a key that {of:?} does not hold: {holder:?}");
                    found.wrong([asked.id].into_iter().chain(*of).chain(holder), what);
                }
            }
            Answer::Full => {
                if self.capacity.is_none_or(|capacity| self.live.len() < capacity) {
                    found.wrong([asked.id], "refused for want of room, of which there is some");
                }
            }
        }
    }

    fn holder_of_key(&self, asked: &Asked) -> Option<TaskId> {
        let key = asked.key.clone()?;
        self.keys.get(&(asked.kind.clone(), key)).copied()
    }

    fn insert(&mut self, event: &Event, asked: &Asked) {
        if let Some(key) = &asked.key {
            self.keys.insert((asked.kind.clone(), key.clone()), asked.id);
        }
        if let Some(number) = asked.number {
            self.copies.entry(number).or_default().insert(asked.id);
        }
        self.counts.enqueued += 1;
        self.live.insert(asked.id);
        let row = Row {
            state: if asked.due > event.wall { TaskState::Scheduled } else { TaskState::Queued },
            due: asked.due,
            epoch: 0,
            holder: None,
            lease_ends: Timestamp::from_micros(0),
            interrupted: false,
            alone: false,
            cancel: false,
            suspect: false,
            budgets: Budgets::default(),
            end: None,
            queued_at: event.at,
            asked: asked.clone(),
        };
        self.rows.insert(asked.id, row);
    }

    /// Inserts a task that the bound of a bounded store does not apply to; whether it is in.
    pub(super) fn insert_child(&mut self, event: &Event, asked: &Asked) -> bool {
        if self.rows.contains_key(&asked.id) {
            return false;
        }
        if self.holder_of_key(asked).is_some() {
            self.counts.duplicates += 1;
            return false;
        }
        self.insert(event, asked);
        true
    }

    fn settle(&mut self, event: &Event, settling: &Settling, reply: Settled, found: &mut Findings) {
        let Settling { fence, verdict, .. } = settling;
        let expected = match self.rows.get(&fence.task) {
            Some(row) if row.fence() != Some(*fence) => Settled::Fenced,
            Some(row) if !row.is_active() => Settled::Already,
            Some(row) if row.interrupted && *verdict == Verdict::Interrupt => Settled::Already,
            Some(_) => Settled::Applied,
            None => Settled::Fenced,
        };
        if reply != expected {
            let what = format!("a settle is {reply:?}, but must be {expected:?}");
            found.wrong([fence.task], what);
        }
        if reply == Settled::Applied && self.rows.contains_key(&fence.task) {
            self.apply_verdict(event, settling);
        }
    }

    fn apply_verdict(&mut self, event: &Event, settling: &Settling) {
        let Settling { fence, verdict, children, panicked, timed_out } = settling;
        let (id, now) = (fence.task, event.wall);
        self.counts.panicked += u64::from(*panicked);
        self.counts.timed_out += u64::from(*timed_out);
        let row = self.rows.get_mut(&id).expect("it was just there");
        if *verdict == Verdict::Interrupt {
            row.interrupted = true;
            return;
        }
        if let Some(held) = row.holder.and_then(|holder| self.held.get_mut(&holder)) {
            held.remove(&id);
        }
        let again = u64::from(!row.cancel);
        let mut end = None;
        let mut postponed = None;
        match verdict {
            Verdict::Succeed => end = Some(End::Succeeded),
            Verdict::Cancel { why } => end = Some(End::Cancelled(why.clone())),
            Verdict::Fail { error } => {
                row.budgets.errors += 1;
                end = Some(End::Failed(error.clone()));
            }
            Verdict::Retry { delay, .. } => {
                row.budgets.errors += 1;
                self.counts.retried += again;
                postponed = Some(*delay);
            }
            Verdict::Snooze { delay } => {
                row.budgets.snoozes += 1;
                self.counts.snoozed += again;
                postponed = Some(*delay);
            }
            Verdict::Return { started } => {
                row.budgets.interruptions += u32::from(*started);
                self.counts.returned += u64::from(*started) * again;
                row.state = TaskState::Queued;
            }
            Verdict::Park { .. } => {
                row.suspect = false;
                row.state = TaskState::Parked;
            }
            Verdict::Interrupt => unreachable!("it was looked at above"),
        }
        row.queued_at = event.at;
        if end.is_none() && row.cancel {
            end = Some(End::Cancelled("cancelled on request".to_owned()));
        } else if let Some(delay) = postponed {
            row.suspect = false;
            row.state = TaskState::Scheduled;
            row.due = now + delay;
        }
        if let Some(end) = end {
            self.end(id, end);
        }
        for child in children {
            self.insert_child(event, child);
        }
    }

    pub(super) fn end(&mut self, id: TaskId, end: End) {
        let row = self.rows.get_mut(&id).expect("it was just there");
        row.state = TaskState::Ended;
        match &end {
            End::Succeeded => self.counts.processed += 1,
            End::Failed(_) => self.counts.failed += 1,
            End::Cancelled(_) => self.counts.cancelled += 1,
            _ => self.counts.crashed += 1,
        }
        row.end = Some(end);
        self.live.remove(&id);
        if let Some(key) = &row.asked.key {
            self.keys.remove(&(row.asked.kind.clone(), key.clone()));
        }
    }

    fn cancel(&mut self, id: TaskId, reply: CancelReply, found: &mut Findings) {
        let state = self.rows.get(&id).map(|row| row.state);
        let expected = match state {
            None => CancelReply::Unknown,
            Some(TaskState::Ended) => CancelReply::AlreadyEnded,
            Some(TaskState::Active) => CancelReply::Requested,
            Some(_) => CancelReply::Cancelled,
        };
        if reply != expected {
            found.wrong([id], format!("a cancel is {reply:?}, but must be {expected:?}"));
        }
        match reply {
            CancelReply::Requested => {
                if let Some(row) = self.rows.get_mut(&id) {
                    row.cancel = true;
                }
            }
            CancelReply::Cancelled if state.is_some_and(TaskState::is_live) => {
                self.end(id, End::Cancelled("cancelled on request".to_owned()));
            }
            _ => {}
        }
    }
}

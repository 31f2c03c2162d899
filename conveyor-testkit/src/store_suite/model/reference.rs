//! [`Reference`]: a store as one would write it with no thought of speed. Every task is a row, and
//! every question is a walk over all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use conveyor_core::metrics::{Counters, Counts};
use conveyor_core::payload::Encoded;
use conveyor_core::store::{
    AttemptEnd, Budgets, CancelReply, EndState, Enqueued, NewTask, PAST_ATTEMPTS, PastAttempt,
    Renewed, TaskInfo,
};
use conveyor_core::{
    End, Fence, Incarnation, Kind, QueueName, Retention, TaskId, TaskState, Timestamp,
};

use super::schedule::Scheduled;
use crate::store_suite::task::encoded;

/// What holds, or what does not.
pub(super) type Held<T = ()> = Result<T, String>;

/// The store must have told what is expected.
pub(super) fn same<T: Debug + PartialEq>(what: &str, told: &T, expected: &T) -> Held {
    if told == expected {
        return Ok(());
    }
    Err(format!("{what}: the store tells {told:?}, the reference {expected:?}"))
}

pub(super) struct Reference {
    /// The store's time, as it was told just before the call.
    pub(super) now: Timestamp,
    /// By how much the time of the call may differ from that.
    pub(super) slack: Duration,
    capacity: Option<usize>,
    pub(super) retention: Retention,
    pub(super) rows: BTreeMap<TaskId, Row>,
    pub(super) paused: BTreeSet<QueueName>,
    /// What only rises; the rest is counted by the rows.
    counts: BTreeMap<(QueueName, Kind), Counts>,
    accepted: u64,
    ended: u64,
    /// Tasks that were given out to consumers that take part in ageing, counted for each queue
    /// that they asked for, and those among them that only ageing explains.
    pub(super) turns: u64,
    pub(super) aged: u64,
    pub(super) processes: BTreeMap<Incarnation, Process>,
    pub(super) last_rescue: Option<Timestamp>,
    pub(super) no_rescue_before: Timestamp,
    pub(super) schedule: Option<Scheduled>,
}

pub(super) struct Row {
    pub(super) info: TaskInfo,
    age: u64,
    pub(super) payload: Encoded,
    /// Who claimed it last, unless it was rescued since.
    pub(super) claimed_by: Option<Incarnation>,
    pub(super) token: u64,
    pub(super) lease_ends: Timestamp,
    pub(super) interrupted: bool,
    pub(super) cancel: bool,
    /// When it ended, and how many had ended by then.
    ended: Option<(Timestamp, u64)>,
}

/// A process that holds something.
#[derive(Default)]
pub(super) struct Process {
    pub(super) alone: bool,
    pub(super) died_in_company: bool,
}

impl Row {
    pub(super) fn place(&self) -> (Timestamp, u64) {
        (self.info.due, self.age)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.info.state, TaskState::Scheduled | TaskState::Queued)
    }

    pub(super) fn is_claimable(&self, now: Timestamp) -> bool {
        self.is_waiting() && self.info.due <= now
    }

    pub(super) fn is_active(&self) -> bool {
        self.info.state == TaskState::Active
    }

    pub(super) fn is_held_by(&self, by: Incarnation) -> bool {
        self.info.holder == Some(by)
    }
}

impl Reference {
    pub(super) fn new(
        now: Timestamp,
        slack: Duration,
        capacity: Option<usize>,
        retention: Retention,
    ) -> Self {
        Reference {
            now,
            slack,
            capacity,
            retention,
            rows: BTreeMap::new(),
            paused: BTreeSet::new(),
            counts: BTreeMap::new(),
            accepted: 0,
            ended: 0,
            turns: 0,
            aged: 0,
            processes: BTreeMap::new(),
            last_rescue: None,
            no_rescue_before: Timestamp::MIN,
            schedule: None,
        }
    }

    /// Whether a time that the store told is the one that was expected.
    pub(super) fn near(&self, what: &str, told: Timestamp, expected: Timestamp) -> Held {
        if (expected..=expected + self.slack).contains(&told) {
            return Ok(());
        }
        Err(format!("{what}: the store tells {told}, the reference {expected}"))
    }

    /// Compares what the store knows with the rows, and takes over what it may decide.
    pub(super) fn compare(&mut self, told: &[TaskInfo]) -> Held {
        let known: BTreeSet<TaskId> = told.iter().map(|info| info.id).collect();
        let gone: Vec<TaskId> =
            self.rows.keys().filter(|id| !known.contains(id)).copied().collect();
        for id in gone {
            if !self.may_be_forgotten(&self.rows[&id]) {
                return Err(format!("the store has lost {:?}", self.rows[&id].info));
            }
            self.rows.remove(&id);
        }
        for told in told {
            let Some(row) = self.rows.get_mut(&told.id) else {
                return Err(format!("the store has made up {told:?}"));
            };
            // How a request is put into words is the store's to say.
            if row.info.end == Some(on_request()) && matches!(told.end, Some(End::Cancelled(_))) {
                row.info.end = told.end.clone();
            }
            let row = &self.rows[&told.id];
            let (told, known) = (self.seen(told), self.seen(&row.info));
            self.near("the due time", told.due, known.due)?;
            let attempts = self.near_attempts(&told.attempts, known.attempts)?;
            same("a task", &told, &TaskInfo { due: told.due, attempts, ..known })?;
            if let Some(row) = self.rows.get_mut(&told.id) {
                (row.info.due, row.info.attempts) = (told.due, told.attempts);
            }
        }
        Ok(())
    }

    /// The attempts that are known, at the times that the store tells of them.
    fn near_attempts(
        &self,
        told: &[PastAttempt],
        mut known: Vec<PastAttempt>,
    ) -> Held<Vec<PastAttempt>> {
        for (told, known) in told.iter().zip(&mut known) {
            self.near("the end of an attempt", told.at, known.at)?;
            known.at = told.at;
        }
        Ok(known)
    }

    /// Notes how the attempt that `by` has made ended; the task goes on.
    pub(super) fn note_attempt(&mut self, id: TaskId, by: Incarnation, ended: AttemptEnd) -> Held {
        let at = self.now;
        let info = &mut self.row(id)?.info;
        info.attempts.push(PastAttempt { epoch: info.epoch, by, at, ended });
        let surplus = info.attempts.len().saturating_sub(PAST_ATTEMPTS);
        info.attempts.drain(..surplus);
        Ok(())
    }

    /// A task as it may be seen, whatever the store shows of what it may choose.
    fn seen(&self, info: &TaskInfo) -> TaskInfo {
        let mut seen = info.clone();
        if seen.state == TaskState::Scheduled && seen.due <= self.now {
            seen.state = TaskState::Queued;
        }
        if seen.state == TaskState::Ended {
            seen.note = None;
        }
        seen
    }

    fn may_be_forgotten(&self, row: &Row) -> bool {
        let Some((at, number)) = row.ended else { return false };
        let others = self.rows.values().filter_map(|other| other.ended);
        let others = others.filter(|&(_, other)| other != number);
        let newer = others.filter(|&(other, later)| other >= at || later > number).count();
        newer >= self.retention.count || at + self.retention.age < self.now
    }

    /// Compares the numbers; a task that is due may be counted as scheduled until it is promoted.
    pub(super) fn compare_counters(&self, told: &Counters) -> Held {
        let waiting = |mut counts: Counts| {
            counts.queued += std::mem::take(&mut counts.scheduled);
            counts
        };
        let mut expected = self.counts.clone();
        for row in self.rows.values() {
            let of = (row.info.queue.clone(), row.info.kind.clone());
            let counts = expected.entry(of).or_default();
            match row.info.state {
                TaskState::Active => counts.active += 1,
                TaskState::Parked => counts.parked += 1,
                _ => counts.queued += u64::from(row.is_waiting()),
            }
        }
        expected.retain(|_, counts| *counts != Counts::default());
        let told: BTreeMap<_, _> =
            told.each.iter().map(|(of, counts)| (of.clone(), waiting(*counts))).collect();
        same("the counters", &told, &expected)
    }

    pub(super) fn counts(&mut self, id: TaskId) -> &mut Counts {
        let info = &self.rows[&id].info;
        self.counts.entry((info.queue.clone(), info.kind.clone())).or_default()
    }

    pub(super) fn row(&mut self, id: TaskId) -> Held<&mut Row> {
        self.rows.get_mut(&id).ok_or_else(|| format!("the reference knows no task {id}"))
    }

    pub(super) fn enqueue(&mut self, new: &NewTask, told: &Enqueued) -> Held {
        let known = self.rows.contains_key(&new.id);
        let live = self.rows.values().filter(|row| row.info.state.is_live()).count();
        let full = self.capacity.filter(|capacity| live >= *capacity);
        let expected = match (full, known, self.holder(new)) {
            (Some(capacity), false, None) => {
                Enqueued::Full { task: Box::new(new.clone()), capacity }
            }
            _ => self.insert(new),
        };
        same("the enqueue", &format!("{told:?}"), &format!("{expected:?}"))
    }

    /// The live task that has the key of this one.
    fn holder(&self, new: &NewTask) -> Option<TaskId> {
        let key = new.key.as_ref()?;
        let holder = self.rows.values().map(|row| &row.info).find(|info| {
            info.state.is_live() && info.key.as_ref() == Some(key) && info.kind == new.kind
        });
        holder.map(|info| info.id)
    }

    pub(super) fn insert(&mut self, new: &NewTask) -> Enqueued {
        if self.rows.contains_key(&new.id) {
            return Enqueued::Accepted;
        }
        let holder = self.holder(new);
        let counts = self.counts.entry((new.queue.clone(), new.kind.clone())).or_default();
        if holder.is_some() {
            counts.duplicates += 1;
            return Enqueued::Duplicate(holder);
        }
        counts.enqueued += 1;
        self.accepted += 1;
        let due = new.start.resolve(self.now);
        let info = TaskInfo {
            id: new.id,
            kind: new.kind.clone(),
            queue: new.queue.clone(),
            key: new.key.clone(),
            priority: new.priority,
            state: if due > self.now { TaskState::Scheduled } else { TaskState::Queued },
            due,
            budgets: Budgets::default(),
            epoch: 0,
            holder: None,
            suspect: false,
            note: None,
            attempts: Vec::new(),
            ended_by: None,
            end: None,
        };
        let row = Row {
            info,
            age: self.accepted,
            payload: encoded(&new.payload),
            claimed_by: None,
            token: 0,
            lease_ends: Timestamp::MIN,
            interrupted: false,
            cancel: false,
            ended: None,
        };
        self.rows.insert(new.id, row);
        Enqueued::Accepted
    }

    /// Has an active task leave its holder.
    pub(super) fn release(&mut self, id: TaskId) -> Held {
        if let Some(by) = self.row(id)?.info.holder.take()
            && !self.rows.values().any(|row| row.is_held_by(by))
        {
            self.processes.remove(&by);
        }
        Ok(())
    }

    /// Ends a task that `by` held, if it was active.
    pub(super) fn end(&mut self, id: TaskId, end: End, by: Option<Incarnation>) -> Held {
        let counts = self.counts(id);
        match &end {
            End::Succeeded => counts.processed += 1,
            End::Failed(_) => counts.failed += 1,
            End::Cancelled(_) => counts.cancelled += 1,
            End::Crashed => counts.crashed += 1,
            other => return Err(format!("an unknown end: {other:?}")),
        }
        self.ended += 1;
        let ended = Some((self.now, self.ended));
        let row = self.row(id)?;
        row.info.state = TaskState::Ended;
        row.info.suspect = false;
        (row.info.end, row.info.ended_by) = (Some(end), by);
        row.ended = ended;
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        by: Incarnation,
        fence: Fence,
        lease: Duration,
        told: Renewed,
    ) -> Held {
        if let Some(process) = self.processes.get_mut(&by) {
            process.died_in_company = false;
        }
        let lease_ends = self.now + lease;
        let current = self.rows.get_mut(&fence.task).filter(|row| {
            row.is_held_by(by)
                && by == fence.incarnation
                && row.info.epoch == fence.epoch
                && !row.interrupted
        });
        let expected = match current {
            None => Renewed::Lost,
            Some(row) => {
                row.lease_ends = lease_ends;
                Renewed::Held { cancel: row.cancel }
            }
        };
        same("the renewal", &told, &expected)
    }

    pub(super) fn cancel(&mut self, id: TaskId, told: CancelReply) -> Held {
        let expected = match self.rows.get_mut(&id) {
            None => CancelReply::Unknown,
            Some(row) => match row.info.state {
                TaskState::Ended => CancelReply::AlreadyEnded,
                TaskState::Active => {
                    row.cancel = true;
                    CancelReply::Requested
                }
                _ => {
                    self.end(id, on_request(), None)?;
                    CancelReply::Cancelled
                }
            },
        };
        same("the cancel", &told, &expected)
    }

    pub(super) fn promote(&self, limit: usize, told: Option<Timestamp>) -> Held {
        let waiting = || self.rows.values().filter(|row| row.is_waiting()).map(|row| row.info.due);
        // Some of what is due may be left; the store says so by telling their time.
        let left = waiting().filter(|due| *due <= self.now).count() > limit.saturating_sub(1);
        if left && told.is_some_and(|told| told <= self.now) {
            return Ok(());
        }
        same("what is due next", &told, &waiting().filter(|due| *due > self.now).min())
    }

    pub(super) fn pause(&mut self, queue: QueueName, paused: bool) {
        if paused {
            self.paused.insert(queue);
        } else {
            self.paused.remove(&queue);
        }
    }

    /// After a prune without limit.
    pub(super) fn is_pruned(&self) -> Held {
        let ended = self.rows.values().filter(|row| row.ended.is_some()).count();
        let old = |row: &&Row| {
            row.ended.is_some_and(|(at, _)| at + self.retention.age + self.slack < self.now)
        };
        match self.rows.values().find(old) {
            Some(row) => Err(format!("the old end of {} is not pruned", row.info.id)),
            None if ended > self.retention.count => Err(format!("{ended} ends are kept")),
            None => Ok(()),
        }
    }

    pub(super) fn end_state(&self, id: TaskId) -> EndState {
        match self.rows.get(&id).map(|row| &row.info) {
            None => EndState::Gone,
            Some(info) => info.end.clone().map_or(EndState::Live, EndState::Ended),
        }
    }
}

pub(super) fn on_request() -> End {
    End::Cancelled("cancelled on request".into())
}

//! The table of tasks: every move between states is made here, with its counts and indexes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use hashbrown::{HashMap, hash_map};

use super::holder::Holder;
use super::maintain::ScheduleRow;
use super::slots::Slots;
use super::streams::Streams;
use crate::dedup::DedupSet;
use crate::delay::DelayQueue;
use crate::id::{Incarnation, TaskId};
use crate::lanes::{LaneId, Lanes, Place};
use crate::metrics::Counts;
use crate::name::Key;
use crate::outcome::End;
use crate::payload::AnyPayload;
use crate::plant::{Plant, planted};
use crate::priority::Priority;
use crate::state::{Move, TaskState};
use crate::store::{AttemptEnd, Budgets, NewTask, PAST_ATTEMPTS, PastAttempt};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Slots<Entry>,
    by_id: HashMap<TaskId, u32, foldhash::fast::RandomState>,
    keys: DedupSet,
    pub(super) lanes: Lanes,
    delayed: DelayQueue,
    /// Claimable tasks that are claimed only alone.
    pub(super) suspects: BTreeSet<(Reverse<Priority>, Place, u32)>,
    pub(super) streams: Streams,
    pub(super) holders: HashMap<Incarnation, Holder, foldhash::fast::RandomState>,
    pub(super) schedules: BTreeMap<crate::name::Kind, ScheduleRow>,
    /// Ended tasks, oldest first.
    pub(super) ended: VecDeque<(Timestamp, u32)>,
    pub(super) live: usize,
    accepted: u64,
    /// When `rescue` was last called, and before when it takes nothing.
    pub(super) last_rescue: Option<Timestamp>,
    pub(super) no_rescue_before: Timestamp,
}

/// A task. What few tasks have is in `extra`, so that a queued one stays small.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: TaskId,
    pub(super) place: Place,
    pub(super) key: Option<Key>,
    /// Gone when the task has ended.
    pub(super) payload: Option<AnyPayload>,
    pub(super) epoch: u64,
    /// Who holds it, while it is active; who held it last, after that.
    pub(super) holder: Incarnation,
    pub(super) lease_ends: Timestamp,
    /// The token of the request that it was last claimed by.
    pub(super) token: u64,
    extra: Option<Box<Extra>>,
    pub(super) stream: u32,
    pub(super) priority: Priority,
    pub(super) state: TaskState,
    /// Claimed only alone.
    pub(super) suspect: bool,
    /// The lease runs out by itself, at no cost.
    pub(super) interrupted: bool,
    /// Somebody asked for the task to be cancelled.
    pub(super) cancel: bool,
}

/// What few tasks have.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) budgets: Budgets,
    /// The last error, or why it is parked.
    pub(super) note: Option<String>,
    pub(super) attempts: Vec<PastAttempt>,
    /// How it ended, if other than by success.
    pub(super) end: Option<End>,
    /// Who held it then, if it was active.
    pub(super) ended_by: Option<Incarnation>,
}

/// What became of an insert. A payload that is not kept comes back, to be dropped when the lock is
/// released.
pub(super) enum Inserted {
    Accepted(u32),
    /// The id is known: the task was accepted before.
    Known(AnyPayload),
    /// A live task has the kind and the key.
    Duplicate(TaskId, AnyPayload),
}

/// The planted bugs of accepting an id that is known.
fn is_forgotten(entries: &Slots<Entry>, task: u32) -> bool {
    planted(Plant::IdTwice)
        || (planted(Plant::EndedBegunAnew)
            && entries.get(task).is_some_and(|known| !known.state.is_live()))
}

impl Entry {
    pub(super) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn budgets(&self) -> Budgets {
        self.extra.as_ref().map_or_else(Budgets::default, |extra| extra.budgets)
    }

    fn lane(&self) -> LaneId {
        LaneId { priority: self.priority, stream: self.stream }
    }

    /// How it ended; only for a task that has.
    pub(super) fn end(&self) -> End {
        self.extra.as_ref().and_then(|extra| extra.end.clone()).unwrap_or(End::Succeeded)
    }

    /// Who held it when it ended; only for a task that has.
    pub(super) fn ended_by(&self) -> Option<Incarnation> {
        match self.extra() {
            Some(extra) if extra.end.is_some() => extra.ended_by,
            // A success ends an active task, and its holder stays.
            _ => Some(self.holder),
        }
    }
}

impl Table {
    pub(super) fn get(&self, task: u32) -> &Entry {
        self.entries.get(task).expect("invariant: an index names a task that exists")
    }

    pub(super) fn get_mut(&mut self, task: u32) -> &mut Entry {
        self.entries.get_mut(task).expect("invariant: an index names a task that exists")
    }

    pub(super) fn find(&self, id: TaskId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The task that a claim's ticket names, if it is still that task.
    pub(super) fn find_by_ticket(&self, ticket: u64, id: TaskId) -> Option<u32> {
        let task = u32::try_from(ticket).ok()?;
        let entry = self.entries.get(task)?;
        (entry.id == id).then_some(task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter()
    }

    /// Whether a live task has the key of this one.
    pub(super) fn is_duplicate(&self, new: &NewTask) -> bool {
        new.key.as_ref().is_some_and(|key| {
            let key = (new.kind.as_str(), key.as_str());
            self.keys.holder(&key, |task| key_of(&self.entries, &self.streams, task)).is_some()
        })
    }

    /// Accepts a task, unless it is known or its key is held.
    pub(super) fn insert(&mut self, new: NewTask, now: Timestamp) -> Inserted {
        let stream = self.streams.number(&new.queue, &new.kind);
        let Table { by_id, keys, entries, streams, .. } = self;
        let by_id = match by_id.entry(new.id) {
            hash_map::Entry::Occupied(known) if !is_forgotten(entries, *known.get()) => {
                return Inserted::Known(new.payload);
            }
            unknown => unknown,
        };
        // Where the task goes, if it is accepted.
        let task = entries.next_number();
        if let Some(key) = &new.key {
            let key = (new.kind.as_str(), key.as_str());
            if let Err(holder) = keys.hold(&key, task, |task| key_of(entries, streams, task)) {
                streams.counts(stream).duplicates += 1;
                return Inserted::Duplicate(self.get(holder).id, new.payload);
            }
        }
        by_id.insert(task);
        let due = new.start.resolve(now);
        let extra = (new.timeout.is_some() || new.retries.is_some()).then(|| {
            Box::new(Extra { timeout: new.timeout, retries: new.retries, ..Extra::default() })
        });
        self.accepted += 1;
        let state = if due > now { TaskState::Scheduled } else { TaskState::Queued };
        let entry = Entry {
            id: new.id,
            place: Place { due, age: self.accepted },
            key: new.key,
            payload: Some(new.payload),
            epoch: 0,
            holder: Incarnation::new(0),
            lease_ends: Timestamp::MIN,
            token: 0,
            extra,
            stream,
            priority: new.priority,
            state,
            suspect: false,
            interrupted: false,
            cancel: false,
        };
        entries.insert(entry);
        self.live += 1;
        let counts = streams.counts(stream);
        counts.enqueued += 1;
        *gauge(counts, state) += 1;
        self.index(task);
        Inserted::Accepted(task)
    }

    /// Makes a move of the one table of legal moves, and counts it.
    fn step(&mut self, task: u32, step: Move) -> TaskState {
        let entry =
            self.entries.get_mut(task).expect("invariant: an index names a task that exists");
        let from = entry.state;
        let to = from.after(step).unwrap_or_else(|| unreachable!("{from} task: no {step:?}"));
        entry.state = to;
        let counts = self.streams.counts(entry.stream);
        *gauge(counts, from) -= 1;
        if to.is_live() {
            *gauge(counts, to) += 1;
        }
        to
    }

    /// Puts a waiting task where claims or promotions find it.
    fn index(&mut self, task: u32) {
        let entry = self.get(task);
        let (place, priority, lane) = (entry.place, entry.priority, entry.lane());
        match (entry.state, entry.suspect) {
            (TaskState::Queued, false) => self.lanes.push(lane, place, task),
            (TaskState::Queued, true) => _ = self.suspects.insert((Reverse(priority), place, task)),
            (TaskState::Scheduled, _) => self.delayed.push(place, task),
            _ => {}
        }
    }

    /// Claims a task that was just taken out of its lane.
    pub(super) fn claim(&mut self, task: u32, by: Incarnation, token: u64, lease_ends: Timestamp) {
        self.step(task, Move::Claim);
        let entry = self.get_mut(task);
        entry.epoch += 1;
        entry.holder = by;
        entry.token = token;
        entry.lease_ends = lease_ends;
        entry.interrupted = false;
        self.holders.entry(by).or_default().held += 1;
    }

    /// Notes how an attempt of `by` ended that does not end the task.
    pub(super) fn note_attempt(
        &mut self,
        task: u32,
        by: Incarnation,
        ended: AttemptEnd,
        now: Timestamp,
    ) {
        let entry = self.get_mut(task);
        let epoch = entry.epoch;
        let attempts = &mut entry.extra_mut().attempts;
        if attempts.len() == PAST_ATTEMPTS {
            attempts.remove(0);
        }
        attempts.push(PastAttempt { epoch, by, at: now, ended });
    }

    /// Has an active task wait until `due`; a time that has come is found by the next promotion.
    pub(super) fn postpone(&mut self, task: u32, due: Timestamp, now: Timestamp) {
        self.step(task, Move::Postpone);
        self.get_mut(task).place.due = due;
        if planted(Plant::KeyFreedEarly) {
            self.free_key(task);
        }
        if due <= now {
            self.step(task, Move::Promote);
        }
        self.index(task);
    }

    /// Puts an active or parked task back to its old place.
    pub(super) fn give_back(&mut self, task: u32) {
        self.step(task, Move::Return);
        self.index(task);
    }

    /// Has no lease run out after `latest`.
    pub(super) fn shorten_leases(&mut self, latest: Timestamp) {
        for entry in self.entries.values_mut() {
            entry.lease_ends = entry.lease_ends.min(latest);
        }
    }

    /// Notes that a process holds one claim less.
    pub(super) fn release(&mut self, by: Incarnation) {
        if let Some(holder) = self.holders.get_mut(&by) {
            holder.held -= 1;
            if holder.held == 0 {
                self.holders.remove(&by);
            }
        }
    }

    /// Has an active task wait for somebody who can decode it.
    pub(super) fn park(&mut self, task: u32) {
        self.step(task, Move::Park);
    }

    /// Makes the next due task claimable, and tells which it was.
    pub(super) fn promote_next(&mut self, now: Timestamp) -> Option<u32> {
        let Table { delayed, entries, .. } = self;
        let task = delayed.pop_due(now, |place, task| is_delayed(entries, place, task))?;
        self.step(task, Move::Promote);
        self.index(task);
        Some(task)
    }

    pub(super) fn next_due(&mut self) -> Option<Timestamp> {
        let Table { delayed, entries, .. } = self;
        delayed.next_due(|place, task| is_delayed(entries, place, task))
    }

    /// Ends a live task, which `by` held if it was active: its key is free, its payload is given to
    /// the caller to be dropped when the lock is released.
    pub(super) fn end(
        &mut self,
        task: u32,
        end: End,
        by: Option<Incarnation>,
        now: Timestamp,
    ) -> Option<AnyPayload> {
        let entry = self.get(task);
        let (place, lane, from, suspect) = (entry.place, entry.lane(), entry.state, entry.suspect);
        let kept = planted(Plant::KeyKeptOnCancel) && matches!(end, End::Cancelled(_));
        if entry.key.is_some() && !kept {
            self.free_key(task);
        }
        let step = if from == TaskState::Active { Move::End } else { Move::Cancel };
        self.step(task, step);
        match from {
            TaskState::Queued if suspect => {
                self.suspects.remove(&(Reverse(lane.priority), place, task));
            }
            TaskState::Queued => _ = self.lanes.remove(lane, place),
            TaskState::Scheduled => {
                let Table { delayed, entries, .. } = self;
                delayed.forget(|place, task| is_delayed(entries, place, task));
            }
            _ => {}
        }
        let counts = self.streams.counts(lane.stream);
        match end {
            End::Succeeded => counts.processed += 1,
            End::Failed(_) => counts.failed += 1,
            End::Cancelled(_) => counts.cancelled += 1,
            End::Crashed => counts.crashed += 1,
        }
        let entry = self.get_mut(task);
        entry.suspect = false;
        if end != End::Succeeded {
            let extra = entry.extra_mut();
            (extra.end, extra.ended_by) = (Some(end), by);
        }
        self.live -= 1;
        self.ended.push_back((now, task));
        self.get_mut(task).payload.take()
    }

    fn free_key(&mut self, task: u32) {
        let Table { keys, entries, streams, .. } = self;
        keys.remove(task, |task| key_of(entries, streams, task));
    }

    /// Forgets the oldest ends until no more than `kept` are left.
    pub(super) fn forget_ends_beyond(&mut self, kept: usize) {
        while self.ended.len() > kept {
            self.forget_oldest_end();
        }
    }

    /// Forgets the end that is oldest.
    pub(super) fn forget_oldest_end(&mut self) {
        let Some((_, task)) = self.ended.pop_front() else {
            return;
        };
        if planted(Plant::KeyKeptOnCancel) {
            self.free_key(task);
        }
        if let Some(entry) = self.entries.remove(task) {
            self.by_id.remove(&entry.id);
        }
        self.give_memory_back();
    }

    /// What a burst of tasks needed is given back when it is over.
    fn give_memory_back(&mut self) {
        let kept = self.by_id.len().max(1024);
        if self.by_id.capacity() > kept * 8 {
            self.by_id.shrink_to(kept * 2);
        }
        if self.ended.capacity() > 1024 && self.ended.len() < self.ended.capacity() / 8 {
            self.ended.shrink_to(self.ended.len() * 2);
        }
    }
}

#[cfg(test)]
impl Table {
    /// For how many elements memory is allocated, in all tables that grow with the tasks.
    pub(super) fn allocated(&self) -> usize {
        self.entries.capacity()
            + self.by_id.capacity()
            + self.keys.capacity()
            + self.lanes.capacity()
            + self.delayed.capacity()
            + self.ended.capacity()
    }
}

fn key_of<'a>(entries: &'a Slots<Entry>, streams: &'a Streams, task: u32) -> (&'a str, &'a str) {
    let entry = entries.get(task).expect("invariant: only a live task's key is held");
    let key = entry.key.as_ref().map_or("", Key::as_str);
    (streams.get(entry.stream).kind.as_str(), key)
}

fn is_delayed(entries: &Slots<Entry>, place: Place, task: u32) -> bool {
    entries
        .get(task)
        .is_some_and(|entry| entry.state == TaskState::Scheduled && entry.place == place)
}

fn gauge(counts: &mut Counts, state: TaskState) -> &mut u64 {
    match state {
        TaskState::Scheduled => &mut counts.scheduled,
        TaskState::Queued => &mut counts.queued,
        TaskState::Active => &mut counts.active,
        TaskState::Parked => &mut counts.parked,
        TaskState::Ended => unreachable!("ends are counted by how they ended"),
    }
}

//! The table of tasks: every move between states is made here, with its counts and indexes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, hash_map};

use super::ends::{Ended, Ends};
use super::entry::{Entry, Extra, Record};
use super::holder::Holder;
use super::ids::ById;
use super::maintain::ScheduleRow;
use super::slots::Slots;
use super::streams::Streams;
use crate::dedup::DedupSet;
use crate::delay::DelayQueue;
use crate::id::{Incarnation, TaskId};
use crate::lanes::{Lanes, Place};
use crate::metrics::Counts;
use crate::name::Key;
use crate::outcome::End;
use crate::payload::AnyPayload;
use crate::plant::{Plant, planted};
use crate::priority::Priority;
use crate::state::{Move, TaskState};
use crate::store::{AttemptEnd, NewTask, PAST_ATTEMPTS, PastAttempt};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Slots<Entry>,
    by_id: ById<Spot>,
    keys: DedupSet,
    pub(super) lanes: Lanes,
    delayed: DelayQueue,
    /// Claimable tasks that are claimed only alone.
    pub(super) suspects: BTreeSet<(Reverse<Priority>, Place, u32)>,
    pub(super) streams: Streams,
    pub(super) holders: HashMap<Incarnation, Holder, foldhash::fast::RandomState>,
    pub(super) schedules: BTreeMap<crate::name::Kind, ScheduleRow>,
    pub(super) ends: Ends,
    pub(super) live: usize,
    accepted: u64,
    /// When `rescue` was last called, and before when it takes nothing.
    pub(super) last_rescue: Option<Timestamp>,
    pub(super) no_rescue_before: Timestamp,
}

/// Where a task is.
#[derive(Clone, Copy, Debug)]
enum Spot {
    /// Under this number among the entries.
    Live(u32),
    /// Under this number among the ends.
    Ended(u32),
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
fn is_forgotten(spot: Spot) -> bool {
    planted(Plant::IdTwice) || (planted(Plant::EndedBegunAnew) && matches!(spot, Spot::Ended(_)))
}

impl Table {
    pub(super) fn get(&self, task: u32) -> &Entry {
        self.entries.get(task).expect("invariant: an index names a task that exists")
    }

    pub(super) fn get_mut(&mut self, task: u32) -> &mut Entry {
        self.entries.get_mut(task).expect("invariant: an index names a task that exists")
    }

    /// Whether there is a task of that id, or was.
    pub(super) fn knows(&self, id: TaskId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The live task of that id.
    pub(super) fn find(&self, id: TaskId) -> Option<u32> {
        match self.by_id.get(&id) {
            Some(&Spot::Live(task)) => Some(task),
            _ => None,
        }
    }

    /// What is left of the task of that id, if it has ended.
    pub(super) fn find_ended(&self, id: TaskId) -> Option<&Record> {
        match self.by_id.get(&id) {
            Some(&Spot::Ended(number)) => self.ends.get(number).map(|ended| &ended.record),
            _ => None,
        }
    }

    /// The live task that a claim's ticket names, if it is still that task.
    pub(super) fn find_by_ticket(&self, ticket: u64, id: TaskId) -> Option<u32> {
        let task = u32::try_from(ticket).ok()?;
        let entry = self.entries.get(task)?;
        (entry.record.id == id).then_some(task)
    }

    /// The live tasks.
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
            hash_map::Entry::Occupied(known) if !is_forgotten(*known.get()) => {
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
                return Inserted::Duplicate(self.get(holder).record.id, new.payload);
            }
        }
        by_id.insert(Spot::Live(task));
        let due = new.start.resolve(now);
        let extra = (new.timeout.is_some() || new.retries.is_some()).then(|| {
            Box::new(Extra { timeout: new.timeout, retries: new.retries, ..Extra::default() })
        });
        self.accepted += 1;
        let state = if due > now { TaskState::Scheduled } else { TaskState::Queued };
        let record = Record {
            id: new.id,
            place: Place { due, age: self.accepted },
            key: new.key,
            epoch: 0,
            holder: Incarnation::new(0),
            extra,
            stream,
            priority: new.priority,
        };
        let entry = Entry {
            record,
            payload: new.payload,
            lease_ends: Timestamp::MIN,
            token: 0,
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
        let counts = self.streams.counts(entry.record.stream);
        *gauge(counts, from) -= 1;
        if to.is_live() {
            *gauge(counts, to) += 1;
        }
        to
    }

    /// Puts a waiting task where claims or promotions find it.
    fn index(&mut self, task: u32) {
        let entry = self.get(task);
        let (place, priority, lane) =
            (entry.record.place, entry.record.priority, entry.record.lane());
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
        entry.record.epoch += 1;
        entry.record.holder = by;
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
        let record = &mut self.get_mut(task).record;
        let epoch = record.epoch;
        let attempts = &mut record.extra_mut().attempts;
        if attempts.len() == PAST_ATTEMPTS {
            attempts.remove(0);
        }
        attempts.push(PastAttempt { epoch, by, at: now, ended });
    }

    /// Has an active task wait until `due`; a time that has come is found by the next promotion.
    pub(super) fn postpone(&mut self, task: u32, due: Timestamp, now: Timestamp) {
        self.step(task, Move::Postpone);
        self.get_mut(task).record.place.due = due;
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
    ) -> AnyPayload {
        let Entry { record, state: from, suspect, .. } = self.get(task);
        let (place, lane, from, suspect) = (record.place, record.lane(), *from, *suspect);
        let kept = planted(Plant::KeyKeptOnCancel) && matches!(end, End::Cancelled(_));
        if record.key.is_some() && !kept {
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
        self.live -= 1;
        let entry = if kept { self.ghost(task) } else { self.entries.remove(task) };
        let entry = entry.expect("invariant: an index names a task that exists");
        let Entry { mut record, payload, .. } = entry;
        if end != End::Succeeded {
            let extra = record.extra_mut();
            (extra.end, extra.ended_by) = (Some(end), by);
        }
        self.by_id.insert(record.id, Spot::Ended(self.ends.next_number()));
        self.ends.push(Ended { at: now, record });
        payload
    }

    /// The planted bug of a key that is kept: so is the task that holds it.
    fn ghost(&self, task: u32) -> Option<Entry> {
        let Entry { record, payload, lease_ends, token, state, .. } = self.entries.get(task)?;
        let (record, payload) = (record.clone(), payload.clone());
        let (lease_ends, token, state) = (*lease_ends, *token, *state);
        let (suspect, interrupted, cancel) = (false, false, false);
        Some(Entry { record, payload, lease_ends, token, state, suspect, interrupted, cancel })
    }

    fn free_key(&mut self, task: u32) {
        let Table { keys, entries, streams, .. } = self;
        keys.remove(task, |task| key_of(entries, streams, task));
    }

    /// Forgets the oldest ends until no more than `kept` are left.
    pub(super) fn forget_ends_beyond(&mut self, kept: usize) {
        while self.ends.len() > kept {
            self.forget_oldest_end();
        }
    }

    /// Forgets the end that is oldest.
    pub(super) fn forget_oldest_end(&mut self) {
        let Some(ended) = self.ends.pop_oldest() else {
            return;
        };
        self.by_id.remove(&ended.record.id);
        // What a burst of tasks needed is given back when it is over.
        let kept = self.by_id.len().max(1024);
        if self.by_id.capacity() > kept * 8 {
            self.by_id.shrink_to(kept * 2);
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
            + self.ends.capacity()
    }
}

fn key_of<'a>(entries: &'a Slots<Entry>, streams: &'a Streams, task: u32) -> (&'a str, &'a str) {
    let entry = entries.get(task).expect("invariant: only a live task's key is held");
    let key = entry.record.key.as_ref().map_or("", Key::as_str);
    (streams.get(entry.record.stream).kind.as_str(), key)
}

fn is_delayed(entries: &Slots<Entry>, place: Place, task: u32) -> bool {
    entries
        .get(task)
        .is_some_and(|entry| entry.state == TaskState::Scheduled && entry.record.place == place)
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

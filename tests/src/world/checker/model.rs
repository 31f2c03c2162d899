//! [`Model`]: what the store must hold, and answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conveyor::{
    CancelReply, Counts, End, Fence, Incarnation, Key, Kind, Overlap, Priority, QueueName, TaskId,
    TaskState, Timestamp,
};
use conveyor_core::lanes::AGEING;
use conveyor_core::store::{
    Budgets, Renewed, Rescued, RescuedAs, ScheduleState, Settled, Ticked, Verdict,
};

use super::Findings;
use crate::world::history::{Answer, Asked, Change, Event, Given, Move, Settling, Wanted, What};
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
    fn fence(&self) -> Option<Fence> {
        let incarnation = self.holder?;
        Some(Fence { task: self.asked.id, epoch: self.epoch, incarnation })
    }

    fn is_active(&self) -> bool {
        self.state == TaskState::Active
    }

    /// Whether it may be claimed.
    pub(super) fn is_claimable(&self, now: Timestamp) -> bool {
        matches!(self.state, TaskState::Queued | TaskState::Scheduled) && self.due <= now
    }
}

#[derive(Clone, Debug)]
struct ScheduleRow {
    state: ScheduleState,
    last: Option<TaskId>,
}

pub(super) struct Model {
    capacity: Option<usize>,
    /// Nothing happens that a lease could run out by.
    pub(super) keeps_leases: bool,
    pub(super) rows: BTreeMap<TaskId, Row>,
    keys: BTreeMap<(Kind, Key), TaskId>,
    live: BTreeSet<TaskId>,
    schedules: BTreeMap<Kind, ScheduleRow>,
    paused: BTreeSet<QueueName>,
    held: BTreeMap<Incarnation, BTreeSet<TaskId>>,
    /// Which process an incarnation is of.
    pub(super) processes: BTreeMap<Incarnation, usize>,
    /// How many claims each incarnation held when it was killed.
    held_at_crash: BTreeMap<Incarnation, usize>,
    rescued_from: BTreeSet<Incarnation>,
    /// The tasks of each number.
    pub(super) copies: BTreeMap<u32, BTreeSet<TaskId>>,
    pub(super) told: Vec<(u32, crate::world::history::Reply)>,
    pub(super) counts: Counts,
    claims: u64,
    out_of_order: u64,
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
    fn insert_child(&mut self, event: &Event, asked: &Asked) -> bool {
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

    fn claim(&mut self, event: &Event, wanted: &Wanted, given: &[Given], found: &mut Findings) {
        self.processes.insert(wanted.by, event.process);
        let holds = |model: &Model| model.held.get(&wanted.by).map_or(0, BTreeSet::len);
        let is_repeat = |given: &Given| {
            self.rows.get(&given.fence.task).and_then(Row::fence) == Some(given.fence)
                && self.rows[&given.fence.task].is_active()
        };
        if given.iter().all(is_repeat) {
            return;
        }
        let alone_before = self
            .held
            .get(&wanted.by)
            .is_some_and(|held| held.iter().any(|task| self.rows[task].alone));
        if alone_before || (wanted.alone && holds(self) > 0) {
            let tasks = given.iter().map(|given| given.fence.task);
            found.wrong(tasks, "a suspect is claimed with others beside it");
        }
        let mut room: BTreeMap<&Kind, usize> =
            wanted.kinds.iter().map(|(kind, room)| (kind, *room)).collect();
        for given in given {
            self.claim_one(event, wanted, given, &mut room, found);
        }
    }

    fn claim_one<'a>(
        &mut self,
        event: &Event,
        wanted: &'a Wanted,
        given: &Given,
        room: &mut BTreeMap<&'a Kind, usize>,
        found: &mut Findings,
    ) {
        let id = given.fence.task;
        let now = event.wall;
        let Some(row) = self.rows.get(&id) else {
            found.wrong([id], "a task is given out that was never accepted");
            return;
        };
        let asked = &row.asked;
        let mut wrong = |what: &str| found.wrong([id], what);
        if !row.is_claimable(now) {
            wrong(&format!("given out while it is {}, due at {}", row.state, row.due));
        }
        if self.paused.contains(&asked.queue) {
            wrong("given out while its queue is paused");
        }
        if !wanted.queues.contains(&asked.queue) || asked.priority < wanted.min_priority {
            wrong("given to who did not ask for it");
        }
        match room.get_mut(&asked.kind) {
            Some(room) if *room > 0 => *room -= 1,
            _ => wrong("given to who has no room for its kind"),
        }
        if row.suspect != wanted.alone {
            wrong("a suspect is claimed like others, or another as a suspect");
        }
        if given.fence.epoch <= row.epoch || given.fence.incarnation != wanted.by {
            wrong("its fence is not a new one");
        }
        if given.budgets != row.budgets {
            wrong(&format!("it cost {:?}, but is said to: {:?}", row.budgets, given.budgets));
        }
        self.check_order(event, wanted, id, room, found);
        let row = self.rows.get_mut(&id).expect("it was just there");
        row.state = TaskState::Active;
        row.epoch = given.fence.epoch;
        row.holder = Some(wanted.by);
        row.lease_ends = now + wanted.lease;
        row.interrupted = false;
        row.alone = wanted.alone;
        self.held.entry(wanted.by).or_default().insert(id);
    }

    /// Outside the ageing share nothing is given out while something more urgent could be.
    fn check_order(
        &mut self,
        event: &Event,
        wanted: &Wanted,
        id: TaskId,
        room: &BTreeMap<&Kind, usize>,
        found: &mut Findings,
    ) {
        if wanted.alone {
            return;
        }
        self.claims += 1;
        let priority = self.rows[&id].asked.priority;
        let has_room = |kind: &Kind| room.get(kind).is_some_and(|&room| room > 0);
        let passed_over = self.live().find(|row| {
            row.asked.priority > priority
                && row.is_claimable(event.wall)
                && !row.suspect
                && row.asked.id != id
                && has_room(&row.asked.kind)
                && wanted.queues.contains(&row.asked.queue)
                && !self.paused.contains(&row.asked.queue)
        });
        let Some(passed_over) = passed_over.map(|row| row.asked.id) else { return };
        self.out_of_order += 1;
        let share = self.claims / u64::from(AGEING) + 1;
        if wanted.min_priority > Priority::MIN || self.out_of_order > share {
            let what = format!(
                "claimed before a more urgent one, which is not the share of the oldest: {} of {}",
                self.out_of_order, self.claims
            );
            found.wrong([id, passed_over], what);
        }
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

    fn end(&mut self, id: TaskId, end: End) {
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

    fn renew(
        &mut self,
        event: &Event,
        fence: Fence,
        lease: Duration,
        reply: Renewed,
        found: &mut Findings,
    ) {
        let row = self.rows.get_mut(&fence.task);
        let current =
            row.filter(|row| row.is_active() && row.fence() == Some(fence) && !row.interrupted);
        let expected = match &current {
            Some(row) => Renewed::Held { cancel: row.cancel },
            None => Renewed::Lost,
        };
        if reply != expected {
            let what = format!("a renewal is {reply:?}, but must be {expected:?}");
            found.wrong([fence.task], what);
        }
        if let Some(row) = current {
            row.lease_ends = event.wall + lease;
        }
    }

    fn crash(&mut self, process: usize) {
        for (&by, _) in self.processes.iter().filter(|&(_, of)| *of == process) {
            self.held_at_crash.insert(by, self.held.get(&by).map_or(0, BTreeSet::len));
        }
    }

    fn rescue(&mut self, event: &Event, rescued: &Rescued, budget: u32, found: &mut Findings) {
        let id = rescued.id;
        let Some(row) = self.rows.get_mut(&id) else {
            found.wrong([id], "a task is taken back that was never accepted");
            return;
        };
        let mut wrong = |what: &str| found.wrong([id], what);
        if !row.is_active() || row.holder != Some(rescued.from) {
            wrong("taken back from who does not hold it");
        }
        if row.lease_ends > event.wall {
            wrong(&format!("taken back while its lease holds, until {}", row.lease_ends));
        }
        let of = self.processes.get(&rescued.from);
        if of == Some(&event.process) && !row.interrupted {
            wrong("a process took back what it holds itself");
        }
        if self.keeps_leases && !row.interrupted {
            wrong("a lease ran out, though nothing was in the way of renewing it");
        }
        let held_at_crash = self.held_at_crash.get(&rescued.from);
        let first = !self.rescued_from.contains(&rescued.from);
        let is_charge = matches!(rescued.rescued_as, RescuedAs::Charged | RescuedAs::Crashed);
        if row.interrupted != (rescued.rescued_as == RescuedAs::Interrupted)
            && rescued.rescued_as != RescuedAs::Cancelled
        {
            wrong("an interruption is not taken for one, or something else is");
        }
        if row.cancel != (rescued.rescued_as == RescuedAs::Cancelled) {
            wrong("it was to be cancelled and is not, or the other way round");
        }
        if !row.interrupted && !row.cancel {
            match held_at_crash {
                Some(1) if first && !is_charge => wrong("it died alone, and is not charged"),
                Some(2..) if is_charge => wrong("it died in company, and is charged"),
                _ => {}
            }
        }
        self.rescued_from.insert(rescued.from);
        if let Some(held) = self.held.get_mut(&rescued.from) {
            held.remove(&id);
        }
        row.holder = None;
        row.queued_at = event.at;
        row.state = TaskState::Queued;
        match rescued.rescued_as {
            RescuedAs::Interrupted => {
                row.budgets.interruptions += 1;
                self.counts.returned += 1;
            }
            RescuedAs::Suspect => {
                row.budgets.interruptions += 1;
                row.suspect = true;
                self.counts.returned += 1;
            }
            RescuedAs::Charged | RescuedAs::Crashed => {
                row.budgets.crashes += 1;
                row.suspect = true;
                let used_up = row.budgets.crashes >= budget;
                if used_up != (rescued.rescued_as == RescuedAs::Crashed) {
                    wrong(&format!("{:?} of a budget of {budget}", rescued.rescued_as));
                }
                if rescued.rescued_as == RescuedAs::Crashed {
                    self.end(id, End::Crashed);
                }
            }
            RescuedAs::Cancelled => self.end(id, End::Cancelled("cancelled on request".into())),
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

    fn put_schedule(&mut self, name: &Kind, state: &ScheduleState, found: &mut Findings) {
        let before = self.schedules.get(name);
        if let Some(before) = before
            && (state.mark < before.state.mark || state.revision < before.state.revision)
        {
            found.wrong([], format!("the mark of {name} went back"));
        }
        let last = before.and_then(|row| row.last);
        self.schedules.insert(name.clone(), ScheduleRow { state: state.clone(), last });
    }

    fn tick(&mut self, event: &Event, step: &Move, reply: &Ticked, found: &mut Findings) {
        let Some(row) = self.schedules.get(&step.name) else {
            if *reply != Ticked::Gone {
                found.wrong([], format!("a schedule ticks that is not there: {}", step.name));
            }
            return;
        };
        let state = &row.state;
        let is_current =
            state.revision == step.revision && state.mark == step.from && step.to > state.mark;
        let fired = match reply {
            Ticked::Fired(id) => Some(*id),
            Ticked::Skipped => None,
            Ticked::Stale(_) => {
                if is_current {
                    found.wrong([], format!("a tick of {} is refused", step.name));
                }
                return;
            }
            Ticked::Gone => {
                found.wrong([], format!("a schedule is gone that is there: {}", step.name));
                return;
            }
        };
        if !is_current {
            let what = format!("{} ticks at {} for the second time", step.name, step.to);
            found.wrong(fired, what);
        }
        if step.to > event.wall {
            found.wrong(fired, format!("{} ticks before its time, {}", step.name, step.to));
        }
        let cadence = &state.schedule.cadence;
        if cadence.last_until(state.anchor, step.to) != Some(step.to) {
            found.wrong(fired, format!("{} does not tick at {}", step.name, step.to));
        }
        let overlaps = state.schedule.overlap == Overlap::Skip
            && row.last.is_some_and(|last| self.rows[&last].state.is_live());
        if overlaps && fired.is_some() {
            found.wrong(fired, format!("{} ticks while its last task is live", step.name));
        }
        if let Some(row) = self.schedules.get_mut(&step.name) {
            row.state.mark = step.to;
            row.last = fired.or(row.last);
        }
        match &step.task {
            Some(asked) if !overlaps => {
                if self.insert_child(event, asked) != fired.is_some() {
                    found.wrong([asked.id], format!("a tick's task, {reply:?}"));
                }
            }
            _ => {}
        }
    }

    /// While nothing is wrong no schedule falls behind: by no more than a process takes to come back
    /// that a task took down.
    fn schedules_are_kept(&self, event: &Event, found: &mut Findings) {
        for (name, row) in &self.schedules {
            let ScheduleState { schedule, anchor, mark, .. } = &row.state;
            let due = schedule.cadence.last_until(*anchor, event.wall - Duration::from_secs(10));
            if due.is_some_and(|due| due > *mark) {
                found.wrong([], format!("{name} should have ticked at {due:?}, but is at {mark}"));
            }
        }
    }
}

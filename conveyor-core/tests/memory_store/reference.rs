//! A store as one would write it with no thought of speed: every task is a row, and every question
//! is a walk over all rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conveyor_core::lanes::AGEING;
use conveyor_core::metrics::{Counters, Counts};
use conveyor_core::schedule::Overlap;
use conveyor_core::store::{
    AttemptEnd, Budgets, CancelReply, ClaimRequest, Enqueued, NewTask, PAST_ATTEMPTS, PastAttempt,
    Renewed, Rescue, RescueRequest, Rescued, RescuedAs, ScheduleState, Settle, Settled, TaskInfo,
    Tick, Ticked, Verdict,
};
use conveyor_core::{
    End, Fence, Incarnation, Kind, Priority, QueueName, Retention, Schedule, TaskId, TaskState,
    Timestamp,
};

#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) now: Timestamp,
    capacity: usize,
    retention: Retention,
    rows: BTreeMap<TaskId, Row>,
    /// Ends, the oldest first.
    ended: Vec<(Timestamp, TaskId)>,
    paused: BTreeSet<QueueName>,
    since_ageing: BTreeMap<QueueName, u32>,
    /// What only rises; the rest is counted by the rows.
    counts: BTreeMap<(QueueName, Kind), Counts>,
    accepted: u64,
    processes: BTreeMap<Incarnation, Process>,
    last_rescue: Option<Timestamp>,
    no_rescue_before: Timestamp,
    schedule: Option<(ScheduleState, Option<TaskId>)>,
}

struct Row {
    info: TaskInfo,
    age: u64,
    payload: u64,
    /// Who claimed it last, unless it was rescued since.
    claimed_by: Option<Incarnation>,
    token: u64,
    lease_ends: Timestamp,
    interrupted: bool,
    cancel: bool,
}

/// A process that holds something.
#[derive(Default)]
struct Process {
    tokens: BTreeSet<u64>,
    alone: bool,
    died_in_company: bool,
}

/// What a claim gives.
#[derive(Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) fence: Fence,
    pub(crate) names: (Kind, QueueName, Option<conveyor_core::Key>),
    pub(crate) priority: Priority,
    pub(crate) payload: u64,
    pub(crate) budgets: Budgets,
}

impl Row {
    fn place(&self) -> (Timestamp, u64) {
        (self.info.due, self.age)
    }

    fn is(&self, state: TaskState) -> bool {
        self.info.state == state
    }

    fn is_held_by(&self, by: Incarnation) -> bool {
        self.info.holder == Some(by)
    }

    fn given(&self) -> Given {
        Given {
            fence: Fence {
                task: self.info.id,
                epoch: self.info.epoch,
                incarnation: self.info.holder.expect("an active task"),
            },
            names: (self.info.kind.clone(), self.info.queue.clone(), self.info.key.clone()),
            priority: self.info.priority,
            payload: self.payload,
            budgets: self.info.budgets,
        }
    }
}

impl Reference {
    pub(crate) fn new(now: Timestamp, capacity: usize, retention: Retention) -> Self {
        Reference { now, capacity, retention, ..Reference::default() }
    }

    pub(crate) fn tasks(&self) -> Vec<TaskInfo> {
        self.rows.values().map(|row| row.info.clone()).collect()
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut each = self.counts.clone();
        for row in self.rows.values() {
            let of = (row.info.queue.clone(), row.info.kind.clone());
            let counts = each.get_mut(&of).expect("it was counted when it came");
            match row.info.state {
                TaskState::Queued => counts.queued += 1,
                TaskState::Scheduled => counts.scheduled += 1,
                TaskState::Active => counts.active += 1,
                TaskState::Parked => counts.parked += 1,
                _ => {}
            }
        }
        Counters { each }
    }

    fn counts(&mut self, id: TaskId) -> &mut Counts {
        let info = &self.rows[&id].info;
        let of = (info.queue.clone(), info.kind.clone());
        self.counts.entry(of).or_default()
    }

    fn row(&mut self, id: TaskId) -> &mut Row {
        self.rows.get_mut(&id).expect("a known task")
    }

    fn live(&self) -> usize {
        self.rows.values().filter(|row| row.info.state.is_live()).count()
    }

    pub(crate) fn enqueue(&mut self, new: &NewTask) -> Enqueued {
        let refused_anyway = self.rows.contains_key(&new.id) || self.holder(new).is_some();
        if !refused_anyway && self.live() >= self.capacity {
            return Enqueued::Full { task: Box::new(new.clone()), capacity: self.capacity };
        }
        self.insert(new)
    }

    /// The live task that has the key of this one.
    fn holder(&self, new: &NewTask) -> Option<TaskId> {
        let holder = self.rows.values().find(|row| {
            let info = &row.info;
            info.state.is_live()
                && info.key.is_some()
                && info.key == new.key
                && info.kind == new.kind
        });
        holder.map(|row| row.info.id)
    }

    fn insert(&mut self, new: &NewTask) -> Enqueued {
        let holder = self.holder(new);
        let counts = self.counts.entry((new.queue.clone(), new.kind.clone())).or_default();
        if self.rows.contains_key(&new.id) {
            return Enqueued::Accepted;
        }
        if holder.is_some() {
            counts.duplicates += 1;
            return Enqueued::Duplicate(holder);
        }
        counts.enqueued += 1;
        self.accepted += 1;
        let due = new.start.resolve(self.now);
        let early = due > self.now;
        let info = TaskInfo {
            id: new.id,
            kind: new.kind.clone(),
            queue: new.queue.clone(),
            key: new.key.clone(),
            priority: new.priority,
            state: if early { TaskState::Scheduled } else { TaskState::Queued },
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
            payload: *new.payload.downcast_ref().expect("a number"),
            claimed_by: None,
            token: 0,
            lease_ends: Timestamp::MIN,
            interrupted: false,
            cancel: false,
        };
        self.rows.insert(new.id, row);
        Enqueued::Accepted
    }

    pub(crate) fn promote(&mut self, limit: usize) -> Option<Timestamp> {
        for _ in 0..limit {
            let now = self.now;
            let scheduled = self.rows.values_mut().filter(|row| row.is(TaskState::Scheduled));
            match scheduled.min_by_key(|row| row.place()) {
                Some(row) if row.info.due <= now => row.info.state = TaskState::Queued,
                _ => break,
            }
        }
        let scheduled = self.rows.values().filter(|row| row.is(TaskState::Scheduled));
        scheduled.map(|row| row.info.due).min()
    }

    pub(crate) fn claim(&mut self, request: &ClaimRequest<'_>) -> (Vec<Given>, bool) {
        let by = request.by;
        let process = self.processes.get_mut(&by);
        let (alone, known, holds) = process.map_or((false, false, false), |process| {
            process.died_in_company = false;
            (process.alone, process.tokens.contains(&request.token), true)
        });
        let mut given = Vec::new();
        if known {
            let held = |row: &&Row| row.is_held_by(by) && row.token == request.token;
            let mut rows: Vec<&Row> = self.rows.values().filter(held).collect();
            rows.sort_by_key(|row| (Reverse(row.info.priority), row.place()));
            given.extend(rows.into_iter().map(Row::given));
        } else if request.alone {
            let demand = &request.demand;
            if !holds && demand.room > 0 {
                let next = self
                    .wanted(request, &[], true)
                    .min_by_key(|row| (Reverse(row.info.priority), row.place()));
                if let Some(id) = next.map(|row| row.info.id) {
                    given.push(self.take(id, request));
                    self.processes.entry(by).or_default().alone = true;
                }
            }
        } else if !alone && request.demand.room > 0 {
            self.promote(usize::MAX);
            while given.len() < request.demand.room {
                let Some(id) = self.next(request, &given) else {
                    break;
                };
                given.push(self.take(id, request));
            }
        }
        let suspects = self.wanted(request, &[], true).next().is_some();
        (given, suspects)
    }

    /// The claimable tasks that the request asks for, suspects or others.
    fn wanted(
        &self,
        request: &ClaimRequest<'_>,
        given: &[Given],
        suspects: bool,
    ) -> impl Iterator<Item = &Row> {
        let demand = request.demand;
        let mut room: BTreeMap<Kind, usize> = BTreeMap::new();
        for kind in demand.kinds {
            let taken = given.iter().filter(|given| given.names.0 == kind.kind).count();
            room.insert(kind.kind.clone(), kind.room - taken);
        }
        let queues: Vec<QueueName> = self.asked(request);
        self.rows.values().filter(move |row| {
            row.is(TaskState::Queued)
                && row.info.suspect == suspects
                && queues.contains(&row.info.queue)
                && room.get(&row.info.kind).is_some_and(|&room| room > 0)
                && (!suspects || row.info.priority >= demand.min_priority)
        })
    }

    fn asked(&self, request: &ClaimRequest<'_>) -> Vec<QueueName> {
        let queues = request.demand.queues.iter();
        queues.filter(|queue| !self.paused.contains(*queue)).cloned().collect()
    }

    fn next(&mut self, request: &ClaimRequest<'_>, given: &[Given]) -> Option<TaskId> {
        let asked = self.asked(request);
        let takes_part = request.demand.min_priority == Priority::MIN;
        let since = |queue| self.since_ageing.get(queue).copied().unwrap_or(0);
        let ageing = takes_part && asked.iter().any(|queue| since(queue) + 1 >= AGEING);
        let wanted = self.wanted(request, given, false);
        let next = if ageing {
            wanted.min_by_key(|row| row.place())
        } else {
            wanted
                .filter(|row| row.info.priority >= request.demand.min_priority)
                .min_by_key(|row| (Reverse(row.info.priority), row.place()))
        };
        let id = next?.info.id;
        if takes_part {
            for queue in asked {
                let since = self.since_ageing.entry(queue).or_default();
                *since = if ageing { 0 } else { *since + 1 };
            }
        }
        Some(id)
    }

    fn take(&mut self, id: TaskId, request: &ClaimRequest<'_>) -> Given {
        let lease_ends = self.now + request.lease;
        let process = self.processes.entry(request.by).or_default();
        process.tokens.insert(request.token);
        let row = self.row(id);
        row.info.state = TaskState::Active;
        row.info.epoch += 1;
        row.info.holder = Some(request.by);
        row.claimed_by = Some(request.by);
        row.token = request.token;
        row.lease_ends = lease_ends;
        row.interrupted = false;
        row.given()
    }

    /// Has an active task leave its holder.
    fn release(&mut self, id: TaskId) {
        let Some(by) = self.row(id).info.holder.take() else {
            return;
        };
        if !self.rows.values().any(|row| row.is_held_by(by)) {
            self.processes.remove(&by);
        }
    }

    /// Notes how the attempt that `by` has made ended; the task goes on.
    fn note_attempt(&mut self, id: TaskId, by: Incarnation, ended: AttemptEnd) {
        let at = self.now;
        let info = &mut self.row(id).info;
        info.attempts.push(PastAttempt { epoch: info.epoch, by, at, ended });
        let surplus = info.attempts.len().saturating_sub(PAST_ATTEMPTS);
        info.attempts.drain(..surplus);
    }

    /// Ends a task that `by` held, if it was active.
    fn end(&mut self, id: TaskId, end: End, by: Option<Incarnation>) {
        let counts = self.counts(id);
        match &end {
            End::Succeeded => counts.processed += 1,
            End::Failed(_) => counts.failed += 1,
            End::Cancelled(_) => counts.cancelled += 1,
            End::Crashed => counts.crashed += 1,
            other => panic!("an unknown end: {other:?}"),
        }
        let row = self.row(id);
        row.info.state = TaskState::Ended;
        row.info.suspect = false;
        (row.info.end, row.info.ended_by) = (Some(end), by);
        self.ended.push((self.now, id));
    }

    fn forget_beyond(&mut self, kept: usize) {
        let surplus = self.ended.len().saturating_sub(kept);
        for (_, id) in self.ended.drain(..surplus) {
            self.rows.remove(&id);
        }
    }

    fn wait(&mut self, id: TaskId, delay: Duration) {
        let now = self.now;
        let info = &mut self.row(id).info;
        info.due = now + delay;
        info.state = if info.due > now { TaskState::Scheduled } else { TaskState::Queued };
        info.suspect = false;
    }

    pub(crate) fn settle(&mut self, settle: &Settle) -> Settled {
        let fence = settle.fence;
        let Some(row) = self.rows.get_mut(&fence.task) else {
            return Settled::Fenced;
        };
        if row.info.epoch != fence.epoch || row.claimed_by != Some(fence.incarnation) {
            return Settled::Fenced;
        }
        let interrupts = settle.verdict == Verdict::Interrupt;
        if !row.is(TaskState::Active) || (row.interrupted && interrupts) {
            return Settled::Already;
        }
        row.interrupted |= interrupts;
        let cancel = row.cancel;
        let counts = self.counts(fence.task);
        counts.panicked += u64::from(settle.panicked);
        counts.timed_out += u64::from(settle.timed_out);
        if !interrupts {
            self.release(fence.task);
            self.apply(fence.task, fence.incarnation, settle.verdict.clone(), cancel);
            for child in &settle.children {
                self.insert(child);
            }
            self.forget_beyond(self.retention.count);
        }
        Settled::Applied
    }

    fn apply(&mut self, id: TaskId, by: Incarnation, verdict: Verdict, cancel: bool) {
        let budgets = &mut self.row(id).info.budgets;
        match &verdict {
            Verdict::Retry { .. } | Verdict::Fail { .. } => budgets.errors += 1,
            Verdict::Snooze { .. } => budgets.snoozes += 1,
            Verdict::Return { started } => budgets.interruptions += u32::from(*started),
            _ => {}
        }
        if let Verdict::Retry { error, .. } = &verdict {
            self.row(id).info.note = Some(error.clone());
        }
        match verdict {
            Verdict::Succeed => self.end(id, End::Succeeded, Some(by)),
            Verdict::Fail { error } => self.end(id, End::Failed(error), Some(by)),
            Verdict::Cancel { why } => self.end(id, End::Cancelled(why), Some(by)),
            _ if cancel => self.end(id, on_request(), Some(by)),
            Verdict::Retry { delay, error } => {
                self.counts(id).retried += 1;
                self.note_attempt(id, by, AttemptEnd::Failed(error));
                self.wait(id, delay);
            }
            Verdict::Snooze { delay } => {
                self.counts(id).snoozed += 1;
                self.note_attempt(id, by, AttemptEnd::Snoozed);
                self.wait(id, delay);
            }
            Verdict::Return { started } => {
                self.counts(id).returned += u64::from(started);
                self.row(id).info.state = TaskState::Queued;
                if started {
                    self.note_attempt(id, by, AttemptEnd::Returned);
                }
            }
            Verdict::Park { reason } => {
                let info = &mut self.row(id).info;
                info.state = TaskState::Parked;
                info.note = Some(reason.clone());
                info.suspect = false;
                self.note_attempt(id, by, AttemptEnd::Parked(reason));
            }
            Verdict::Interrupt => unreachable!("it leaves the task as it is"),
        }
    }

    pub(crate) fn renew(&mut self, by: Incarnation, fence: Fence, lease: Duration) -> Renewed {
        if let Some(process) = self.processes.get_mut(&by) {
            process.died_in_company = false;
        }
        let lease_ends = self.now + lease;
        match self.rows.get_mut(&fence.task) {
            Some(row)
                if row.is_held_by(by)
                    && by == fence.incarnation
                    && row.info.epoch == fence.epoch
                    && !row.interrupted =>
            {
                row.lease_ends = lease_ends;
                Renewed::Held { cancel: row.cancel }
            }
            _ => Renewed::Lost,
        }
    }

    pub(crate) fn rescue(&mut self, request: &RescueRequest) -> Rescue {
        let now = self.now;
        let last = self.last_rescue.replace(now);
        let went_back = last.is_some_and(|last| now < last);
        if went_back || last.is_none_or(|last| now > last + (request.lease - request.lease / 3)) {
            self.no_rescue_before = now + request.lease;
        }
        let mut held: Vec<(Timestamp, (Timestamp, u64), TaskId)> = Vec::new();
        for row in self.rows.values_mut().filter(|row| row.is(TaskState::Active)) {
            if went_back {
                row.lease_ends = row.lease_ends.min(now + request.lease);
            }
            if !row.is_held_by(request.by) || row.interrupted {
                let ends = row.lease_ends.max(self.no_rescue_before);
                held.push((ends, row.place(), row.info.id));
            }
        }
        held.sort();
        let mut rescue = Rescue::default();
        for (ends, _, id) in held {
            if ends > now || rescue.rescued.len() == request.limit {
                rescue.next = Some(ends.max(now));
                break;
            }
            rescue.rescued.push(self.rescue_one(id, request.crash_budget));
        }
        self.forget_beyond(self.retention.count);
        rescue
    }

    fn rescue_one(&mut self, id: TaskId, crash_budget: u32) -> Rescued {
        let from = self.row(id).info.holder.expect("an active task");
        let held = self.rows.values().filter(|row| row.is_held_by(from)).count();
        let process = self.processes.get_mut(&from).expect("it holds something");
        process.died_in_company |= held > 1;
        let in_company = process.died_in_company;
        self.release(id);
        let row = self.row(id);
        row.claimed_by = None;
        row.info.state = TaskState::Queued;
        let budgets = &mut row.info.budgets;
        let rescued_as = if row.cancel {
            RescuedAs::Cancelled
        } else if row.interrupted {
            budgets.interruptions += 1;
            RescuedAs::Interrupted
        } else if in_company {
            budgets.interruptions += 1;
            row.info.suspect = true;
            RescuedAs::Suspect
        } else {
            budgets.crashes += 1;
            row.info.suspect = true;
            if budgets.crashes < crash_budget { RescuedAs::Charged } else { RescuedAs::Crashed }
        };
        let kind = row.info.kind.clone();
        match rescued_as {
            RescuedAs::Crashed => self.end(id, End::Crashed, Some(from)),
            RescuedAs::Cancelled => self.end(id, on_request(), Some(from)),
            RescuedAs::Charged => self.note_attempt(id, from, AttemptEnd::Crashed),
            RescuedAs::Interrupted => {
                self.counts(id).returned += 1;
                self.note_attempt(id, from, AttemptEnd::Interrupted);
            }
            RescuedAs::Suspect => {
                self.counts(id).returned += 1;
                self.note_attempt(id, from, AttemptEnd::Suspected);
            }
        }
        Rescued { id, kind, from, rescued_as }
    }

    pub(crate) fn cancel(&mut self, id: TaskId) -> CancelReply {
        let Some(row) = self.rows.get_mut(&id) else {
            return CancelReply::Unknown;
        };
        match row.info.state {
            TaskState::Ended => CancelReply::AlreadyEnded,
            TaskState::Active => {
                row.cancel = true;
                CancelReply::Requested
            }
            _ => {
                self.end(id, on_request(), None);
                self.forget_beyond(self.retention.count);
                CancelReply::Cancelled
            }
        }
    }

    pub(crate) fn pause(&mut self, queue: QueueName, paused: bool) {
        if paused {
            self.paused.insert(queue);
        } else {
            self.paused.remove(&queue);
        }
    }

    pub(crate) fn prune(&mut self, limit: usize) -> usize {
        let oldest = self.now - self.retention.age;
        let old = self.ended.iter().take_while(|(at, _)| *at < oldest).count().min(limit);
        self.forget_beyond(self.ended.len() - old);
        old
    }

    pub(crate) fn put_schedule(&mut self, schedule: Schedule) -> ScheduleState {
        let now = self.now;
        let first = now - Duration::from_micros(1);
        let (revision, mark, last) = match &self.schedule {
            Some((state, _)) if state.schedule == schedule => {
                return ScheduleState { now, ..state.clone() };
            }
            Some((state, last)) => (state.revision + 1, first.max(state.mark), *last),
            None => (1, first, None),
        };
        let state = ScheduleState { schedule, revision, anchor: now, mark, now };
        self.schedule = Some((state.clone(), last));
        state
    }

    pub(crate) fn remove_schedule(&mut self) {
        self.schedule = None;
    }

    pub(crate) fn tick(&mut self, tick: &Tick) -> Ticked {
        let Some((state, last)) = self.schedule.clone() else {
            return Ticked::Gone;
        };
        if (state.revision, state.mark) != (tick.revision, tick.from) || tick.to <= state.mark {
            return Ticked::Stale(ScheduleState { now: self.now, ..state });
        }
        let is_live = |id| self.rows.get(&id).is_some_and(|row| row.info.state.is_live());
        let overlaps = state.schedule.overlap == Overlap::Skip && last.is_some_and(is_live);
        let new = tick.task.as_ref().filter(|_| !overlaps);
        let fired = new.filter(|new| {
            let known = self.rows.contains_key(&new.id);
            matches!(self.insert(new), Enqueued::Accepted) && !known
        });
        let fired = fired.map(|new| new.id);
        let state = ScheduleState { mark: tick.to, ..state };
        self.schedule = Some((state, fired.or(last)));
        fired.map_or(Ticked::Skipped, Ticked::Fired)
    }
}

fn on_request() -> End {
    End::Cancelled("cancelled on request".into())
}

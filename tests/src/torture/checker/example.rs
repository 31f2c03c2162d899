//! [`Example`]: a history that is written by hand, to see what the checker finds in it.

use conveyor::{Counts, End, Kind, Priority, QueueName, TaskId, TaskInfo, TaskState, Timestamp};
use conveyor_core::store::Budgets;

use super::{AtRest, History, Rules, check};
use crate::torture::line::{
    Answer, Asked, Attempt, Begun, Ending, Holding, How, Lease, Line, Recorded, TickReply, Ticking,
    What,
};

/// How long claims hold.
pub(super) const LEASE: i64 = 2_000_000;

/// A history, and the store at its end.
pub(super) struct Example {
    pub(super) lines: Vec<Line>,
    pub(super) rest: AtRest,
    now: i64,
    by: u32,
    tasks: u128,
}

impl Default for Example {
    fn default() -> Self {
        let rest = AtRest { tasks: Vec::new(), counts: Counts::default() };
        Example { lines: Vec::new(), rest, now: 1_000, by: 0, tasks: 0 }
    }
}

impl Example {
    /// What the checker finds.
    pub(super) fn findings(&self) -> Vec<String> {
        let history = History::new(self.lines.clone());
        let found = check(&history, &self.rest, &Rules { may_fail: false });
        found.into_iter().map(|broken| broken.what).collect()
    }

    /// What follows happens in that process.
    pub(super) fn by(&mut self, process: u32) -> &mut Self {
        self.by = process;
        self
    }

    /// What follows happens so many microseconds later.
    pub(super) fn wait(&mut self, micros: i64) -> &mut Self {
        self.now += micros;
        self
    }

    pub(super) fn now(&self) -> i64 {
        self.now
    }

    pub(super) fn note(&mut self, what: What) {
        self.lines.push(Line { at: self.now, by: self.by, what });
    }

    /// A task that is accepted, and of which the store says that it has succeeded.
    pub(super) fn enqueue(&mut self, kind: &'static str, key: Option<&str>) -> TaskId {
        let id = self.new_task(kind);
        let key = key.map(str::to_owned);
        self.note(What::Enqueue(Asked { id, kind: kind.into(), key }));
        self.note(What::Enqueued(id, Answer::Accepted));
        self.note(What::Acknowledged(id));
        id
    }

    fn new_task(&mut self, kind: &'static str) -> TaskId {
        self.tasks += 1;
        let id = TaskId::from_u128(self.tasks);
        self.rest.tasks.push(TaskInfo {
            id,
            kind: Kind::from_static(kind),
            queue: QueueName::from_static("default"),
            key: None,
            priority: Priority::NORMAL,
            state: TaskState::Ended,
            due: Timestamp::from_micros(self.now),
            budgets: Budgets::default(),
            epoch: 1,
            holder: None,
            suspect: false,
            note: None,
            attempts: Vec::new(),
            ended_by: None,
            end: Some(End::Succeeded),
        });
        self.rest.counts.enqueued += 1;
        self.rest.counts.processed += 1;
        id
    }

    pub(super) fn info(&mut self, task: TaskId) -> &mut TaskInfo {
        self.rest.tasks.iter_mut().find(|info| info.id == task).unwrap()
    }

    pub(super) fn claim(&mut self, task: TaskId, epoch: u64) {
        let lease = Lease { asked: self.now, micros: LEASE };
        self.note(What::Claimed(Attempt { task, epoch }, lease));
    }

    pub(super) fn renew(&mut self, task: TaskId, epoch: u64) {
        let lease = Lease { asked: self.now, micros: LEASE };
        self.note(What::Renewed(Attempt { task, epoch }, lease, Holding::Held));
    }

    pub(super) fn start(&mut self, task: TaskId, epoch: u64, kind: &str) {
        let begun = Begun { kind: kind.into(), key: None, attempt: 1 };
        self.note(What::Start(Attempt { task, epoch }, begun));
    }

    pub(super) fn end(&mut self, task: TaskId, epoch: u64, how: How) {
        self.note(What::End(Attempt { task, epoch }, how));
    }

    pub(super) fn settle(&mut self, task: TaskId, epoch: u64, ending: Ending) {
        let attempt = Attempt { task, epoch };
        self.note(What::Settle(attempt, ending));
        self.note(What::Settled(attempt, ending, Recorded::Applied));
    }

    /// A task that is enqueued, run and settled as it must be.
    pub(super) fn run_a_task(&mut self) -> TaskId {
        let task = self.enqueue("plain", None);
        self.by(1).claim(task, 1);
        self.start(task, 1, "plain");
        self.end(task, 1, How::Succeeded);
        self.settle(task, 1, Ending::Succeed);
        task
    }

    /// A schedule's mark moves, and brings a task.
    pub(super) fn tick(&mut self, from: i64, to: i64) {
        let task = self.new_task("tick");
        let ticking = Ticking { name: "tick".into(), from, to, task };
        self.note(What::Enqueue(Asked { id: task, kind: "tick".into(), key: None }));
        self.note(What::Tick(ticking.clone()));
        self.note(What::Ticked(ticking, TickReply::Fired));
    }
}

impl Line {
    /// The attempt that is settled here.
    pub(super) fn settled_attempt(&self) -> Attempt {
        match self.what {
            What::Settle(attempt, _) | What::Settled(attempt, ..) => attempt,
            _ => panic!("nothing is settled here"),
        }
    }
}

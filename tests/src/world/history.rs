//! [`History`]: all that happened in a world, in one order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conveyor::{Cancelled, Fence, Incarnation, Key, Kind, Priority, QueueName, TaskId, Timestamp};
use conveyor_core::store::{
    Budgets, CancelReply, Enqueued, Renewed, Rescued, ScheduleState, Settled, Ticked, Verdict,
};
use conveyor_testkit::Sim;

/// Something that happened. In a store it is recorded in the order in which it took effect.
#[derive(Clone, Debug)]
pub struct Event {
    /// The virtual time since the start.
    pub at: Duration,
    /// The store's clock.
    pub wall: Timestamp,
    /// Which of the world's processes it was, or was asked by.
    pub process: usize,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// The store was given a task.
    Enqueue(Asked, Answer),
    /// The store was asked for tasks, and gave some.
    Claim(Wanted, Vec<Given>),
    /// The store was told how an attempt ended.
    Settle(Settling, Settled),
    /// The store was asked to extend a lease.
    Renew(Fence, Duration, Renewed),
    /// The store took a task back.
    Rescue(Rescued, u32),
    /// The store was asked to cancel a task.
    Cancel(TaskId, CancelReply),
    /// A queue was paused, or resumed.
    Pause(QueueName, bool),
    /// A schedule was put.
    PutSchedule(Kind, ScheduleState),
    /// A schedule was removed.
    RemoveSchedule(Kind),
    /// A schedule's mark was to move.
    Tick(Move, Ticked),
    /// A handler began.
    Start(Attempt),
    /// A handler was told to stop.
    Told(Attempt, Cancelled),
    /// A handler is over.
    Finish(Attempt, How, Option<Cancelled>),
    /// A caller was told what became of the number that it enqueued.
    Receipt(u32, Reply),
    /// A process changed, or the world did.
    World(Change),
}

/// A task as it was enqueued.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its id.
    pub id: TaskId,
    /// Its kind.
    pub kind: Kind,
    /// Its queue.
    pub queue: QueueName,
    /// Its key.
    pub key: Option<Key>,
    /// Its priority.
    pub priority: Priority,
    /// When it is due.
    pub due: Timestamp,
    /// Its number, if the test knows it by one.
    pub number: Option<u32>,
    /// How often it may be retried, if it says.
    pub retries: Option<u32>,
}

/// What the store answered to an enqueue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in the store.
    Accepted,
    /// A live task has its key.
    Duplicate(Option<TaskId>),
    /// There is no room.
    Full,
}

impl From<&Enqueued> for Answer {
    fn from(enqueued: &Enqueued) -> Self {
        match enqueued {
            Enqueued::Accepted => Answer::Accepted,
            Enqueued::Duplicate(holder) => Answer::Duplicate(*holder),
            Enqueued::Full { .. } => Answer::Full,
        }
    }
}

/// What a claim asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who asked.
    pub by: Incarnation,
    /// For how long.
    pub lease: Duration,
    /// Only one suspect, with nothing beside it.
    pub alone: bool,
    /// The queues.
    pub queues: Vec<QueueName>,
    /// The kinds, and the room for each.
    pub kinds: Vec<(Kind, usize)>,
    /// The least priority.
    pub min_priority: Priority,
}

/// A task that was given out.
#[derive(Clone, Debug)]
pub struct Given {
    /// The fence.
    pub fence: Fence,
    /// What it has cost so far.
    pub budgets: Budgets,
    /// It is to be cancelled.
    pub cancel: bool,
}

/// How an attempt was settled.
#[derive(Clone, Debug)]
pub struct Settling {
    /// The fence.
    pub fence: Fence,
    /// The verdict.
    pub verdict: Verdict,
    /// What it enqueues.
    pub children: Vec<Asked>,
    /// It panicked.
    pub panicked: bool,
    /// It outlasted its timeout.
    pub timed_out: bool,
}

/// A move of a schedule's mark.
#[derive(Clone, Debug)]
pub struct Move {
    /// The schedule.
    pub name: Kind,
    /// Its revision.
    pub revision: u64,
    /// The mark before.
    pub from: Timestamp,
    /// The mark after.
    pub to: Timestamp,
    /// The task to insert.
    pub task: Option<Asked>,
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// The epoch of its claim.
    pub epoch: u64,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With success.
    Succeeded,
    /// With an error.
    Failed,
    /// With an error that says when to try again.
    FailedFor(Duration),
    /// With an error that is not to be retried.
    FailedForGood,
    /// With an error, since it was told to stop.
    Stopped,
    /// With a panic.
    Panicked,
    /// It put the task off.
    Snoozed,
    /// It called the task pointless.
    CalledOff,
    /// It was dropped before its end.
    Dropped,
}

/// What a caller knows of a task that it enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is in the store.
    Accepted(TaskId),
    /// It is not: its key is taken, there is no room, or the manager has stopped.
    Refused,
    /// It may be in the store: the reply was lost.
    Unknown,
}

/// What changed in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The process began to work.
    Up,
    /// The process was killed.
    Crash,
    /// The process was stopped.
    Stop,
    /// The process goes on.
    Go,
    /// The process's manager is asked to shut down within that time.
    ShutDown(Duration),
    /// It has, and this many attempts were abandoned.
    Down(u64),
    /// The process has the code for `tick` and `feed` no more.
    Unregister,
    /// The store is away for the process, for that long.
    Away(Duration),
    /// Faults are over for good, and all processes are up.
    Calm,
}

/// The log that everybody in a world writes to.
#[derive(Clone)]
pub struct History {
    sim: Sim,
    events: Arc<Mutex<Vec<Event>>>,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(sim: &Sim) -> Self {
        History { sim: sim.clone(), events: Arc::default() }
    }

    /// Notes what happens now.
    pub fn note(&self, process: usize, what: What) {
        let event = Event { at: self.sim.elapsed(), wall: self.sim.wall(), process, what };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// All that was noted.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Event {
    /// The tasks that it is about.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskId> {
        match &self.what {
            What::Enqueue(asked, answer) => match answer {
                Answer::Duplicate(Some(holder)) => vec![asked.id, *holder],
                _ => vec![asked.id],
            },
            What::Claim(_, given) => given.iter().map(|given| given.fence.task).collect(),
            What::Settle(settling, _) => {
                let children = settling.children.iter().map(|child| child.id);
                children.chain([settling.fence.task]).collect()
            }
            What::Renew(fence, ..) => vec![fence.task],
            What::Rescue(rescued, _) => vec![rescued.id],
            What::Cancel(id, _) | What::Receipt(_, Reply::Accepted(id)) => vec![*id],
            What::Tick(step, _) => step.task.iter().map(|task| task.id).collect(),
            What::Start(attempt) | What::Told(attempt, _) | What::Finish(attempt, ..) => {
                vec![attempt.task]
            }
            _ => Vec::new(),
        }
    }

    /// Whether it belongs into the story of a task that it is not about: what happened to the
    /// processes.
    #[must_use]
    pub fn is_of_the_world(&self) -> bool {
        matches!(self.what, What::World(_) | What::Pause(..))
    }
}

/// The story of some tasks, and of the world around them, a line an event.
pub struct Story<'a> {
    events: &'a [Event],
    names: BTreeMap<TaskId, String>,
}

impl<'a> Story<'a> {
    /// The story of these tasks; of all, if there are none.
    #[must_use]
    pub fn of(events: &'a [Event], tasks: &[TaskId]) -> Self {
        let names =
            tasks.iter().enumerate().map(|(n, &task)| (task, format!("task {n}"))).collect();
        Story { events, names }
    }

    fn concerns(&self, event: &Event) -> bool {
        self.names.is_empty()
            || event.is_of_the_world()
            || event.tasks().iter().any(|task| self.names.contains_key(task))
    }
}

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (task, name) in &self.names {
            writeln!(f, "{name} is {task}")?;
        }
        for event in self.events.iter().filter(|event| self.concerns(event)) {
            let mut line = event.to_string();
            for (task, name) in &self.names {
                line = line.replace(&task.to_string(), name);
            }
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { at, process, what, .. } = self;
        write!(f, "{:>11.6} s  process {process}  ", at.as_secs_f64())?;
        match what {
            What::Enqueue(asked, answer) => write!(f, "enqueue {asked}: {answer:?}"),
            What::Claim(wanted, given) => {
                let alone = if wanted.alone { " alone" } else { "" };
                let by = wanted.by;
                write!(f, "claim{alone} by {by} from priority {}:", wanted.min_priority.get())?;
                given.iter().try_for_each(|Given { fence, cancel, .. }| {
                    let cancel = if *cancel { " to be cancelled" } else { "" };
                    write!(f, " {} (epoch {}{cancel})", fence.task, fence.epoch)
                })
            }
            What::Settle(settling, reply) => {
                let Settling { fence, verdict, children, .. } = settling;
                write!(f, "settle {} (epoch {}): {verdict:?}", fence.task, fence.epoch)?;
                if !children.is_empty() {
                    write!(f, " with {} children", children.len())?;
                }
                write!(f, ": {reply:?}")
            }
            What::Renew(fence, lease, reply) => {
                write!(f, "renew {} (epoch {}) for {lease:?}: {reply:?}", fence.task, fence.epoch)
            }
            What::Rescue(rescued, _) => {
                write!(f, "rescue {} from {}: {:?}", rescued.id, rescued.from, rescued.rescued_as)
            }
            What::Cancel(id, reply) => write!(f, "cancel {id}: {reply:?}"),
            What::Pause(queue, true) => write!(f, "pause queue {queue}"),
            What::Pause(queue, false) => write!(f, "resume queue {queue}"),
            What::PutSchedule(name, state) => {
                write!(f, "put schedule {name}: revision {}, mark {}", state.revision, state.mark)
            }
            What::RemoveSchedule(name) => write!(f, "remove schedule {name}"),
            What::Tick(step, reply) => {
                write!(f, "tick {} from {} to {}", step.name, step.from, step.to)?;
                if let Some(task) = &step.task {
                    write!(f, " with {}", task.id)?;
                }
                write!(f, ": {reply:?}")
            }
            What::Start(attempt) => write!(f, "START {attempt}"),
            What::Told(attempt, why) => write!(f, "tell {attempt} to stop: {why:?}"),
            What::Finish(attempt, how, None) => write!(f, "FINISH {attempt}: {how:?}"),
            What::Finish(attempt, how, Some(why)) => {
                write!(f, "FINISH {attempt}: {how:?}, told to stop: {why:?}")
            }
            What::Receipt(number, told) => write!(f, "number {number}: {told:?}"),
            What::World(change) => write!(f, "-- {change:?}"),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { id, kind, queue, key, priority, due, .. } = self;
        write!(f, "{id} ({kind}, queue {queue}, priority {}, due {due}", priority.get())?;
        match key {
            Some(key) => write!(f, ", key {key})"),
            None => f.write_str(")"),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {})", self.task, self.epoch)
    }
}

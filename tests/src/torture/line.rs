//! [`Line`]: one thing that happened, as a line of text.

use std::fmt;
use std::time::Duration;

use conveyor::{Fence, Incarnation, TaskId, Timestamp};
use conveyor_core::store::{Enqueued, Renewed, RescuedAs, Settled, Ticked, Verdict};
use serde::{Deserialize, Serialize};

/// Something that happened in one of the processes, or to one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// When, in microseconds since 1970, by the clock that the machine's processes share.
    pub(super) at: i64,
    /// The number of the process; the driver's is 0.
    pub(super) by: u32,
    /// What.
    #[serde(flatten)]
    pub(super) what: What,
}

/// A task and the number of its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// The task.
    #[serde(with = "id")]
    pub(super) task: TaskId,
    /// The number of the claim.
    pub(super) epoch: u64,
}

/// What happened. What is asked of the store is written before it is asked, and what it answers
/// after it did; so that whatever took effect did so between the two lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The driver started the process.
    Up,
    /// The driver kills it.
    Kill,
    /// It is no more.
    Dead(String),
    /// The driver stops it.
    Stop,
    /// The driver lets it go on.
    GoOn,
    /// The driver asks it to shut down.
    ShutDown,
    /// The driver kills the store's server.
    ServerKill,
    /// It is there again.
    ServerUp,
    /// What is wrong with the wire to it from here on.
    Wire(String),
    /// From here on nothing is done to anybody.
    Calm,
    /// The last line.
    Over,

    /// The process claims under this name.
    Is(u64),
    /// A task is handed to the store.
    Enqueue(Asked),
    /// What the store said.
    Enqueued(#[serde(with = "id")] TaskId, Answer),
    /// Whoever enqueued was told that it is accepted.
    Acknowledged(#[serde(with = "id")] TaskId),
    /// The store gave it out, on a request of that time, for so many microseconds.
    Claimed(Attempt, Lease),
    /// The store was asked at that time to hold it for longer.
    Renewed(Attempt, Lease, Holding),
    /// The store is asked to record how it ended.
    Settle(Attempt, Ending),
    /// What the store said.
    Settled(Attempt, Ending, Recorded),
    /// The store took it back from the incarnation of that number.
    Rescued(#[serde(with = "id")] TaskId, u64, Rescue),
    /// A schedule's mark is to be moved, with a task.
    Tick(Ticking),
    /// What the store said.
    Ticked(Ticking, TickReply),
    /// A task is to be cancelled.
    Cancel(#[serde(with = "id")] TaskId),
    /// A call failed: which, and why.
    Error(String, String),

    /// The handler begins: the kind, the key, and as which attempt.
    Start(Attempt, Begun),
    /// The handler was told to stop.
    Told(Attempt, String),
    /// The handler is over.
    End(Attempt, How),
}

/// A task that is handed to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    #[serde(with = "id")]
    pub(super) id: TaskId,
    pub(super) kind: String,
    pub(super) key: Option<String>,
}

/// What became of a task that was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Accepted,
    Duplicate,
    Full,
}

/// For how long the store was asked to hold a task, and when: it does not run out earlier than so
/// long after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) asked: i64,
    pub(super) micros: i64,
}

impl Lease {
    pub(super) fn new(asked: i64, lease: Duration) -> Self {
        Lease { asked, micros: i64::try_from(lease.as_micros()).unwrap_or(i64::MAX) }
    }

    /// Until when it is held for certain.
    pub(super) fn holds_until(self) -> i64 {
        self.asked.saturating_add(self.micros)
    }
}

/// Whether a renewal found the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Holding {
    Held,
    Lost,
    Busy,
}

/// How an attempt ended, as the store is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Succeed,
    Retry,
    Fail,
    Cancel,
    Snooze,
    Return,
    GiveBack,
    Interrupt,
    Park,
}

impl Ending {
    /// Whether it lets go of the task.
    pub(super) fn releases(self) -> bool {
        self != Ending::Interrupt
    }

    /// Whether it is the task's end as well.
    pub(super) fn is_end(self) -> bool {
        matches!(self, Ending::Succeed | Ending::Fail | Ending::Cancel)
    }
}

/// What became of a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recorded {
    Applied,
    Already,
    Fenced,
}

/// As what a task was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rescue {
    Interrupted,
    Suspect,
    Charged,
    Crashed,
    Cancelled,
}

/// A move of a schedule's mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticking {
    pub(super) name: String,
    pub(super) from: i64,
    pub(super) to: i64,
    #[serde(with = "id")]
    pub(super) task: TaskId,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TickReply {
    Fired,
    Skipped,
    Stale,
    Gone,
}

/// What a handler is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) kind: String,
    pub(super) key: Option<String>,
    pub(super) attempt: u32,
}

/// How a handler came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Succeeded,
    Failed,
    Panicked,
    Snoozed,
    /// It was told to stop, and did.
    Stopped,
    /// Its future was dropped.
    Dropped,
}

impl Line {
    /// The line, with its end.
    pub(super) fn written(&self) -> String {
        // Nothing in a line is a map whose keys are no text, or a number that JSON lacks.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The task it is about.
    pub(super) fn task(&self) -> Option<TaskId> {
        match &self.what {
            What::Enqueue(asked) => Some(asked.id),
            What::Enqueued(id, _)
            | What::Acknowledged(id)
            | What::Rescued(id, ..)
            | What::Cancel(id) => Some(*id),
            What::Claimed(attempt, _)
            | What::Renewed(attempt, ..)
            | What::Settle(attempt, _)
            | What::Settled(attempt, ..)
            | What::Start(attempt, _)
            | What::Told(attempt, _)
            | What::End(attempt, _) => Some(attempt.task),
            What::Tick(ticking) | What::Ticked(ticking, _) => Some(ticking.task),
            _ => None,
        }
    }
}

impl From<Fence> for Attempt {
    fn from(fence: Fence) -> Self {
        Attempt { task: fence.task, epoch: fence.epoch }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.epoch)
    }
}

impl From<&Enqueued> for Answer {
    fn from(reply: &Enqueued) -> Self {
        match reply {
            Enqueued::Accepted => Answer::Accepted,
            Enqueued::Duplicate(_) => Answer::Duplicate,
            Enqueued::Full { .. } => Answer::Full,
        }
    }
}

impl From<Renewed> for Holding {
    fn from(reply: Renewed) -> Self {
        match reply {
            Renewed::Held { .. } => Holding::Held,
            Renewed::Lost => Holding::Lost,
            Renewed::Busy => Holding::Busy,
        }
    }
}

impl From<&Verdict> for Ending {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Succeed => Ending::Succeed,
            Verdict::Retry { .. } => Ending::Retry,
            Verdict::Fail { .. } => Ending::Fail,
            Verdict::Cancel { .. } => Ending::Cancel,
            Verdict::Snooze { .. } => Ending::Snooze,
            Verdict::Return { started: true } => Ending::Return,
            Verdict::Return { started: false } => Ending::GiveBack,
            Verdict::Interrupt => Ending::Interrupt,
            Verdict::Park { .. } => Ending::Park,
        }
    }
}

impl From<Settled> for Recorded {
    fn from(reply: Settled) -> Self {
        match reply {
            Settled::Applied => Recorded::Applied,
            Settled::Already => Recorded::Already,
            Settled::Fenced => Recorded::Fenced,
        }
    }
}

impl From<RescuedAs> for Rescue {
    fn from(rescued: RescuedAs) -> Self {
        match rescued {
            RescuedAs::Interrupted => Rescue::Interrupted,
            RescuedAs::Suspect => Rescue::Suspect,
            RescuedAs::Charged => Rescue::Charged,
            RescuedAs::Crashed => Rescue::Crashed,
            RescuedAs::Cancelled => Rescue::Cancelled,
        }
    }
}

impl From<&Ticked> for TickReply {
    fn from(reply: &Ticked) -> Self {
        match reply {
            Ticked::Fired(_) => TickReply::Fired,
            Ticked::Skipped => TickReply::Skipped,
            Ticked::Stale(_) => TickReply::Stale,
            Ticked::Gone => TickReply::Gone,
        }
    }
}

/// The number of an incarnation, as it is in a line.
pub(super) fn number(incarnation: Incarnation) -> u64 {
    incarnation.get()
}

/// Now, as it is in a line.
pub(super) fn now() -> i64 {
    Timestamp::from(std::time::SystemTime::now()).as_micros()
}

/// Task ids, as text.
mod id {
    use conveyor::TaskId;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &TaskId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TaskId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let task = TaskId::from_u128(7 << 64);
        let attempt = Attempt { task, epoch: 2 };
        let asked = Asked { id: task, kind: "plain".into(), key: Some("k\n".into()) };
        for what in [
            What::Calm,
            What::Is(u64::MAX),
            What::Enqueue(asked),
            What::Enqueued(task, Answer::Full),
            What::Claimed(attempt, Lease { asked: 1, micros: 2 }),
            What::End(attempt, How::Dropped),
        ] {
            let written = Line { at: 5, by: 3, what: what.clone() }.written();
            assert_eq!(written.lines().count(), 1, "{written}");
            let read: Line = serde_json::from_str(&written).unwrap();
            assert_eq!((read.at, read.by, read.what), (5, 3, what));
        }
    }
}

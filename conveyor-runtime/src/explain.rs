//! [`Explanation`]: why a task has not run yet, or why it ran more than once, in words.

use std::fmt;
use std::time::Duration;

use conveyor_core::store::{Filter, PAST_ATTEMPTS, PastAttempt, StoreError, TaskInfo};
use conveyor_core::{End, Incarnation, Kind, QueueName, TaskId, TaskState, Timestamp};

use crate::engine::Engine;
use crate::manager::Manager;
use crate::phase::Phase;

/// The most tasks that are looked at to tell how many come before one.
const LOOKED_AT: usize = 10_000;

impl Manager {
    /// Says why a task has not run yet, or how it came to run more than once.
    ///
    /// ```
    /// # async fn tell(manager: conveyor_runtime::Manager, id: conveyor_core::TaskId)
    /// #     -> Result<(), conveyor_runtime::ExplainError> {
    /// println!("{}", manager.explain(id).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It is for people who wonder: it asks the store several things, one after the other, which
    /// may change meanwhile. What it says of workers and consumers is so of this manager; others on
    /// the same store may have what this one lacks. To tell how many tasks come before a waiting
    /// one, it looks at no more than 10,000 tasks of its queue.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`ExplainError`] if the task is not known, or the store failed.
    pub async fn explain(&self, task: TaskId) -> Result<Explanation, ExplainError> {
        let engine = self.engine();
        let after = task.as_u128().checked_sub(1).map(TaskId::from_u128);
        let filter = Filter { after, limit: 1, ..Filter::default() };
        let page = engine.door.call("inspect", |store| store.inspect(&filter)).await?;
        let Some(info) = page.tasks.into_iter().find(|info| info.id == task) else {
            return Err(ExplainError::Unknown { id: task });
        };
        let now = engine.door.call("now", |store| store.now()).await?;
        let reasons = reasons(engine, &info, now).await?;
        Ok(Explanation { task: info, reasons, by: engine.incarnation, now })
    }
}

/// Why the task is where it is, what matters most first.
async fn reasons(
    engine: &Engine,
    task: &TaskInfo,
    now: Timestamp,
) -> Result<Vec<Reason>, StoreError> {
    match task.state {
        TaskState::Active => {
            let by = task.holder.unwrap_or(Incarnation::new(0));
            return Ok(vec![Reason::Active { by, epoch: task.epoch }]);
        }
        TaskState::Parked => {
            return Ok(vec![Reason::Parked { why: task.note.clone().unwrap_or_default() }]);
        }
        TaskState::Ended => {
            let end = task.end.clone().unwrap_or(End::Succeeded);
            return Ok(vec![Reason::Ended { end, by: task.ended_by }]);
        }
        // It is claimable as soon as it is due, whether it was promoted or not.
        _ if task.due > now => return Ok(vec![Reason::Scheduled { until: task.due }]),
        _ => {}
    }
    let mut reasons = Vec::new();
    match engine.phases.now() {
        Phase::Built => reasons.push(Reason::NotStarted),
        Phase::Running => {}
        _ => reasons.push(Reason::Stopping),
    }
    if engine.door.call("paused", |store| store.paused()).await?.contains(&task.queue) {
        reasons.push(Reason::QueuePaused { queue: task.queue.clone() });
    }
    if engine.registry.workers().get(&task.kind).is_none() {
        reasons.push(Reason::NoWorker { kind: task.kind.clone() });
    }
    if !engine.signals.pools().iter().any(|pool| pool.serves(&task.queue)) {
        reasons.push(Reason::NoConsumer { queue: task.queue.clone() });
    }
    if task.suspect {
        reasons.push(Reason::Suspect);
    }
    if reasons.is_empty() {
        let (tasks, at_least) = before(engine, task).await?;
        reasons.push(Reason::Behind { tasks, at_least });
    }
    Ok(reasons)
}

/// How many tasks of its queue come before it, that this manager has workers for; and whether that
/// is not all.
async fn before(engine: &Engine, task: &TaskInfo) -> Result<(usize, bool), StoreError> {
    let workers = engine.registry.workers();
    let place = |task: &TaskInfo| (std::cmp::Reverse(task.priority), task.due, task.id);
    let mut filter = Filter {
        state: Some(TaskState::Queued),
        queue: Some(task.queue.clone()),
        limit: 1_000,
        ..Filter::default()
    };
    let (mut before, mut looked_at) = (0, 0);
    loop {
        let page = engine.door.call("inspect", |store| store.inspect(&filter)).await?;
        looked_at += page.tasks.len();
        before += page
            .tasks
            .iter()
            .filter(|other| !other.suspect && workers.get(&other.kind).is_some())
            .filter(|other| place(other) < place(task))
            .count();
        match page.next {
            None => return Ok((before, false)),
            Some(_) if looked_at >= LOOKED_AT => return Ok((before, true)),
            next => filter.after = next,
        }
    }
}

/// Why a task has not run yet, or how it came to run more than once; made by [`Manager::explain`].
/// Displayed, it is some lines for people to read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// What the store knows of the task: its attempts, what they cost, who held it.
    pub task: TaskInfo,
    /// Why it is where it is, what matters most first; never empty.
    pub reasons: Vec<Reason>,
    /// The process that says so.
    pub by: Incarnation,
    /// When that was so, by the store's clock.
    pub now: Timestamp,
}

/// Why a task is where it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// It waits for its time: it was delayed, snoozed, or failed and backs off.
    Scheduled {
        /// When it is due.
        until: Timestamp,
    },
    /// This manager does not run yet.
    NotStarted,
    /// This manager was shut down, and claims nothing any more.
    Stopping,
    /// Its queue is paused.
    QueuePaused {
        /// The queue.
        queue: QueueName,
    },
    /// This manager has no worker for it.
    NoWorker {
        /// The kind.
        kind: Kind,
    },
    /// No consumer of this manager takes tasks from its queue.
    NoConsumer {
        /// The queue.
        queue: QueueName,
    },
    /// It was there when a process died, and is claimed only alone.
    Suspect,
    /// It is claimable, and others come first, unless that is none.
    Behind {
        /// How many tasks of its queue come before it, that this manager has workers for.
        tasks: usize,
        /// There are more, or may be: not all of the queue was looked at.
        at_least: bool,
    },
    /// Its payload could not be decoded.
    Parked {
        /// Why.
        why: String,
    },
    /// A process holds it.
    Active {
        /// Which.
        by: Incarnation,
        /// Since which claim.
        epoch: u64,
    },
    /// It has ended.
    Ended {
        /// How.
        end: End,
        /// Who held it then, if anybody.
        by: Option<Incarnation>,
    },
}

impl Explanation {
    /// A process, and whether it is the one that says so.
    fn process(&self, process: Incarnation) -> String {
        if process == self.by { format!("{process} (this process)") } else { process.to_string() }
    }

    fn tell(&self, reason: &Reason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match reason {
            Reason::Scheduled { until } => {
                let wait: Duration = until.saturating_since(self.now);
                write!(f, "it is scheduled until {until}, in {wait:?}")
            }
            Reason::NotStarted => f.write_str("this manager is not started; call `start` or `run`"),
            Reason::Stopping => f.write_str("this manager was shut down, and claims nothing more"),
            Reason::QueuePaused { queue } => {
                write!(f, "its queue {queue} is paused; `resume` it")
            }
            Reason::NoWorker { kind } => {
                write!(f, "no worker for the kind {kind} is registered here")
            }
            Reason::NoConsumer { queue } => {
                write!(f, "no consumer here takes tasks from the queue {queue}")
            }
            Reason::Suspect => f.write_str(
                "it was there when a process died, so it is claimed only alone: by a process that \
                 holds nothing else",
            ),
            Reason::Behind { tasks: 0, at_least: false } => {
                f.write_str("nothing comes before it: it is the next that a free consumer takes")
            }
            Reason::Behind { tasks, at_least } => {
                let least = if *at_least { "at least " } else { "" };
                let (tasks, come) = match tasks {
                    1 => ("1 task".to_owned(), "comes"),
                    more => (format!("{more} tasks"), "come"),
                };
                write!(f, "{least}{tasks} of its queue {come} before it, more urgent or older")
            }
            Reason::Parked { why } => {
                write!(f, "it waits for a process that can decode its payload: {why}")
            }
            Reason::Active { by, epoch } => {
                write!(f, "it is held by {}, by claim {epoch}", self.process(*by))
            }
            Reason::Ended { end, by } => {
                match end {
                    End::Succeeded => f.write_str("it succeeded")?,
                    End::Failed(error) => write!(f, "it failed for good: {error}")?,
                    End::Cancelled(why) => write!(f, "it was cancelled: {why}")?,
                    End::Crashed => f.write_str(
                        "its process died, alone with it, as often as the crash budget allows",
                    )?,
                    other => write!(f, "it ended: {other:?}")?,
                }
                match by {
                    Some(by) => {
                        write!(f, "; held by {}, by claim {}", self.process(*by), self.task.epoch)
                    }
                    None => f.write_str("; nobody held it"),
                }
            }
        }
    }

    fn tell_attempts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = &self.task.attempts;
        match attempts.len() {
            0 => return Ok(()),
            1 => f.write_str("\n  it ran before:")?,
            PAST_ATTEMPTS => write!(f, "\n  it ran before, the last {PAST_ATTEMPTS} times:")?,
            more => write!(f, "\n  it ran before, {more} times:")?,
        }
        for PastAttempt { epoch, by, at, ended } in attempts {
            let by = self.process(*by);
            write!(f, "\n    claim {epoch}, by {by}, until {at}: it {ended}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskInfo { id, kind, queue, priority, state, .. } = &self.task;
        write!(f, "{kind} task {id} (queue {queue}, priority {priority}) is {state}:")?;
        for reason in &self.reasons {
            f.write_str("\n  ")?;
            self.tell(reason, f)?;
        }
        self.tell_attempts(f)
    }
}

/// Why a task could not be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The task is not in the store.
    #[error(
        "task {id} is not known: it never was in this store, or its end is forgotten (see `retention`)"
    )]
    Unknown {
        /// The task.
        id: TaskId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

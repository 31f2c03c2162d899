//! Settle: how attempts ended is recorded, if their fence is the current one.

use conveyor_core::outcome::End;
use conveyor_core::plant::{Plant, planted};
use conveyor_core::store::{AttemptEnd, Settle, Settled, Verdict};
use conveyor_core::{Fence, TaskId, TaskState, Timestamp};

use crate::columns::{bits, id_to};
use crate::counts::Count;
use crate::enqueue::Waiting;
use crate::entry::{Entry, entry_where};
use crate::error::Result;
use crate::step::Step;

/// Why a task ended that was cancelled on request.
pub(crate) const ON_REQUEST: &str = "cancelled on request";

impl Step<'_> {
    pub(crate) fn settle(&mut self, batch: Vec<Settle>) -> Result<Vec<Settled>> {
        let replies = batch.into_iter().map(|settle| self.settle_one(settle)).collect();
        self.forget_ends_beyond()?;
        replies
    }

    pub(crate) fn settle_one(&mut self, settle: Settle) -> Result<Settled> {
        let Settle { fence, ticket, verdict, children, panicked, timed_out } = settle;
        let mut task = match self.held(fence, ticket, &verdict)? {
            Ok(task) => task,
            Err(refused) => {
                if planted(Plant::FencedCounted) && refused == Settled::Fenced {
                    self.count_refused(fence.task)?;
                }
                return Ok(refused);
            }
        };
        self.count(task.stream, Count::Panicked, i64::from(panicked));
        self.count(task.stream, Count::TimedOut, i64::from(timed_out));
        if verdict == Verdict::Interrupt {
            self.run("UPDATE conveyor_tasks SET interrupted = 1 WHERE age = ?1", [task.age])?;
            return Ok(Settled::Applied);
        }
        self.release(fence.incarnation)?;
        self.apply(&mut task, verdict)?;
        self.tell_of(&task)?;
        // A child whose key is taken is counted as a duplicate, and left out.
        for child in children {
            self.insert(&child)?;
        }
        Ok(Settled::Applied)
    }

    /// The task that the fence holds, if the verdict can take effect on it.
    fn held(&self, fence: Fence, ticket: u64, verdict: &Verdict) -> Result<Result<Entry, Settled>> {
        let task = self.entry(
            entry_where!("WHERE age = ?1 AND id = ?2 AND epoch = ?3 AND holder = ?4"),
            (bits(ticket), id_to(fence.task), bits(fence.epoch), bits(fence.incarnation.get())),
        )?;
        let Some(task) = task else {
            return Ok(Err(Settled::Fenced));
        };
        let again = task.interrupted && *verdict == Verdict::Interrupt;
        if task.state != TaskState::Active || again {
            // The holder and the epoch stay until the next claim: this very attempt was settled.
            return Ok(Err(Settled::Already));
        }
        Ok(Ok(task))
    }

    /// The planted bug of counting what is refused.
    fn count_refused(&mut self, task: TaskId) -> Result<()> {
        if let Some(task) = self.entry(entry_where!("WHERE id = ?1"), [id_to(task)])? {
            self.count(task.stream, Count::Processed, 1);
        }
        Ok(())
    }

    /// Moves an active task as the verdict says, and counts what it cost.
    fn apply(&mut self, task: &mut Entry, verdict: Verdict) -> Result<()> {
        match verdict {
            Verdict::Succeed => self.end(task, End::Succeeded),
            Verdict::Cancel { why } => self.end(task, End::Cancelled(why)),
            Verdict::Fail { error } => {
                self.run(
                    "UPDATE conveyor_tasks SET errors = errors + 1 WHERE age = ?1",
                    [task.age],
                )?;
                self.end(task, End::Failed(error))
            }
            Verdict::Retry { delay, error } => {
                self.run(
                    "UPDATE conveyor_tasks SET errors = errors + 1, note = ?2 WHERE age = ?1",
                    (task.age, &error),
                )?;
                let due = self.now + delay;
                self.again(task, Count::Retried, &AttemptEnd::Failed(error), Some(due))
            }
            Verdict::Snooze { delay } => {
                self.run(
                    "UPDATE conveyor_tasks SET snoozes = snoozes + 1 WHERE age = ?1",
                    [task.age],
                )?;
                let due = self.now + delay;
                self.again(task, Count::Snoozed, &AttemptEnd::Snoozed, Some(due))
            }
            Verdict::Return { started: true } => {
                self.interrupted(task)?;
                self.again(task, Count::Returned, &AttemptEnd::Returned, None)
            }
            Verdict::Return { started: false } if task.cancel => self.end_on_request(task),
            Verdict::Return { started: false } => self.give_back(task),
            Verdict::Park { .. } if task.cancel => self.end_on_request(task),
            Verdict::Park { reason } => {
                self.park(task, &reason)?;
                self.remember(task, &AttemptEnd::Parked(reason))
            }
            Verdict::Interrupt => unreachable!("an interrupted lease is left to run out"),
        }
    }

    /// Notes that the task was interrupted, at no cost.
    pub(crate) fn interrupted(&self, task: &Entry) -> Result<()> {
        self.run(
            "UPDATE conveyor_tasks SET interruptions = interruptions + 1 WHERE age = ?1",
            [task.age],
        )?;
        Ok(())
    }

    /// Has the task be attempted again, when it is due or in its old place; unless it is to be
    /// cancelled: then that is its end, which alone is counted.
    fn again(
        &mut self,
        task: &mut Entry,
        count: Count,
        ended: &AttemptEnd,
        due: Option<Timestamp>,
    ) -> Result<()> {
        if task.cancel {
            return self.end_on_request(task);
        }
        self.count(task.stream, count, 1);
        self.remember(task, ended)?;
        match due {
            Some(due) => self.postpone(task, due),
            None => self.give_back(task),
        }
    }

    pub(crate) fn end_on_request(&mut self, task: &mut Entry) -> Result<()> {
        self.end(task, End::Cancelled(ON_REQUEST.to_owned()))
    }

    /// Tells of a task that can be claimed now or later.
    pub(crate) fn tell_of(&mut self, task: &Entry) -> Result<()> {
        let Entry { stream, priority, state, due, .. } = *task;
        self.tell_of_waiting(&Waiting { stream, priority, state, due })
    }
}

//! The reference's settles.

use conveyor_core::store::{AttemptEnd, Settle, Settled, TaskInfo, Verdict};
use conveyor_core::{End, Incarnation, TaskId, TaskState, Timestamp};

use super::reference::{Held, Reference, on_request, same};

impl Reference {
    pub(super) fn settle(&mut self, settle: &Settle, told: Settled) -> Held {
        let expected = self.apply(settle)?;
        same("the settle", &told, &expected)
    }

    fn apply(&mut self, settle: &Settle) -> Held<Settled> {
        let fence = settle.fence;
        let Some(row) = self.rows.get_mut(&fence.task) else {
            return Ok(Settled::Fenced);
        };
        if row.info.epoch != fence.epoch || row.claimed_by != Some(fence.incarnation) {
            return Ok(Settled::Fenced);
        }
        let interrupts = settle.verdict == Verdict::Interrupt;
        if !row.is_active() || (row.interrupted && interrupts) {
            return Ok(Settled::Already);
        }
        row.interrupted |= interrupts;
        let counts = self.counts(fence.task);
        counts.panicked += u64::from(settle.panicked);
        counts.timed_out += u64::from(settle.timed_out);
        if !interrupts {
            self.release(fence.task)?;
            self.follow(fence.task, fence.incarnation, settle.verdict.clone())?;
            for child in &settle.children {
                self.insert(child);
            }
        }
        Ok(Settled::Applied)
    }

    fn follow(&mut self, id: TaskId, by: Incarnation, verdict: Verdict) -> Held {
        let now = self.now;
        let row = self.row(id)?;
        let (cancel, info) = (row.cancel, &mut row.info);
        match &verdict {
            Verdict::Retry { error, .. } => {
                info.budgets.errors += 1;
                info.note = Some(error.clone());
            }
            Verdict::Fail { .. } => info.budgets.errors += 1,
            Verdict::Snooze { .. } => info.budgets.snoozes += 1,
            Verdict::Return { started } => info.budgets.interruptions += u32::from(*started),
            _ => {}
        }
        let ended = match verdict {
            Verdict::Succeed => return self.end(id, End::Succeeded, Some(by)),
            Verdict::Fail { error } => return self.end(id, End::Failed(error), Some(by)),
            Verdict::Cancel { why } => return self.end(id, End::Cancelled(why), Some(by)),
            _ if cancel => return self.end(id, on_request(), Some(by)),
            Verdict::Retry { delay, error } => {
                wait(info, now + delay);
                self.counts(id).retried += 1;
                AttemptEnd::Failed(error)
            }
            Verdict::Snooze { delay } => {
                wait(info, now + delay);
                self.counts(id).snoozed += 1;
                AttemptEnd::Snoozed
            }
            Verdict::Park { reason } => {
                info.state = TaskState::Parked;
                info.note = Some(reason.clone());
                info.suspect = false;
                AttemptEnd::Parked(reason)
            }
            Verdict::Return { started } => {
                info.state = TaskState::Queued;
                if !started {
                    return Ok(());
                }
                self.counts(id).returned += 1;
                AttemptEnd::Returned
            }
            Verdict::Interrupt => return Err("it leaves the task as it is".to_owned()),
        };
        self.note_attempt(id, by, ended)
    }
}

fn wait(info: &mut TaskInfo, due: Timestamp) {
    info.due = due;
    info.state = TaskState::Scheduled;
    info.suspect = false;
}

//! Maintain: leases are renewed and taken back, due tasks promoted, ends pruned.

use std::time::Duration;

use conveyor_core::outcome::End;
use conveyor_core::store::{
    AttemptEnd, CancelReply, Renewed, Rescue, RescueRequest, Rescued, RescuedAs,
};
use conveyor_core::{
    Fence, Incarnation, Priority, QueueName, RetentionByEnd, TaskId, TaskState, Timestamp,
};

use crate::columns::{bits, id_to, limit, time};
use crate::counts::Count;
use crate::entry::{Entry, entry_where};
use crate::error::Result;
use crate::step::{Step, Stream};

/// For how long a request to claim is remembered at least, so that it is answered the same again:
/// also when nothing of it is held any more.
const TOKENS_KEPT: Duration = Duration::from_secs(600);

impl Step<'_> {
    pub(crate) fn renew(
        &self,
        by: Incarnation,
        fences: &[Fence],
        lease: Duration,
    ) -> Result<Vec<Renewed>> {
        self.is_alive(by)?;
        let lease_ends = (self.now + lease).as_micros();
        let renew = |fence: &Fence| {
            if fence.incarnation != by {
                return Ok(Renewed::Lost);
            }
            let cancel: Option<bool> = self.find(
                "UPDATE conveyor_tasks SET lease_ends = ?4
                 WHERE id = ?1 AND epoch = ?2 AND holder = ?3 AND state = 2 AND interrupted = 0
                 RETURNING cancel",
                (id_to(fence.task), bits(fence.epoch), bits(by.get()), lease_ends),
                |row| row.get(0),
            )?;
            Ok(cancel.map_or(Renewed::Lost, |cancel| Renewed::Held { cancel }))
        };
        fences.iter().map(renew).collect()
    }

    /// Notes a sign of life: whoever gives it only lost the leases that were taken back.
    pub(crate) fn is_alive(&self, by: Incarnation) -> Result<()> {
        self.run(
            "UPDATE conveyor_holders SET died_in_company = 0
             WHERE holder = ?1 AND died_in_company = 1",
            [bits(by.get())],
        )?;
        Ok(())
    }

    pub(crate) fn rescue(&mut self, request: &RescueRequest) -> Result<Rescue> {
        let now = self.now;
        // Silence, or a clock that jumped: the holders have not had their chance to renew. They
        // renew every third of a lease, and processes ask every half of one, so that whatever
        // silence makes a lease run out is longer than this.
        let silence = request.lease - request.lease / 3;
        let (last, mut no_rescue_before): (Option<i64>, i64) =
            self.get("SELECT last_rescue, no_rescue_before FROM conveyor_meta", (), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let last = last.map(time);
        if last.is_none_or(|last| now.saturating_since(last) > silence || now < last) {
            no_rescue_before = (now + request.lease).as_micros();
        }
        self.run(
            "UPDATE conveyor_meta SET last_rescue = ?1, no_rescue_before = ?2",
            (now.as_micros(), no_rescue_before),
        )?;
        if last.is_some_and(|last| now < last) {
            // What was set before the clock went back would hold for as long as it went.
            self.run(
                "UPDATE conveyor_tasks SET lease_ends = ?1 WHERE state = 2 AND lease_ends > ?1",
                [(now + request.lease).as_micros()],
            )?;
        }
        let by = bits(request.by.get());
        let mut rescue = Rescue::default();
        let earliest = time(no_rescue_before);
        if earliest <= now {
            let over = self.entries(
                entry_where!(
                    "WHERE state = 2 AND (holder <> ?1 OR interrupted = 1) AND lease_ends <= ?2
                     ORDER BY max(lease_ends, ?3), due, age LIMIT ?4"
                ),
                (by, now.as_micros(), no_rescue_before, limit(request.limit).saturating_add(1)),
            )?;
            for task in over {
                if rescue.rescued.len() == request.limit {
                    rescue.next = Some(now);
                    break;
                }
                let rescued = self.rescue_one(task, request.crash_budget)?;
                rescue.rescued.push(rescued);
            }
        }
        if rescue.next.is_none() {
            let next: Option<i64> = self.get(
                "SELECT min(lease_ends) FROM conveyor_tasks
                 WHERE state = 2 AND (holder <> ?1 OR interrupted = 1)",
                [by],
                |row| row.get(0),
            )?;
            rescue.next = next.map(|next| time(next).max(earliest).max(now));
        }
        self.forget_ends_beyond()?;
        Ok(rescue)
    }

    fn rescue_one(&mut self, mut task: Entry, crash_budget: u32) -> Result<Rescued> {
        let from = task.holder;
        let in_company: Option<bool> = self.find(
            "UPDATE conveyor_holders SET died_in_company = died_in_company OR held > 1
             WHERE holder = ?1 RETURNING died_in_company",
            [bits(from.get())],
            |row| row.get(0),
        )?;
        self.release(from)?;
        let rescued_as = if task.cancel {
            RescuedAs::Cancelled
        } else if task.interrupted {
            RescuedAs::Interrupted
        } else if in_company == Some(true) {
            RescuedAs::Suspect
        } else if task.crashes.saturating_add(1) >= crash_budget {
            RescuedAs::Crashed
        } else {
            RescuedAs::Charged
        };
        match rescued_as {
            RescuedAs::Cancelled => self.end_on_request(&mut task)?,
            RescuedAs::Interrupted => {
                self.interrupted(&task)?;
                self.remember(&task, &AttemptEnd::Interrupted)?;
                self.count(task.stream, Count::Returned, 1);
            }
            RescuedAs::Suspect => {
                self.interrupted(&task)?;
                self.remember(&task, &AttemptEnd::Suspected)?;
                self.count(task.stream, Count::Returned, 1);
                self.suspect(&task, 0)?;
            }
            RescuedAs::Charged => {
                self.remember(&task, &AttemptEnd::Crashed)?;
                self.suspect(&task, 1)?;
            }
            RescuedAs::Crashed => {
                self.suspect(&task, 1)?;
                self.end(&mut task, End::Crashed)?;
            }
        }
        if task.state == TaskState::Active {
            self.give_back(&mut task)?;
            self.tell_of(&task)?;
        }
        // From now on the old fence is nobody's.
        self.run("UPDATE conveyor_tasks SET holder = 0 WHERE age = ?1", [task.age])?;
        let (_, kind) = self.names_of(task.stream)?;
        Ok(Rescued { id: task.id, kind, from, rescued_as })
    }

    /// Has the task be claimed only alone from now on.
    fn suspect(&self, task: &Entry, crashes: u32) -> Result<()> {
        self.run(
            "UPDATE conveyor_tasks SET suspect = 1, crashes = crashes + ?2 WHERE age = ?1",
            (task.age, crashes),
        )?;
        Ok(())
    }

    pub(crate) fn promote(&mut self, most: usize) -> Result<Option<Timestamp>> {
        self.promote_due(most)?;
        let next: Option<i64> =
            self.get("SELECT min(due) FROM conveyor_tasks WHERE state = 0", (), |row| row.get(0))?;
        Ok(next.map(time))
    }

    /// Makes so many due tasks claimable, the earliest first, and tells how many there were.
    fn promote_due(&mut self, most: usize) -> Result<usize> {
        let due: Vec<(Stream, Priority)> = self.all(
            "UPDATE conveyor_tasks SET state = 1 WHERE age IN
                 (SELECT age FROM conveyor_tasks WHERE state = 0 AND due <= ?1
                  ORDER BY due, age LIMIT ?2)
             RETURNING stream, priority",
            (self.now.as_micros(), limit(most)),
            |row| Ok((Stream(row.get(0)?), Priority::new(row.get(1)?))),
        )?;
        due.iter().try_for_each(|&(stream, priority)| self.promoted(stream, priority))?;
        Ok(due.len())
    }

    /// The same for the tasks of one stream.
    pub(crate) fn promote_due_of(&mut self, stream: Stream, most: usize) -> Result<usize> {
        let due: Vec<Priority> = self.all(
            "UPDATE conveyor_tasks SET state = 1 WHERE age IN
                 (SELECT age FROM conveyor_tasks WHERE state = 0 AND stream = ?1 AND due <= ?2
                  ORDER BY due, age LIMIT ?3)
             RETURNING priority",
            (stream.0, self.now.as_micros(), limit(most)),
            |row| Ok(Priority::new(row.get(0)?)),
        )?;
        due.iter().try_for_each(|&priority| self.promoted(stream, priority))?;
        Ok(due.len())
    }

    fn promoted(&mut self, stream: Stream, priority: Priority) -> Result<()> {
        self.count_move(stream, TaskState::Scheduled, TaskState::Queued);
        let (queue, _) = self.names_of(stream)?;
        self.after.claimable(&queue, priority, 1);
        Ok(())
    }

    pub(crate) fn cancel(&mut self, ids: &[TaskId]) -> Result<Vec<CancelReply>> {
        let replies = ids.iter().map(|&id| self.cancel_one(id)).collect();
        self.forget_ends_beyond()?;
        replies
    }

    fn cancel_one(&mut self, id: TaskId) -> Result<CancelReply> {
        let Some(mut task) = self.entry(entry_where!("WHERE id = ?1"), [id_to(id)])? else {
            return Ok(CancelReply::Unknown);
        };
        Ok(match task.state {
            TaskState::Ended => CancelReply::AlreadyEnded,
            TaskState::Active => {
                self.run("UPDATE conveyor_tasks SET cancel = 1 WHERE age = ?1", [task.age])?;
                self.after.cancel_requested.push(id);
                CancelReply::Requested
            }
            _ => {
                self.end_on_request(&mut task)?;
                CancelReply::Cancelled
            }
        })
    }

    pub(crate) fn pause(&mut self, queue: &QueueName, paused: bool) -> Result<()> {
        let number = self.queue_number(queue)?;
        let changed = self.run(
            "UPDATE conveyor_queues SET paused = ?2 WHERE queue = ?1 AND paused <> ?2",
            (number, paused),
        )?;
        if changed > 0 && !paused {
            self.tell_of_queue(number, queue)?;
        }
        Ok(())
    }

    pub(crate) fn prune(&self, most: usize) -> Result<usize> {
        let old = (self.now - TOKENS_KEPT).as_micros();
        self.run(
            "DELETE FROM conveyor_claims WHERE at < ?1 AND (holder, token) NOT IN
                 (SELECT holder, token FROM conveyor_tasks WHERE state = 2)",
            [old],
        )?;
        let RetentionByEnd { succeeded, failed, cancelled, crashed, .. } = self.limits.retention;
        let mut pruned = 0;
        for (ending, age) in (0..).zip([succeeded, failed, cancelled, crashed]) {
            let before = self.now - age;
            while pruned < most
                && let Some(oldest) = self.oldest_end(ending)?
                && oldest.at < before
            {
                self.forget_end(&oldest)?;
                pruned += 1;
            }
        }
        Ok(pruned)
    }
}

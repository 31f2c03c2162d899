//! Claim: tasks go out under a lease.

use conveyor_core::lanes::AGEING;
use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{Claim, Claimed, StoreResult};
use conveyor_core::{Fence, Priority, QueueName};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::convert;
use crate::error::told;
use crate::lanes::Names;
use crate::wake::News;
use crate::worker::{OwnedClaim, Worker};

impl Worker {
    pub(crate) async fn claim(&self, claim: OwnedClaim) -> StoreResult<Claim> {
        // A reserved consumer is there for urgent tasks alone.
        let takes_part = claim.min_priority == Priority::MIN && !claim.alone;
        let room = convert::room(claim.room);
        let aged = if takes_part { self.ageing_turns(&claim.queues, room) } else { 0 };
        let (marks, sweep) = self.marks.of_claim();
        let mut rows = self
            .connections
            .call(async |connection| {
                let kinds = || claim.kinds.iter();
                sqlx::query(self.sql.statement(
                    "select * from conveyor.claim_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
                     $11, $12, $13, $14)",
                ))
                .bind(claim.by.get().cast_signed())
                .bind(claim.token.cast_signed())
                .bind(convert::micros(claim.lease))
                .bind(claim.queues.iter().map(QueueName::as_str).collect::<Vec<_>>())
                .bind(kinds().map(|kind| kind.kind.as_str()).collect::<Vec<_>>())
                .bind(kinds().map(|kind| convert::room(kind.room)).collect::<Vec<_>>())
                .bind(claim.min_priority.get())
                .bind(room)
                .bind(aged)
                .bind(claim.alone)
                .bind(marks.iter().map(|mark| mark.0).collect::<Vec<_>>())
                .bind(marks.iter().map(|mark| mark.1.0).collect::<Vec<_>>())
                .bind(marks.iter().map(|mark| mark.1.1).collect::<Vec<_>>())
                .bind(sweep)
                .fetch_all(connection)
                .await
            })
            .await?;
        let Some(last) = rows.pop() else {
            return Ok(Claim::default());
        };
        self.set_marks(&mut rows, &last, &marks).map_err(told)?;
        let lanes = rows.iter().map(|row| row.try_get("lane"));
        let lanes: Vec<i64> = lanes.collect::<Result<_, _>>().map_err(told)?;
        let names = self.names_of(&lanes).await?;
        let mut tasks = Vec::with_capacity(rows.len());
        let mut news = News::default();
        for (row, names) in rows.iter().zip(&names) {
            tasks.push(claimed(row, names, &claim)?);
            // It became due, and was taken before anybody was told: the claimer may have been
            // woken for another, which is left.
            let due: i64 = row.try_get("due").map_err(told)?;
            if row.try_get("delayed").map_err(told)? && due > self.promoted.get() {
                news.claimable(&names.queue, names.priority, 1);
            }
        }
        self.wakes.tell_here(&news);
        if takes_part {
            self.count_turns(&claim.queues, tasks.len());
        }
        Ok(Claim { tasks, suspects: last.try_get("suspects").map_err(told)? })
    }

    /// Notes up to where a lane was emptied.
    fn set_marks(
        &self,
        rows: &mut [PgRow],
        last: &PgRow,
        marks: &[(i64, (i64, i64))],
    ) -> Result<(), sqlx::Error> {
        let walked: Option<i64> = last.try_get("walked")?;
        walked.inspect(|&walked| self.marks.swept(walked));
        let mut swept = false;
        for row in &*rows {
            // Only of a search in a single lane.
            let Some(by_sweep) = row.try_get::<Option<bool>, _>("swept")? else { return Ok(()) };
            let lane: i64 = row.try_get("lane")?;
            if by_sweep && marks.iter().any(|mark| mark.0 == lane) {
                // There may be more before the mark.
                self.marks.waits(lane, None);
                swept = true;
            } else {
                self.marks.set(lane, (row.try_get("due")?, row.try_get("age")?));
            }
        }
        if swept {
            let place = |row: &PgRow| -> Option<(i64, i64)> {
                Some((row.try_get("due").ok()?, row.try_get("age").ok()?))
            };
            rows.sort_by_key(place);
        }
        Ok(())
    }

    /// How many of the next tasks from these queues go to the oldest: one in so many of those that
    /// this process takes from a queue.
    fn ageing_turns(&self, queues: &[QueueName], room: i32) -> i32 {
        let since = self.since_ageing.borrow();
        let most = queues.iter().filter_map(|queue| since.get(queue)).max();
        let turns = (i64::from(most.copied().unwrap_or(0)) + i64::from(room)) / i64::from(AGEING);
        i32::try_from(turns).unwrap_or(i32::MAX)
    }

    /// Notes that so many tasks were taken.
    fn count_turns(&self, queues: &[QueueName], taken: usize) {
        let mut since = self.since_ageing.borrow_mut();
        let taken = taken as u64;
        let most = queues.iter().filter_map(|queue| since.get(queue)).max();
        let turns = u64::from(most.copied().unwrap_or(0)) + taken;
        let every = u64::from(AGEING);
        for queue in queues {
            let since = since.entry(queue.clone()).or_default();
            // A turn is one of all the queues that were asked.
            let now = if turns >= every { turns % every } else { u64::from(*since) + taken };
            *since = u32::try_from(now).unwrap_or(0);
        }
    }
}

fn claimed(row: &PgRow, names: &Names, claim: &OwnedClaim) -> StoreResult<Claimed> {
    let read = || -> Result<_, sqlx::Error> {
        let id: Uuid = row.try_get("id")?;
        let epoch: i64 = row.try_get("epoch")?;
        let fence = Fence {
            task: convert::task_id(id),
            epoch: epoch.cast_unsigned(),
            incarnation: claim.by,
        };
        let codec: &str = row.try_get("codec")?;
        let bytes: &[u8] = row.try_get("payload")?;
        let timeout: Option<i64> = row.try_get("timeout")?;
        let retries: Option<i64> = row.try_get("retries")?;
        let claimed = Claimed {
            fence,
            ticket: 0,
            kind: names.kind.clone(),
            queue: names.queue.clone(),
            key: None,
            priority: names.priority,
            payload: AnyPayload::from_encoded(Encoded { codec: codec.into(), bytes: bytes.into() }),
            timeout: timeout.map(convert::duration),
            retries: retries.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX)),
            budgets: convert::budgets(
                row.try_get("errors")?,
                row.try_get("crashes")?,
                row.try_get("interruptions")?,
                row.try_get("snoozes")?,
            ),
            cancel: row.try_get("cancel")?,
        };
        Ok((claimed, row.try_get("key")?))
    };
    let (claimed, key) = read().map_err(told)?;
    Ok(Claimed { key: convert::key(key)?, ..claimed })
}

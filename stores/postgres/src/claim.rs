//! Claim: tasks go out under a lease.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;

use conveyor_core::lanes::AGEING;
use conveyor_core::payload::{AnyPayload, Encoded};
use conveyor_core::store::{Claimed, StoreResult};
use conveyor_core::{Fence, Kind, Priority, QueueName};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::claims::{Given, OwnedClaim};
use crate::convert;
use crate::error::told;
use crate::lanes::Names;
use crate::marks::Place;
use crate::wake::News;
use crate::worker::Worker;

/// Whoever enqueues has committed so many microseconds after the task was due, as a rule.
const LATE: i64 = 1_000_000;

const CLAIM: &str = "select * from conveyor.claim_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                     $12, $13, $14)";

impl Worker {
    pub(crate) async fn claim(&self, claim: &OwnedClaim) -> StoreResult<Given> {
        // A reserved consumer is there for urgent tasks alone.
        let takes_part = claim.min_priority == Priority::MIN && !claim.alone;
        let room = convert::room(claim.room);
        let aged = if takes_part { self.ageing_turns(&claim.queues, room) } else { 0 };
        let (marks, search) = self.marks.of_claim();
        let mut rows = self
            .connections
            .call(async |connection| {
                let kinds = || claim.kinds.iter();
                self.sql
                    .query(CLAIM)
                    .bind(claim.by.get().cast_signed())
                    .bind(claim.tokens.iter().map(|token| token.cast_signed()).collect::<Vec<_>>())
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
                    .bind(search as i16)
                    .fetch_all(connection)
                    .await
            })
            .await?;
        let Some(last) = rows.pop() else {
            return Ok(Given { tasks: Vec::new(), suspects: false, before: false });
        };
        let lanes = rows.iter().map(|row| row.try_get("lane"));
        let lanes: Vec<i64> = lanes.collect::<Result<_, _>>().map_err(told)?;
        let names = self.names_of(&lanes).await?;
        let mut rows: Vec<(PgRow, Rc<Names>)> = rows.into_iter().zip(names).collect();
        self.set_marks(&mut rows, &last, claim).await?;
        let mut tasks = Vec::with_capacity(rows.len());
        let mut news = News::default();
        for (row, names) in &rows {
            let token: i64 = row.try_get("token").map_err(told)?;
            tasks.push((token.cast_unsigned(), claimed(row, names, claim)?));
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
        let is_new = |(row, _): &(PgRow, _)| row.try_get::<Option<bool>, _>("from_head");
        let before =
            !claim.alone && rows.first().map(is_new).transpose().map_err(told)? == Some(None);
        Ok(Given { tasks, suspects: last.try_get("suspects").map_err(told)?, before })
    }

    /// Notes up to where lanes were emptied; and brings what was found in two searches in order.
    async fn set_marks(
        &self,
        rows: &mut [(PgRow, Rc<Names>)],
        last: &PgRow,
        claim: &OwnedClaim,
    ) -> StoreResult<()> {
        let read = |row: &PgRow| -> Result<_, sqlx::Error> {
            Ok((row.try_get("lane")?, (row.try_get("due")?, row.try_get("age")?)))
        };
        let taken_of = |kind| rows.iter().filter(|(_, names)| names.kind == kind).count();
        // Whether all there was of a kind is taken: there was room for more.
        let is_emptied = |kind: &Kind| {
            let room = claim.kinds.iter().find(|room| room.kind == *kind).map_or(0, |of| of.room);
            rows.len() < claim.room && taken_of(kind.clone()) < room
        };
        let mut found: HashMap<i64, (Place, bool)> = HashMap::new();
        let (mut behind, mut from_head) = (false, false);
        for (row, names) in &*rows {
            // An answer of before, or a suspect, tells nothing.
            let Some(is_from_head) = row.try_get("from_head").map_err(told)? else { return Ok(()) };
            let (lane, place) = read(row).map_err(told)?;
            if is_from_head {
                let found = found.entry(lane).or_insert_with(|| (place, is_emptied(&names.kind)));
                found.0 = found.0.max(place);
            } else {
                self.marks.rises(lane, place);
            }
            *(if is_from_head { &mut from_head } else { &mut behind }) = true;
        }
        for (lane, (place, is_emptied)) in found {
            if is_emptied {
                self.marks.rises(lane, place);
            } else {
                self.marks.falls(lane, place);
            }
        }
        let walked: Option<i64> = last.try_get("walked").map_err(told)?;
        walked.inspect(|&walked| self.marks.swept(walked));
        let searched: Option<Vec<i64>> = last.try_get("searched").map_err(told)?;
        if let (Some(lanes), Some(now)) = (searched, last.try_get("moment").map_err(told)?) {
            let now: i64 = now;
            for (lane, names) in lanes.iter().zip(self.names_of(&lanes).await?) {
                if is_emptied(&names.kind) {
                    self.marks.rises(*lane, (now.saturating_sub(LATE), i64::MAX));
                }
            }
        }
        if behind && from_head {
            rows.sort_by_cached_key(|(row, names)| {
                (Reverse(names.priority), read(row).ok().map(|(_, place): (i64, Place)| place))
            });
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

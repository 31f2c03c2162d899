//! Inspect: what the store knows of its tasks, and what was counted.

use conveyor_core::metrics::{Counters, Counts};
use conveyor_core::store::{EndState, Filter, Page, PastAttempt, StoreResult, TaskInfo};
use conveyor_core::{Key, Kind, QueueName, TaskId, TaskState, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::convert;
use crate::error::told;
use crate::lanes::Names;
use crate::worker::Worker;

const DEFAULT_LIMIT: usize = 100;

/// The tasks that match: $1 comes before them, $2 is their state, $3 their kind, $4 their queue, $5
/// their key, $6 how many there may be; they are due from $7 and before $8, and their ids are from $9 and
/// before $10.
const LIST: &str = "
with lanes as (
    select distinct id from conveyor.lane
    where ($3::text is null or kind = $3) and ($4::text is null or queue = $4)
),
moment as materialized (select conveyor.now() as now),
live as (
    select t.id, t.lane, t.due, t.key, t.errors, t.crashes, t.interruptions, t.snoozes,
        coalesce(l.epoch, t.epoch) as epoch, l.holder, null::int8 as ended_by, t.suspect, t.note,
        case
            when l.task is not null then 2
            when t.parked then 3
            when t.due > (select now from moment) and not t.suspect then 0
            else 1
        end as state,
        null::int2 as how, null::text as why
    from conveyor.task t left join conveyor.lease l on l.task = t.id
    where ($1::uuid is null or t.id > $1) and ($5::text is null or t.key = $5)
        and ($7::int8 is null or t.due >= $7) and ($8::int8 is null or t.due < $8)
        and ($9::uuid is null or t.id >= $9) and ($10::uuid is null or t.id < $10)
        and (($3::text is null and $4::text is null) or t.lane in (select id from lanes))
        and ($2::int2 is null or $2 <> 2 or l.task is not null)
        and ($2::int2 is null or $2 <> 3 or t.parked)
        and ($2::int2 is null or $2 <> 4)
),
ended as (
    select e.id, e.lane, e.due, e.key, e.errors, e.crashes, e.interruptions, e.snoozes, e.epoch,
        null::int8 as holder, e.ended_by, false as suspect, e.note, 4 as state, e.how, e.why
    from conveyor.ended e
    where ($1::uuid is null or e.id > $1) and ($5::text is null or e.key = $5)
        and ($7::int8 is null or e.due >= $7) and ($8::int8 is null or e.due < $8)
        and ($9::uuid is null or e.id >= $9) and ($10::uuid is null or e.id < $10)
        and (($3::text is null and $4::text is null) or e.lane in (select id from lanes))
        and ($2::int2 is null or $2 = 4)
)
select found.*, past.*
from (
    (select * from live where $2::int2 is null or state = $2 order by id limit $6)
    union all
    (select * from ended order by id limit $6)
    order by id limit $6
) found
left join lateral (
    select array_agg(a.epoch order by a.epoch) as epochs,
        array_agg(a.holder order by a.epoch) as holders, array_agg(a.at order by a.epoch) as ats,
        array_agg(a.how order by a.epoch) as hows, array_agg(a.why order by a.epoch) as whys
    from conveyor.attempt a where a.task = found.id
) past on true
order by found.id";

/// How each of the ids stands: live, or how it ended.
const ENDS: &str = "
select t.id is not null, e.how, e.why
from unnest($1::uuid[]) with ordinality as a(id, nth)
left join (select id from conveyor.task where id = any($1)) t on t.id = a.id
left join (select id, how, why from conveyor.ended where id = any($1)) e on e.id = a.id
order by a.nth";

/// What was counted, by lane; -1 active, -2 parked, -3 scheduled.
const COUNTERS: &str = "
with sums as (
    select lane, what, sum(n)::int8 as n
    from (
        select lane, what, n from conveyor.counted
        union all select lane, what, n from conveyor.counting
    ) c
    group by lane, what
)
select lane, what, n from sums
union all
select lane, -1::int2, count(*) from conveyor.lease group by lane
union all
select lane, -2::int2, count(*) from conveyor.task where parked group by lane
union all
select l.id, -3::int2, t.n
from (select distinct id from conveyor.lane) l
cross join lateral (
    select count(*) as n from conveyor.task t
    where t.lane = l.id and not t.parked and not t.suspect and t.due > conveyor.now()
) t
where t.n > 0";

impl Worker {
    pub(crate) async fn ends(&self, ids: &[TaskId]) -> StoreResult<Vec<EndState>> {
        let asked: Vec<Uuid> = ids.iter().copied().map(convert::uuid).collect();
        let rows = self
            .connections
            .call(async |connection| {
                self.sql
                    .query_as::<(bool, Option<i16>, Option<String>)>(ENDS)
                    .bind(&asked)
                    .fetch_all(connection)
                    .await
            })
            .await?;
        let state = |(is_live, how, why)| match how {
            _ if is_live => EndState::Live,
            Some(how) => EndState::Ended(convert::end(how, why)),
            None => EndState::Gone,
        };
        Ok(rows.into_iter().map(state).collect())
    }

    pub(crate) async fn inspect(&self, filter: &Filter) -> StoreResult<Page> {
        let limit = if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit };
        let first = |at: Option<Timestamp>| at.map(|at| TaskId::first_from(at).map(convert::uuid));
        let (from, before) = match (first(filter.enqueued_from), first(filter.enqueued_before)) {
            // No id is so late.
            (Some(None), _) => return Ok(Page::default()),
            (from, before) => (from.flatten(), before.flatten()),
        };
        let state = filter.state.map(|state| match state {
            TaskState::Scheduled => 0i16,
            TaskState::Queued => 1,
            TaskState::Active => 2,
            TaskState::Parked => 3,
            TaskState::Ended => 4,
            // Of a later version: nothing is in it here.
            _ => -1,
        });
        let mut rows = self
            .connections
            .call(async |connection| {
                self.sql
                    .query(LIST)
                    .bind(filter.after.map(convert::uuid))
                    .bind(state)
                    .bind(filter.kind.as_ref().map(Kind::as_str))
                    .bind(filter.queue.as_ref().map(QueueName::as_str))
                    .bind(filter.key.as_ref().map(Key::as_str))
                    .bind(convert::limit(limit).saturating_add(1))
                    .bind(filter.due_from.map(Timestamp::as_micros))
                    .bind(filter.due_before.map(Timestamp::as_micros))
                    .bind(from)
                    .bind(before)
                    // Planned for what is asked.
                    .fetch_all(connection)
                    .await
            })
            .await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let lanes = rows.iter().map(|row| row.try_get("lane"));
        let lanes: Vec<i64> = lanes.collect::<Result<_, _>>().map_err(told)?;
        let names = self.names_of(&lanes).await?;
        let tasks = rows.iter().zip(&names).map(|(row, names)| info(row, names));
        let tasks: Vec<TaskInfo> = tasks.collect::<StoreResult<_>>()?;
        let next = tasks.last().filter(|_| more).map(|task| task.id);
        Ok(Page { tasks, next })
    }

    pub(crate) async fn counters(&self) -> StoreResult<Counters> {
        let rows = self
            .connections
            .call(async |connection| {
                self.sql.query_as::<(i64, i16, i64)>(COUNTERS).fetch_all(connection).await
            })
            .await?;
        let lanes: Vec<i64> = rows.iter().map(|row| row.0).collect();
        let names = self.names_of(&lanes).await?;
        let mut counters = Counters::default();
        for ((_, what, n), names) in rows.into_iter().zip(names) {
            let of = (names.queue.clone(), names.kind.clone());
            add(counters.each.entry(of).or_default(), what, n.max(0).cast_unsigned());
        }
        for counts in counters.each.values_mut() {
            // What is live and nowhere else is queued.
            let live = counts.enqueued.saturating_sub(counts.ended());
            counts.queued = live.saturating_sub(counts.active + counts.parked + counts.scheduled);
        }
        Ok(counters)
    }
}

fn add(counts: &mut Counts, what: i16, n: u64) {
    let count = match what {
        -1 => &mut counts.active,
        -2 => &mut counts.parked,
        -3 => &mut counts.scheduled,
        0 => &mut counts.enqueued,
        1 => &mut counts.processed,
        2 => &mut counts.failed,
        3 => &mut counts.cancelled,
        4 => &mut counts.crashed,
        5 => &mut counts.retried,
        6 => &mut counts.panicked,
        7 => &mut counts.timed_out,
        8 => &mut counts.snoozed,
        9 => &mut counts.returned,
        10 => &mut counts.duplicates,
        // Of a later version.
        _ => return,
    };
    *count += n;
}

/// The attempts of a task that are over.
fn attempts(row: &PgRow) -> Result<Vec<PastAttempt>, sqlx::Error> {
    let numbers = |name| row.try_get::<Option<Vec<i64>>, _>(name);
    let Some(epochs) = numbers("epochs")? else { return Ok(Vec::new()) };
    let (holders, ats) = (numbers("holders")?.unwrap_or_default(), numbers("ats")?);
    let hows: Vec<i16> = row.try_get::<Option<_>, _>("hows")?.unwrap_or_default();
    let whys: Vec<Option<String>> = row.try_get::<Option<_>, _>("whys")?.unwrap_or_default();
    let fences = epochs.into_iter().zip(holders).zip(ats.unwrap_or_default());
    let attempts = fences.zip(hows).zip(whys);
    Ok(attempts
        .map(|((((epoch, by), at), how), why)| convert::attempt((epoch, by, at), how, why))
        .collect())
}

fn info(row: &PgRow, names: &Names) -> StoreResult<TaskInfo> {
    let read = || -> Result<_, sqlx::Error> {
        let state: i32 = row.try_get("state")?;
        let (epoch, holder): (i64, Option<i64>) = (row.try_get("epoch")?, row.try_get("holder")?);
        let ended_by: Option<i64> = row.try_get("ended_by")?;
        let how: Option<i16> = row.try_get("how")?;
        let why: Option<String> = row.try_get("why")?;
        let info = TaskInfo {
            id: convert::task_id(row.try_get("id")?),
            kind: names.kind.clone(),
            queue: names.queue.clone(),
            key: None,
            priority: names.priority,
            state: match state {
                0 => TaskState::Scheduled,
                1 => TaskState::Queued,
                2 => TaskState::Active,
                3 => TaskState::Parked,
                _ => TaskState::Ended,
            },
            due: convert::time(row.try_get("due")?),
            budgets: convert::budgets(
                row.try_get("errors")?,
                row.try_get("crashes")?,
                row.try_get("interruptions")?,
                row.try_get("snoozes")?,
            ),
            epoch: epoch.cast_unsigned(),
            holder: holder.map(convert::incarnation),
            suspect: row.try_get("suspect")?,
            note: row.try_get("note")?,
            attempts: attempts(row)?,
            ended_by: ended_by.map(convert::incarnation),
            end: how.map(|how| convert::end(how, why)),
        };
        Ok((info, row.try_get("key")?))
    };
    let (info, key) = read().map_err(told)?;
    Ok(TaskInfo { key: convert::key(key)?, ..info })
}

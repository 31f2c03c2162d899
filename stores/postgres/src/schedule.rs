//! Schedules: put by revision, and ticked by compare-and-set, in one step with the task.

use conveyor_core::Kind;
use conveyor_core::plant::{Plant, planted};
use conveyor_core::schedule::{Cadence, Missed, Overlap, Schedule};
use conveyor_core::store::{
    Enqueued, NewTask, ScheduleDefinition, ScheduleState, StoreResult, Tick, Ticked,
};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Acquire, Row};
use uuid::Uuid;

use crate::convert;
use crate::enqueue;
use crate::sql::Sql;
use crate::wake::News;
use crate::worker::Worker;

/// A schedule's row.
struct ScheduleRow {
    schedule: Schedule,
    revision: i64,
    anchor: i64,
    mark: i64,
    last: Option<Uuid>,
}

impl ScheduleRow {
    fn state(&self, now: i64) -> ScheduleState {
        ScheduleState {
            schedule: self.schedule.clone(),
            revision: self.revision.cast_unsigned(),
            anchor: convert::time(self.anchor),
            mark: convert::time(self.mark),
            now: convert::time(now),
        }
    }
}

impl Worker {
    pub(crate) async fn put_schedule(
        &self,
        definition: &ScheduleDefinition,
    ) -> StoreResult<ScheduleState> {
        let (state, changed) = self
            .connections
            .call(async |connection| {
                let mut transaction = connection.begin().await?;
                let put = put(&mut transaction, &self.sql, definition).await?;
                transaction.commit().await?;
                Ok(put)
            })
            .await?;
        if changed {
            self.wakes.tell(News::of_schedules());
        }
        Ok(state)
    }

    pub(crate) async fn remove_schedule(&self, name: &Kind) -> StoreResult<()> {
        let removed = self
            .connections
            .call(async |connection| {
                let remove = self.sql.query("delete from conveyor.schedule where name = $1");
                let removed = remove.bind(name.as_str()).execute(connection).await?;
                Ok(removed.rows_affected())
            })
            .await?;
        if removed > 0 {
            self.wakes.tell(News::of_schedules());
        }
        Ok(())
    }

    pub(crate) async fn tick(&self, batch: &[Tick]) -> StoreResult<Vec<Ticked>> {
        let tasks: Vec<NewTask> = batch.iter().filter_map(|tick| tick.task.clone()).collect();
        let lanes = self.lanes_of(&tasks).await?;
        let payloads = enqueue::encoded(&tasks)?;
        let (ticked, told) = self
            .connections
            .call(async |connection| {
                let mut transaction = connection.begin().await?;
                lock(&mut transaction, &self.sql, batch).await?;
                let (mut ticked, mut all_told) = (Vec::new(), Vec::new());
                let mut task = 0;
                for tick in batch {
                    let with = if tick.task.is_some() { task..task + 1 } else { task..task };
                    let of = (&tasks[with.clone()], &lanes[with.clone()], &payloads[with.clone()]);
                    task = with.end;
                    let (reply, told) = tick_one(&mut transaction, &self.sql, tick, of).await?;
                    ticked.push(reply);
                    all_told.extend(told.map(|told| (with.start, told)));
                }
                transaction.commit().await?;
                Ok((ticked, all_told))
            })
            .await?;
        let mut news = News::default();
        for (task, told) in &told {
            self.tell_of(told, &tasks[*task], lanes[*task], &mut news);
        }
        self.wakes.tell(news);
        Ok(ticked)
    }
}

async fn now(connection: &mut PgConnection, sql: &Sql) -> Result<i64, sqlx::Error> {
    sql.query_scalar("select conveyor.now()").fetch_one(connection).await
}

/// Locks the schedules of a batch, in one order for everybody.
async fn lock(connection: &mut PgConnection, sql: &Sql, batch: &[Tick]) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = batch.iter().map(|tick| tick.name.as_str()).collect();
    let lock = "select 1 from conveyor.schedule where name = any($1) order by name for update";
    sql.query(lock).bind(names).execute(connection).await?;
    Ok(())
}

async fn find(
    connection: &mut PgConnection,
    sql: &Sql,
    name: &Kind,
) -> Result<Option<ScheduleRow>, sqlx::Error> {
    let find = "select cadence, missed, overlap, revision, anchor, mark, last \
                from conveyor.schedule where name = $1 for update";
    let row = sql.query(find).bind(name.as_str()).fetch_optional(connection);
    row.await?.map(|row| read(&row)).transpose()
}

fn read(row: &PgRow) -> Result<ScheduleRow, sqlx::Error> {
    fn parse<T: std::str::FromStr>(text: &str) -> Result<T, sqlx::Error>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
    let cadence: Cadence = parse(row.try_get(0)?)?;
    let missed: Missed = parse(row.try_get(1)?)?;
    let overlap: Overlap = parse(row.try_get(2)?)?;
    Ok(ScheduleRow {
        schedule: Schedule { cadence, missed, overlap },
        revision: row.try_get(3)?,
        anchor: row.try_get(4)?,
        mark: row.try_get(5)?,
        last: row.try_get(6)?,
    })
}

/// Puts a schedule; tells how it stands, and whether it changed.
async fn put(
    connection: &mut PgConnection,
    sql: &Sql,
    definition: &ScheduleDefinition,
) -> Result<(ScheduleState, bool), sqlx::Error> {
    let ScheduleDefinition { name, schedule } = definition;
    let (cadence, missed, overlap) =
        (schedule.cadence.to_string(), schedule.missed.to_string(), schedule.overlap.to_string());
    // A row for all to lock; one that nobody has put yet has the revision 0.
    let make = "insert into conveyor.schedule \
                (name, cadence, missed, overlap, revision, anchor, mark) \
                values ($1, $2, $3, $4, 0, 0, -9223372036854775808) on conflict do nothing";
    sql.query(make)
        .bind(name.as_str())
        .bind(&cadence)
        .bind(&missed)
        .bind(&overlap)
        .execute(&mut *connection)
        .await?;
    let before = find(connection, sql, name).await?.ok_or(sqlx::Error::RowNotFound)?;
    let now = now(connection, sql).await?;
    if before.revision > 0 && before.schedule == *schedule {
        return Ok((before.state(now), false));
    }
    let row = ScheduleRow {
        schedule: schedule.clone(),
        revision: before.revision + 1,
        anchor: now,
        // The anchor itself is the first instant of an interval, so it is not done with yet.
        mark: before.mark.max(now - 1),
        last: before.last,
    };
    let change = "update conveyor.schedule set cadence = $2, missed = $3, overlap = $4, \
                  revision = $5, anchor = $6, mark = $7 where name = $1";
    sql.query(change)
        .bind(name.as_str())
        .bind(cadence)
        .bind(missed)
        .bind(overlap)
        .bind(row.revision)
        .bind(row.anchor)
        .bind(row.mark)
        .execute(connection)
        .await?;
    Ok((row.state(now), true))
}

/// The task of a tick, if it has one, ready to be inserted.
type Ready<'a> = (&'a [NewTask], &'a [crate::lanes::Lane], &'a [conveyor_core::payload::Encoded]);

async fn tick_one(
    connection: &mut PgConnection,
    sql: &Sql,
    tick: &Tick,
    (tasks, lanes, payloads): Ready<'_>,
) -> Result<(Ticked, Option<enqueue::Told>), sqlx::Error> {
    let Some(row) = find(connection, sql, &tick.name).await? else {
        return Ok((Ticked::Gone, None));
    };
    let (from, to) = (tick.from.as_micros(), tick.to.as_micros());
    let is_first = row.mark == from || planted(Plant::TickTwice);
    if row.revision.cast_unsigned() != tick.revision || !is_first || to <= from {
        return Ok((Ticked::Stale(row.state(now(connection, sql).await?)), None));
    }
    let overlaps = match row.last {
        Some(last) if row.schedule.overlap == Overlap::Skip => {
            let is_live = "select exists (select from conveyor.task where id = $1)";
            sql.query_scalar(is_live).bind(last).fetch_one(&mut *connection).await?
        }
        _ => false,
    };
    let mut fired = None;
    if let Some(task) = tasks.first().filter(|_| !overlaps) {
        let told = enqueue::insert(connection, sql, tasks, lanes, payloads).await?.pop();
        // One that was known before is no new one.
        fired = told
            .filter(|told| told.is_new && matches!(told.reply, Enqueued::Accepted))
            .map(|told| (task.id, told));
    }
    let last = fired.as_ref().map(|(id, _)| convert::uuid(*id)).or(row.last);
    let change = "update conveyor.schedule set mark = $2, last = $3 where name = $1";
    sql.query(change).bind(tick.name.as_str()).bind(to).bind(last).execute(connection).await?;
    Ok(match fired {
        Some((id, told)) => (Ticked::Fired(id), Some(told)),
        None => (Ticked::Skipped, None),
    })
}

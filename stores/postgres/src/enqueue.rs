//! Enqueue: tasks come in.

use conveyor_core::Key;
use conveyor_core::codec::Codecs;
use conveyor_core::payload::Encoded;
use conveyor_core::store::{Enqueued, NewTask, StoreError, StoreErrorKind, StoreResult};
use conveyor_core::task::Start;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::convert;
use crate::error::NAME;
use crate::lanes::Lane;
use crate::sql::Sql;
use crate::wake::News;
use crate::worker::Worker;

/// What became of a task, as the server tells it.
pub(crate) struct Told {
    pub(crate) reply: Enqueued,
    /// Whether it is new.
    pub(crate) is_new: bool,
    due: Option<i64>,
    moment: i64,
}

impl Worker {
    pub(crate) async fn enqueue(&self, batch: &[NewTask]) -> StoreResult<Vec<Enqueued>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let lanes = self.lanes_of(batch).await?;
        let payloads = encoded(batch)?;
        let told = self
            .connections
            .call(async |connection| insert(connection, &self.sql, batch, &lanes, &payloads).await)
            .await?;
        let mut news = News::default();
        for ((task, told), lane) in batch.iter().zip(&told).zip(&lanes) {
            self.tell_of(told, task, *lane, &mut news);
        }
        self.wakes.tell(news);
        Ok(told.into_iter().map(|told| told.reply).collect())
    }
}

impl Worker {
    /// Notes that there is something to claim, now or later.
    pub(crate) fn tell_of(&self, told: &Told, task: &NewTask, lane: Lane, news: &mut News) {
        told.due.inspect(|&due| self.marks.waits(lane.id, Some(due)));
        told.tell(task, news);
    }
}

impl Told {
    /// Notes that there is something to claim, now or later.
    pub(crate) fn tell(&self, task: &NewTask, news: &mut News) {
        if let Some(due) = self.due.filter(|_| self.is_new) {
            news.waits(&task.queue, task.priority, due, self.moment);
        }
    }
}

/// The payloads in bytes.
pub(crate) fn encoded(batch: &[NewTask]) -> StoreResult<Vec<Encoded>> {
    let codecs = Codecs::default();
    let encode = |task: &NewTask| {
        let encoded = task.payload.encoded(&codecs);
        encoded.map_err(|error| StoreError::new(NAME, StoreErrorKind::Refused, error))
    };
    batch.iter().map(encode).collect()
}

/// Inserts tasks, in the transaction of the connection if there is one.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    sql: &Sql,
    batch: &[NewTask],
    lanes: &[Lane],
    payloads: &[Encoded],
) -> Result<Vec<Told>, sqlx::Error> {
    let each = || batch.iter();
    let starts = each().map(|task| match task.start {
        Start::Now => (0i16, 0i64),
        Start::After(delay) => (1, convert::micros(delay)),
        Start::At(at) => (2, at.as_micros()),
    });
    let (starts, times): (Vec<i16>, Vec<i64>) = starts.unzip();
    let rows = sql
        .query(
            "select reply, rival, due, moment \
         from conveyor.enqueue_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) order by nth",
        )
        .bind(each().map(|task| convert::uuid(task.id)).collect::<Vec<_>>())
        .bind(lanes.iter().map(|lane| lane.id).collect::<Vec<_>>())
        .bind(lanes.iter().map(|lane| lane.kind_id).collect::<Vec<_>>())
        .bind(each().map(|task| task.key.as_ref().map(Key::as_str)).collect::<Vec<_>>())
        .bind(starts)
        .bind(times)
        .bind(payloads.iter().map(|payload| &*payload.codec).collect::<Vec<_>>())
        .bind(payloads.iter().map(|payload| &*payload.bytes).collect::<Vec<_>>())
        .bind(each().map(|task| task.timeout.map(convert::micros_at_least_one)).collect::<Vec<_>>())
        .bind(each().map(|task| task.retries.map(i64::from)).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            let reply: i16 = row.try_get(0)?;
            let rival: Option<Uuid> = row.try_get(1)?;
            Ok(Told {
                reply: if reply == 2 {
                    Enqueued::Duplicate(rival.map(convert::task_id))
                } else {
                    Enqueued::Accepted
                },
                is_new: reply == 0,
                due: row.try_get(2)?,
                moment: row.try_get(3)?,
            })
        })
        .collect()
}

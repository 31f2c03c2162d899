//! Settle: how attempts ended is recorded, if their fence is the current one.

use std::collections::HashSet;

use conveyor_core::End;
use conveyor_core::store::{NewTask, Settle, Settled, StoreResult, Verdict};
use sqlx::postgres::PgConnection;
use sqlx::{Acquire, Row};

use crate::convert;
use crate::enqueue::{self, Told};
use crate::lanes::Lane;
use crate::sql::Sql;
use crate::wake::News;
use crate::worker::Worker;
use conveyor_core::payload::Encoded;

/// Why a task ended that was cancelled on request; the functions say the same.
pub(crate) const ON_REQUEST: &str = "cancelled on request";

/// What became of a settle, as the server tells it.
pub(crate) struct SettledRow {
    pub(crate) settled: Settled,
    how: Option<i16>,
    lane: Option<i64>,
    due: Option<i64>,
    moment: i64,
}

/// The children of a batch, ready to be inserted.
pub(crate) struct Children {
    lanes: Vec<Lane>,
    payloads: Vec<Encoded>,
}

/// All that a batch came to.
pub(crate) struct Outcome {
    pub(crate) rows: Vec<SettledRow>,
    /// What became of children: where each is in the batch.
    children: Vec<(usize, usize, Told)>,
}

impl Worker {
    pub(crate) async fn settle(&self, batch: &[Settle]) -> StoreResult<Vec<Settled>> {
        let children = self.children_of(batch).await?;
        let outcome = self
            .connections
            .call(async |connection| {
                let rounds = rounds(batch);
                if rounds.len() == 1 && children.lanes.is_empty() {
                    // A statement of its own is a transaction of its own.
                    return settle_in(connection, &self.sql, batch, &children).await;
                }
                let mut transaction = connection.begin().await?;
                let outcome = settle_in(&mut transaction, &self.sql, batch, &children).await?;
                transaction.commit().await?;
                Ok(outcome)
            })
            .await?;
        let news = self.news_of(batch, &outcome).await?;
        self.wakes.tell(news);
        Ok(outcome.rows.iter().map(|row| row.settled).collect())
    }

    pub(crate) async fn children_of(&self, batch: &[Settle]) -> StoreResult<Children> {
        let all: Vec<NewTask> =
            batch.iter().flat_map(|settle| settle.children.iter().cloned()).collect();
        let lanes = self.lanes_of(&all).await?;
        Ok(Children { lanes, payloads: enqueue::encoded(&all)? })
    }

    /// What there is to tell of a batch.
    pub(crate) async fn news_of(&self, batch: &[Settle], outcome: &Outcome) -> StoreResult<News> {
        let mut news = News::default();
        let waiting = || outcome.rows.iter().filter(|row| row.due.is_some());
        let lanes: Vec<i64> = waiting().filter_map(|row| row.lane).collect();
        let names = self.names_of(&lanes).await?;
        for (row, names) in waiting().zip(names) {
            if let (Some(due), Some(lane)) = (row.due, row.lane) {
                self.marks.waits(lane, Some(due));
                news.waits(&names.queue, names.priority, due, row.moment);
            }
        }
        for (settle, row) in batch.iter().zip(&outcome.rows) {
            if let Some(how) = row.how {
                news.ended(settle.fence.task, end_of(&settle.verdict, how));
            }
        }
        for (settle, child, told) in &outcome.children {
            let child = &batch[*settle].children[*child];
            for lane in self.lanes_of(std::slice::from_ref(child)).await? {
                self.tell_of(told, child, lane, &mut news);
            }
        }
        Ok(news)
    }
}

fn end_of(verdict: &Verdict, how: i16) -> End {
    let why = match verdict {
        Verdict::Fail { error } => error,
        Verdict::Cancel { why } => why,
        _ => ON_REQUEST,
    };
    convert::end(how, Some(convert::text(why)))
}

/// Parts a batch so that no task is in a part twice, and only the last of a part has children:
/// such a part is settled by one statement, and is as if its elements were settled in their order.
fn rounds(batch: &[Settle]) -> Vec<&[Settle]> {
    let mut rounds = Vec::new();
    let (mut start, mut seen) = (0, HashSet::new());
    for (at, settle) in batch.iter().enumerate() {
        if seen.contains(&settle.fence.task) {
            rounds.push(&batch[start..at]);
            start = at;
            seen.clear();
        }
        seen.insert(settle.fence.task);
        if !settle.children.is_empty() {
            rounds.push(&batch[start..=at]);
            start = at + 1;
            seen.clear();
        }
    }
    if start < batch.len() {
        rounds.push(&batch[start..]);
    }
    rounds
}

/// Settles a batch in its order, in the transaction of the connection.
pub(crate) async fn settle_in(
    connection: &mut PgConnection,
    sql: &Sql,
    batch: &[Settle],
    children: &Children,
) -> Result<Outcome, sqlx::Error> {
    let rounds = rounds(batch);
    if rounds.len() > 1 {
        // In one order for everybody, whatever the order of the batch.
        let mut ids: Vec<_> = batch.iter().map(|s| convert::uuid(s.fence.task)).collect();
        ids.sort_unstable();
        let lock = "select 1 from conveyor.task where id = any($1) order by id for no key update";
        sql.query(lock).bind(ids).execute(&mut *connection).await?;
    }
    let mut outcome = Outcome { rows: Vec::with_capacity(batch.len()), children: Vec::new() };
    let mut passed = 0;
    for round in rounds {
        outcome.rows.extend(settle_round(connection, sql, round).await?);
        let at = outcome.rows.len() - 1;
        let Some(last) = round.last().filter(|last| !last.children.is_empty()) else {
            continue;
        };
        let of_last = passed..passed + last.children.len();
        passed = of_last.end;
        let applied = outcome.rows[at].settled == Settled::Applied;
        if applied && last.verdict != Verdict::Interrupt {
            let (lanes, payloads) = (&children.lanes[of_last.clone()], &children.payloads[of_last]);
            let told = enqueue::insert(connection, sql, &last.children, lanes, payloads).await?;
            let told = told.into_iter().enumerate();
            outcome.children.extend(told.map(|(child, told)| (at, child, told)));
        }
    }
    Ok(outcome)
}

async fn settle_round(
    connection: &mut PgConnection,
    sql: &Sql,
    round: &[Settle],
) -> Result<Vec<SettledRow>, sqlx::Error> {
    let each = || round.iter();
    let verdicts = each().map(|settle| match &settle.verdict {
        Verdict::Succeed => (0i16, 0i64, None),
        Verdict::Fail { error } => (1, 0, Some(convert::text(error))),
        Verdict::Cancel { why } => (2, 0, Some(convert::text(why))),
        Verdict::Retry { delay, error } => (3, convert::micros(*delay), Some(convert::text(error))),
        Verdict::Snooze { delay } => (4, convert::micros(*delay), None),
        Verdict::Return { started: true } => (5, 0, None),
        Verdict::Return { started: false } => (6, 0, None),
        Verdict::Interrupt => (7, 0, None),
        Verdict::Park { reason } => (8, 0, Some(convert::text(reason))),
    });
    let (mut codes, mut delays, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for (code, delay, text) in verdicts {
        codes.push(code);
        delays.push(delay);
        words.push(text);
    }
    let rows = sql
        .query(
            "select reply, how, lane, due, moment \
         from conveyor.settle_1($1, $2, $3, $4, $5, $6, $7, $8) order by nth",
        )
        .bind(each().map(|settle| convert::uuid(settle.fence.task)).collect::<Vec<_>>())
        .bind(each().map(|settle| settle.fence.epoch.cast_signed()).collect::<Vec<_>>())
        .bind(each().map(|settle| settle.fence.incarnation.get().cast_signed()).collect::<Vec<_>>())
        .bind(codes)
        .bind(delays)
        .bind(words)
        .bind(each().map(|settle| settle.panicked).collect::<Vec<_>>())
        .bind(each().map(|settle| settle.timed_out).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let row = |row: &sqlx::postgres::PgRow| {
        let reply: i16 = row.try_get(0)?;
        Ok(SettledRow {
            settled: match reply {
                0 => Settled::Applied,
                1 => Settled::Already,
                _ => Settled::Fenced,
            },
            how: row.try_get(1)?,
            lane: row.try_get(2)?,
            due: row.try_get(3)?,
            moment: row.try_get(4)?,
        })
    };
    rows.iter().map(row).collect()
}

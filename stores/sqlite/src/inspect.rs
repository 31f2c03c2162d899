//! Inspect: what the file knows of its tasks.

use conveyor_core::metrics::Counters;
use conveyor_core::store::{EndState, Filter, Page, PastAttempt, TaskInfo};
use conveyor_core::{Incarnation, Priority, QueueName, TaskId, TaskState};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::columns::{
    attempt_from, budgets_from, end_from, id_from, id_to, key_from, kind_from, limit, queue_from,
    state_from, state_to, time, unbits,
};
use crate::counts::{COUNTS, counts_from};
use crate::error::Result;
use crate::sql;

const DEFAULT_LIMIT: usize = 100;

/// How tasks ended.
pub(crate) fn ends(sql: &Connection, ids: &[TaskId]) -> Result<Vec<EndState>> {
    let mut find =
        sql.prepare_cached("SELECT state, ending, why FROM conveyor_tasks WHERE id = ?1")?;
    let mut end = |&id: &TaskId| {
        let row: Option<(i64, Option<i64>, Option<String>)> = find
            .query_row([id_to(id)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        Ok(match row {
            None => EndState::Gone,
            Some((_, Some(ending), why)) => EndState::Ended(end_from(ending, why)?),
            Some((_, None, _)) => EndState::Live,
        })
    };
    ids.iter().map(&mut end).collect()
}

/// The counters of each stream.
pub(crate) fn counters(sql: &Connection) -> Result<Counters> {
    let mut find = sql.prepare_cached(&format!(
        "SELECT q.name, k.name, {COUNTS} FROM conveyor_streams
         JOIN conveyor_queues q USING (queue) JOIN conveyor_kinds k USING (kind)"
    ))?;
    let rows = find.query_map((), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, counts_from(row, 2)?))
    })?;
    let mut counters = Counters::default();
    for row in rows {
        let (queue, kind, counts) = row?;
        counters.each.insert((queue_from(&queue)?, kind_from(&kind)?), counts);
    }
    Ok(counters)
}

/// Tasks by id, a page at a time.
pub(crate) fn list(sql: &Connection, filter: &Filter) -> Result<Page> {
    let most = if filter.limit == 0 { DEFAULT_LIMIT } else { filter.limit };
    let mut conditions = String::from("1");
    let mut values: Vec<Value> = Vec::new();
    let mut only = |condition: &str, value: Value| {
        values.push(value);
        conditions.push_str(&format!(" AND {condition} ?{}", values.len()));
    };
    if let Some(after) = filter.after {
        only("id >", id_to(after).to_vec().into());
    }
    if let Some(from) = filter.enqueued_from {
        match TaskId::first_from(from) {
            Some(first) => only("id >=", id_to(first).to_vec().into()),
            None => return Ok(Page::default()),
        }
    }
    if let Some(first) = filter.enqueued_before.and_then(TaskId::first_from) {
        only("id <", id_to(first).to_vec().into());
    }
    if let Some(from) = filter.due_from {
        only("due >=", from.as_micros().into());
    }
    if let Some(before) = filter.due_before {
        only("due <", before.as_micros().into());
    }
    if let Some(state) = filter.state {
        only("state =", state_to(state).into());
    }
    if let Some(kind) = &filter.kind {
        only("k.name =", kind.as_str().to_owned().into());
    }
    if let Some(queue) = &filter.queue {
        only("q.name =", queue.as_str().to_owned().into());
    }
    if let Some(key) = &filter.key {
        only("key =", key.as_str().to_owned().into());
    }
    let mut find = sql.prepare(&format!(
        "SELECT id, k.name, q.name, key, priority, state, due, errors, crashes, interruptions,
             snoozes, epoch, holder, suspect, note, ending, why, ended_by, age
         FROM conveyor_tasks t JOIN conveyor_streams s USING (stream)
         JOIN conveyor_queues q USING (queue) JOIN conveyor_kinds k ON k.kind = s.kind
         WHERE {conditions} ORDER BY id LIMIT {}",
        limit(most).saturating_add(1)
    ))?;
    let rows = find.query_map(params_from_iter(values), |row| Ok(info(sql, row)))?;
    let mut page = Page::default();
    for row in rows {
        if page.tasks.len() == most {
            page.next = page.tasks.last().map(|task: &TaskInfo| task.id);
            break;
        }
        page.tasks.push(row??);
    }
    Ok(page)
}

/// The queues that are paused.
pub(crate) fn paused(sql: &Connection) -> Result<Vec<QueueName>> {
    let find = "SELECT name FROM conveyor_queues WHERE paused = 1 ORDER BY name";
    let mut find = sql.prepare_cached(find)?;
    let names = find.query_map((), |row| row.get::<_, String>(0))?;
    names.map(|name| queue_from(&name?)).collect()
}

fn info(sql: &Connection, row: &Row<'_>) -> Result<TaskInfo> {
    let state = state_from(row.get(5)?)?;
    let ending: Option<i64> = row.get(15)?;
    let holder = Incarnation::new(unbits(row.get(12)?));
    Ok(TaskInfo {
        id: id_from(row.get(0)?),
        kind: kind_from(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
        queue: queue_from(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?)?,
        key: key_from(row.get(3)?)?,
        priority: Priority::new(row.get(4)?),
        state,
        due: time(row.get(6)?),
        budgets: budgets_from(&sql::Row::Own(row), 7)?,
        epoch: unbits(row.get(11)?),
        holder: (state == TaskState::Active).then_some(holder),
        suspect: row.get(13)?,
        note: row.get(14)?,
        attempts: attempts(sql, row.get(18)?)?,
        ended_by: row.get::<_, Option<i64>>(17)?.map(|by| Incarnation::new(unbits(by))),
        end: ending.map(|ending| end_from(ending, row.get(16)?)).transpose()?,
    })
}

/// The attempts that a task outlived, the oldest first.
fn attempts(sql: &Connection, age: i64) -> Result<Vec<PastAttempt>> {
    let mut find = sql.prepare_cached(
        "SELECT epoch, holder, at, ended, why FROM conveyor_attempts WHERE age = ?1 ORDER BY epoch",
    )?;
    let rows = find.query_map([age], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    })?;
    rows.map(|row| {
        let (epoch, by, at, ended, why): (i64, i64, i64, i64, Option<String>) = row?;
        Ok(PastAttempt {
            epoch: unbits(epoch),
            by: Incarnation::new(unbits(by)),
            at: time(at),
            ended: attempt_from(ended, why.unwrap_or_default())?,
        })
    })
    .collect()
}

//! A caller's own transaction: a step makes its statements there, and they take effect if and only
//! if the caller commits.
//!
//! A step is a plain sequence of statements, on a thread; the caller's connection is driven by
//! futures, on a runtime. So the step runs on a thread of its own, which asks for one statement at
//! a time, and the caller's future makes them: there is one code for all steps.

use std::cell::Cell;
use std::sync::mpsc;
use std::thread;

use conveyor_core::store::{
    Enqueued, NewTask, Settle, Settled, StoreError, StoreErrorKind, StoreFuture, StoreResult,
    StoreTransaction,
};
use futures::StreamExt as _;
use futures::channel::{mpsc as asks, oneshot};
use rusqlite::types::Value;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Column as _, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _};

use crate::SqliteStore;
use crate::error::{Failure, NAME, Result, closed};
use crate::migrate;
use crate::sql::Sql;
use crate::step::{Names, Step};

/// A caller's connection, from the step's side.
pub(crate) struct Lent {
    asks: asks::UnboundedSender<Ask>,
    last_number: Cell<i64>,
}

/// A statement to be made.
struct Ask {
    sql: &'static str,
    values: Vec<Value>,
    wants: Wants,
    reply: mpsc::SyncSender<rusqlite::Result<Answer>>,
}

/// What a statement is made for.
#[derive(Clone, Copy)]
pub(crate) enum Wants {
    Effect,
    Rows,
}

/// What came of a statement.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) changed: usize,
    pub(crate) rows: Vec<Vec<Value>>,
    last_number: i64,
}

impl Lent {
    pub(crate) fn ask(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        wants: Wants,
    ) -> Result<Answer> {
        let (reply, answer) = mpsc::sync_channel(1);
        let dropped =
            || Failure::Gone("the call in the caller's transaction was dropped".to_owned());
        self.asks.unbounded_send(Ask { sql, values, wants, reply }).map_err(|_| dropped())?;
        let answer = answer.recv().map_err(|_| dropped())??;
        if let Wants::Effect = wants {
            self.last_number.set(answer.last_number);
        }
        Ok(answer)
    }

    pub(crate) fn last_number(&self) -> i64 {
        self.last_number.get()
    }
}

/// Tasks are enqueued, and attempts settled, in a transaction of sqlx's on the store's own file.
///
/// While it is open nobody else can change the file, so it should be short; one that is to write
/// after it has read should begin with `BEGIN IMMEDIATE` (`pool.begin_with(…)`), as always in
/// SQLite. An error leaves the transaction as it was before the call; a call that is dropped leaves
/// it good for a rollback only.
impl StoreTransaction<SqliteStore> for sqlx::Transaction<'_, sqlx::Sqlite> {
    fn enqueue<'a>(
        &'a mut self,
        store: &'a SqliteStore,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>> {
        StoreFuture::later(lend(self, store, move |step| step.enqueue(batch)))
    }

    fn settle<'a>(
        &'a mut self,
        store: &'a SqliteStore,
        settle: Settle,
    ) -> StoreFuture<'a, Settled> {
        StoreFuture::later(lend(self, store, move |step| step.settle_one(settle)))
    }
}

/// Makes a step in a caller's transaction.
async fn lend<T: Send + 'static>(
    sql: &mut SqliteConnection,
    store: &SqliteStore,
    call: impl FnOnce(&mut Step<'_>) -> Result<T> + Send + 'static,
) -> StoreResult<T> {
    check_file(sql, store).await?;
    check_still_usable(sql).await?;
    run(sql, "SAVEPOINT conveyor_call").await?;
    let (asks, mut asked) = asks::unbounded();
    let (to, done) = oneshot::channel();
    let (limits, now) = (store.limits(), store.clock_now());
    let step = move || {
        let lent = Lent { asks, last_number: Cell::new(0) };
        let mut names = Names::default();
        let mut step = Step::new(Sql::Lent(&lent), &mut names, limits, now, false);
        let made = call(&mut step).and_then(|reply| step.finish().map(|_| reply));
        // The caller may be gone, and its transaction with it.
        let _ = to.send(made);
    };
    thread::Builder::new()
        .name("conveyor-sqlite-step".to_owned())
        .spawn(step)
        .map_err(|error| StoreError::new(NAME, StoreErrorKind::Refused, error))?;
    while let Some(Ask { sql: statement, values, wants, reply }) = asked.next().await {
        let _ = reply.send(make(sql, statement, values, wants).await);
    }
    let made = match done.await {
        Ok(made) => made.map_err(|failure| failure.to_store_error()),
        Err(_) => Err(closed()),
    };
    if made.is_err() {
        run(sql, "ROLLBACK TO conveyor_call").await?;
    }
    run(sql, "RELEASE conveyor_call").await?;
    made
}

/// Refuses a transaction on another file: its tasks would be nobody's here.
async fn check_file(sql: &mut SqliteConnection, store: &SqliteStore) -> StoreResult<()> {
    let of_main = "SELECT file FROM pragma_database_list WHERE name = 'main'";
    let answer = make(sql, of_main, Vec::new(), Wants::Rows).await.map_err(to_store_error)?;
    let theirs = match answer.rows.first().and_then(|row| row.first()) {
        Some(Value::Text(file)) => file.clone(),
        _ => String::new(),
    };
    let same = |file: &str| {
        let theirs = std::fs::canonicalize(file).ok();
        theirs.is_some() && theirs == std::fs::canonicalize(store.path()).ok()
    };
    if same(&theirs) {
        return Ok(());
    }
    let wrong = format!(
        "the transaction is on the file {theirs:?}, but the store's is {:?}; begin it on a pool \
         for the store's file",
        store.path()
    );
    Err(StoreError::new(NAME, StoreErrorKind::Refused, wrong))
}

/// Refuses tables that became unusable since the store was opened, as the store's own thread does.
async fn check_still_usable(sql: &mut SqliteConnection) -> StoreResult<()> {
    let answer = make(sql, migrate::VERSIONS, Vec::new(), Wants::Rows).await;
    match answer.map_err(to_store_error)?.rows.first().map(Vec::as_slice) {
        Some(&[Value::Integer(version), Value::Integer(usable_from)]) => {
            migrate::check(version, usable_from).map_err(|failure| failure.to_store_error())
        }
        _ => Err(Failure::Unreadable("the file does not say its version".into()).to_store_error()),
    }
}

async fn run(sql: &mut SqliteConnection, statement: &'static str) -> StoreResult<()> {
    let done = make(sql, statement, Vec::new(), Wants::Effect).await;
    done.map(drop).map_err(to_store_error)
}

/// Makes a statement on the caller's connection.
async fn make(
    sql: &mut SqliteConnection,
    statement: &'static str,
    values: Vec<Value>,
    wants: Wants,
) -> rusqlite::Result<Answer> {
    let query = values.into_iter().fold(sqlx::query(statement), bind);
    match wants {
        Wants::Effect => {
            let done = query.execute(sql).await.map_err(|error| ours(&error))?;
            let changed = usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
            let last_number = done.last_insert_rowid();
            Ok(Answer { changed, last_number, rows: Vec::new() })
        }
        Wants::Rows => {
            let rows = query.fetch_all(sql).await.map_err(|error| ours(&error))?;
            let rows = rows.iter().map(values_of).collect::<rusqlite::Result<_>>()?;
            Ok(Answer { rows, ..Answer::default() })
        }
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bind(query: Query<'_>, value: Value) -> Query<'_> {
    match value {
        Value::Null => query.bind(None::<i64>),
        Value::Integer(number) => query.bind(number),
        Value::Real(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Blob(bytes) => query.bind(bytes),
    }
}

fn values_of(row: &SqliteRow) -> rusqlite::Result<Vec<Value>> {
    row.columns()
        .iter()
        .map(|column| {
            let at = column.ordinal();
            let raw = row.try_get_raw(at).map_err(|error| ours(&error))?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            // The value's own type: a column's may not be known.
            let kind = raw.type_info();
            Ok(match kind.name() {
                "TEXT" => Value::Text(row.try_get_unchecked(at).map_err(|error| ours(&error))?),
                "BLOB" => Value::Blob(row.try_get_unchecked(at).map_err(|error| ours(&error))?),
                "REAL" => Value::Real(row.try_get_unchecked(at).map_err(|error| ours(&error))?),
                _ => Value::Integer(row.try_get_unchecked(at).map_err(|error| ours(&error))?),
            })
        })
        .collect()
}

/// An error of sqlx's, as the other driver would have it: by the number that SQLite gave.
fn ours(error: &sqlx::Error) -> rusqlite::Error {
    let code = error.as_database_error().and_then(|error| error.code()?.parse().ok());
    let code = code.unwrap_or(rusqlite::ffi::SQLITE_ERROR);
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(error.to_string()))
}

fn to_store_error(error: rusqlite::Error) -> StoreError {
    Failure::from(error).to_store_error()
}

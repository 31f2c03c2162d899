//! The index in a SQLite file.

use std::path::Path;
use std::time::Duration;

use conveyor::Context;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::types::Json;

use super::{ALL, FORGET, RECORD, ROOT, Row, SET_ROOT};
use crate::index::Entry;

const CREATE: &str = "\
    CREATE TABLE IF NOT EXISTS indexer_root (one INTEGER PRIMARY KEY, path BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS indexer_files (
        path BLOB PRIMARY KEY, tasks INTEGER NOT NULL, entry TEXT
    ) WITHOUT ROWID;";

/// How long others may write before one gives up.
const BUSY: Duration = Duration::from_secs(30);

/// The files, and what is known of each.
pub(crate) struct Files(SqlitePool);

impl Files {
    pub(crate) async fn open(path: &Path) -> sqlx::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        // A file has one writer at a time, so a second connection would only wait less fairly.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::raw_sql(CREATE).execute(&pool).await?;
        Ok(Files(pool))
    }

    pub(super) async fn root_or_set(&self, path: &[u8]) -> sqlx::Result<Vec<u8>> {
        sqlx::query(SET_ROOT).bind(path).execute(&self.0).await?;
        sqlx::query_scalar(ROOT).fetch_one(&self.0).await
    }

    pub(super) async fn all(&self) -> sqlx::Result<Vec<Row>> {
        sqlx::query_as(ALL).fetch_all(&self.0).await
    }

    pub(super) async fn record(
        &self,
        ctx: &Context,
        path: &[u8],
        entry: &Entry,
    ) -> conveyor::Result<i64> {
        let mut tx = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let record = sqlx::query_scalar(RECORD).bind(path).bind(Json(entry));
        let tasks = record.fetch_one(&mut *tx).await?;
        ctx.settle_in(&mut tx).await?;
        tx.commit().await?;
        Ok(tasks)
    }

    pub(super) async fn forget(&self, path: &[u8], tasks: i64) -> sqlx::Result<()> {
        sqlx::query(FORGET).bind(path).bind(tasks).execute(&self.0).await.map(drop)
    }
}

//! The index in a PostgreSQL database.

use conveyor::Context;
use sqlx::PgPool;
use sqlx::types::Json;

use super::{ALL, FORGET, RECORD, ROOT, Row, SET_ROOT};
use crate::index::Entry;

const CREATE: &str = "\
    CREATE TABLE IF NOT EXISTS indexer_root (one INTEGER PRIMARY KEY, path BYTEA NOT NULL);
    CREATE TABLE IF NOT EXISTS indexer_files (
        path BYTEA PRIMARY KEY, tasks BIGINT NOT NULL, entry JSONB
    );";

/// The files, and what is known of each.
pub(crate) struct Files(PgPool);

impl Files {
    pub(crate) async fn open(url: &str) -> sqlx::Result<Self> {
        let pool = PgPool::connect(url).await?;
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
        let mut tx = self.0.begin().await?;
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

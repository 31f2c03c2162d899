//! The index where it outlives the process: a table beside the tasks, in the same database.
//!
//! `sqlite.rs` and `postgres.rs` say the same in either's types.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::ffi::{OsStr, OsString};

use conveyor::Context;
use sqlx::types::Json;

use crate::index::Entry;

/// The table, in one database or the other.
pub(crate) enum Table {
    Sqlite(sqlite::Files),
    Postgres(postgres::Files),
}

/// A row: the path's bytes, how many tasks have ended with a word on the file, and what is known of
/// it, or nothing if it is gone.
type Row = (Vec<u8>, i64, Option<Json<Entry>>);

const ALL: &str = "SELECT path, tasks, entry FROM indexer_files";

/// Answers how many tasks that makes.
const RECORD: &str = "INSERT INTO indexer_files (path, tasks, entry) VALUES ($1, 1, $2) \
     ON CONFLICT (path) DO UPDATE SET tasks = indexer_files.tasks + 1, entry = excluded.entry \
     RETURNING tasks";

/// Unless another task has ended since with a word on the file.
const FORGET: &str = "UPDATE indexer_files SET entry = NULL WHERE path = $1 AND tasks = $2";

/// The first to come says which directory it is.
const SET_ROOT: &str = "INSERT INTO indexer_root (one, path) VALUES (1, $1) ON CONFLICT DO NOTHING";
const ROOT: &str = "SELECT path FROM indexer_root";

impl Table {
    /// Makes it the index of a directory, if it is none yet, and tells whose it is.
    pub(crate) async fn root_or_set(&self, root: &OsStr) -> sqlx::Result<OsString> {
        let bytes = root.as_encoded_bytes();
        let root = match self {
            Table::Sqlite(files) => files.root_or_set(bytes).await?,
            Table::Postgres(files) => files.root_or_set(bytes).await?,
        };
        Ok(path_of(root))
    }

    /// All that is in it.
    pub(crate) async fn all(&self) -> sqlx::Result<Vec<(OsString, u64, Option<Entry>)>> {
        let rows = match self {
            Table::Sqlite(files) => files.all().await?,
            Table::Postgres(files) => files.all().await?,
        };
        let read = |(path, tasks, entry): Row| {
            (path_of(path), tasks.unsigned_abs(), entry.map(|Json(entry)| entry))
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Writes what is known of a file, and ends the task that found it out: both, or neither.
    pub(crate) async fn record(
        &self,
        ctx: &Context,
        path: &OsStr,
        entry: &Entry,
    ) -> conveyor::Result<u64> {
        let path = path.as_encoded_bytes();
        let tasks = match self {
            Table::Sqlite(files) => files.record(ctx, path, entry).await?,
            Table::Postgres(files) => files.record(ctx, path, entry).await?,
        };
        Ok(tasks.unsigned_abs())
    }

    /// Forgets a file that is gone, but not how many tasks there were for it.
    pub(crate) async fn forget(&self, path: &OsStr, tasks: u64) -> sqlx::Result<()> {
        let path = path.as_encoded_bytes();
        match self {
            Table::Sqlite(files) => files.forget(path, tasks.cast_signed()).await,
            Table::Postgres(files) => files.forget(path, tasks.cast_signed()).await,
        }
    }
}

/// A path, from its bytes.
fn path_of(bytes: Vec<u8>) -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(bytes);
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

//! Where the tasks live, and the index beside them: what `--store` says.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use conveyor::ManagerBuilder;
use conveyor::postgres::PostgresStore;
use conveyor::sqlite::{SqliteOptions, Synchronous};

use crate::index::Index;
use crate::scan::Tree;
use crate::table::{Table, postgres, sqlite};

/// Where the tasks live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory: as long as the process.
    Memory,
    /// In a file.
    Sqlite(PathBuf),
    /// In a database on a server, by its URL.
    Postgres(String),
}

impl Place {
    /// Gives the manager its store, and opens the index of the tree in the same database, so that
    /// one transaction can hold what is known of a file and the end of the file's task.
    ///
    /// # Errors
    /// What the store or the database says, or that it has the index of another directory.
    pub(crate) async fn open(
        self,
        tree: &mut Tree,
        builder: ManagerBuilder,
    ) -> conveyor::Result<(ManagerBuilder, Index)> {
        let (builder, table) = match self {
            Place::Memory => return Ok((builder, Index::default())),
            Place::Sqlite(path) => {
                // A loss of power may take the last moments: those files are read again.
                let options = SqliteOptions::new(&path).synchronous(Synchronous::Normal);
                let builder = builder.store(Arc::new(options.open().await?));
                tree.leave_out(&path)?;
                (builder, Table::Sqlite(sqlite::Files::open(&path).await?))
            }
            Place::Postgres(url) => {
                let builder = builder.store(Arc::new(PostgresStore::open(&url).await?));
                (builder, Table::Postgres(postgres::Files::open(&url).await?))
            }
        };
        Ok((builder, Index::kept(table, &tree.root).await?))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let file = text.strip_prefix("sqlite:").map(|file| file.strip_prefix("//").unwrap_or(file));
        match file {
            Some(file) if !file.is_empty() => Ok(Place::Sqlite(file.into())),
            _ if text == "memory" => Ok(Place::Memory),
            _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Ok(Place::Postgres(text.to_owned()))
            }
            _ => Err(format!(
                "{text:?} is no store; there are memory, sqlite:FILE, such as sqlite:index.db, and \
                 postgres://USER:PASSWORD@HOST:PORT/DATABASE"
            )),
        }
    }
}

//! [`open`]: the store that a URL names.

use std::sync::Arc;
use std::time::Duration;

use conveyor::postgres::PostgresOptions;
use conveyor::sqlite::{SqliteOptions, Synchronous};
use conveyor::{Retention, Store};

/// Opens the store at `url`: `sqlite:PATH` or `postgres://…`. It forgets no end for as long as
/// a torture may take.
///
/// # Errors
/// If it is no such URL, or the store cannot be opened.
pub async fn open(url: &str) -> conveyor::Result<Arc<dyn Store>> {
    let retention = Retention { count: usize::MAX >> 1, age: Duration::from_secs(86_400) };
    match url.split_once(':') {
        Some(("sqlite", path)) => {
            // Processes die here, but no power is lost: what they have written is written.
            let options = SqliteOptions::new(path).synchronous(Synchronous::Normal);
            Ok(Arc::new(options.retention(retention).open().await?))
        }
        Some(("postgres", _)) => {
            let options = PostgresOptions::new(url)?.patience(Duration::from_secs(2));
            Ok(Arc::new(options.retention(retention).open().await?))
        }
        _ => {
            Err(format!("no store is known for {url:?}; there are sqlite:PATH, postgres://…")
                .into())
        }
    }
}

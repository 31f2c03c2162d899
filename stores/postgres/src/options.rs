//! [`PostgresOptions`]: how a store is opened.

use std::str::FromStr;
use std::time::Duration;

use conveyor_core::store::{StoreError, StoreErrorKind, StoreResult};
use conveyor_core::{Retention, RetentionByEnd};
use sqlx::postgres::PgConnectOptions;

use crate::error::NAME;
use crate::store::PostgresStore;

/// How a [`PostgresStore`] is opened.
///
/// ```no_run
/// # async fn open() -> Result<(), conveyor_core::store::StoreError> {
/// use std::time::Duration;
/// use conveyor_postgres::PostgresOptions;
///
/// let store = PostgresOptions::new("postgres://app@db.internal/app")?
///     .schema("tasks")
///     .keep_failed(Duration::from_secs(30 * 24 * 3600))
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) schema: String,
    pub(crate) retention: RetentionByEnd,
    pub(crate) patience: Duration,
    pub(crate) pooler: bool,
}

impl PostgresOptions {
    /// For a server and database, such as `postgres://user:password@host:5432/database`; what the
    /// URL does not say is taken from `PGHOST` and the other variables of PostgreSQL's own tools.
    ///
    /// # Errors
    /// If the URL cannot be read.
    pub fn new(url: &str) -> StoreResult<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            let start: String =
                url.split(':').next().unwrap_or_default().chars().take(20).collect();
            let why = format!("the URL begins with {start:?}, not with postgres://");
            return Err(StoreError::new(NAME, StoreErrorKind::Refused, why));
        }
        let connect = PgConnectOptions::from_str(url);
        let connect =
            connect.map_err(|error| StoreError::new(NAME, StoreErrorKind::Refused, error))?;
        Ok(Self::with(connect))
    }

    /// For a server and database as the driver has them.
    #[must_use]
    pub fn with(connect: PgConnectOptions) -> Self {
        let connect = match connect.get_application_name() {
            Some(_) => connect,
            None => connect.application_name("conveyor"),
        };
        PostgresOptions {
            connect,
            schema: "conveyor".to_owned(),
            retention: RetentionByEnd::default(),
            patience: Duration::from_secs(30),
            pooler: false,
        }
    }

    /// The schema that holds the tasks, `conveyor` by default; it is made if it is not there.
    /// Several in one database know nothing of each other.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How long all ends are kept. By default successes and cancels are kept for a day, failures
    /// and crashes for seven, however many there are.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention.into();
        self
    }

    /// How long successes are kept.
    #[must_use]
    pub fn keep_succeeded(mut self, age: Duration) -> Self {
        self.retention.succeeded = age;
        self
    }

    /// How long failures are kept.
    #[must_use]
    pub fn keep_failed(mut self, age: Duration) -> Self {
        self.retention.failed = age;
        self
    }

    /// How long cancelled tasks are kept.
    #[must_use]
    pub fn keep_cancelled(mut self, age: Duration) -> Self {
        self.retention.cancelled = age;
        self
    }

    /// How long tasks that crashed their process are kept.
    #[must_use]
    pub fn keep_crashed(mut self, age: Duration) -> Self {
        self.retention.crashed = age;
        self
    }

    /// How long the server may take for a call, 30 s by default. Then the connection is given up
    /// and the call has failed; whether it had its effect is unknown, and it can be made again.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Says that the server is reached through a pooler that gives out connections by the transaction,
    /// such as `PgBouncer` in that mode. No statement is prepared then, and each call is a transaction;
    /// and since LISTEN is lost there, processes learn of each other's tasks when they look, which
    /// they do every poll interval.
    #[must_use]
    pub fn transaction_pooler(mut self) -> Self {
        self.pooler = true;
        self
    }

    /// Opens the store: brings the schema up to date, and listens for other processes. Works on
    /// any runtime, or none: the store has a thread of its own.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses, or has a schema of a later version that this one
    /// cannot work with.
    pub async fn open(self) -> StoreResult<PostgresStore> {
        PostgresStore::open_with(self).await
    }
}

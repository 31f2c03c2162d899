//! Connections: kept while they are good, replaced when they are not, by the store's thread alone.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use conveyor_core::store::StoreResult;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use crate::driver;
use crate::error::{Remedy, remedy, told, unavailable};
use crate::options::PostgresOptions;

/// How often a transaction that met others is made.
const ATTEMPTS: u32 = 8;

/// The connections of one purpose: as many as there are calls at once.
pub(crate) struct Connections {
    options: PgConnectOptions,
    /// How long a call may take before its connection is given up.
    patience: Duration,
    /// Whether each call has to be a transaction, so that it stays with one connection of the server.
    pooler: bool,
    idle: RefCell<Vec<PgConnection>>,
    /// How many connections were lost: what was committed last may be, too.
    lost: Cell<u64>,
}

impl Connections {
    pub(crate) fn new(options: &PostgresOptions) -> Self {
        let (options, patience, pooler) =
            (options.connect.clone(), options.patience, options.pooler);
        Connections { options, patience, pooler, idle: RefCell::default(), lost: Cell::new(0) }
    }

    /// Makes a call, on a good connection. A transaction that met another is made again; and one
    /// whose connection was cut is made once more on a new one, since every call may be repeated.
    pub(crate) async fn call<T>(
        &self,
        mut call: impl AsyncFnMut(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> StoreResult<T> {
        let mut reconnected = false;
        let mut attempt = 1;
        loop {
            let kept = self.idle.borrow_mut().pop();
            let was_kept = kept.is_some();
            let called = async {
                let mut connection = match kept {
                    Some(connection) => connection,
                    None => self.options.connect().await?,
                };
                let reply = if self.pooler {
                    in_transaction(&mut connection, &mut call).await
                } else {
                    call(&mut connection).await
                };
                Ok::<_, sqlx::Error>((connection, reply))
            };
            let Some(called) = driver::within(self.patience, called).await else {
                return Err(unavailable(format!("no reply within {:?}", self.patience)));
            };
            let (connection, error) = match called {
                Ok((connection, Ok(reply))) => {
                    self.idle.borrow_mut().push(connection);
                    return Ok(reply);
                }
                Ok((connection, Err(error))) => (Some(connection), error),
                Err(error) => (None, error),
            };
            if remedy(&error) == Remedy::Reconnect {
                self.lost.set(self.lost.get() + 1);
            }
            match remedy(&error) {
                Remedy::Again if attempt < ATTEMPTS => {
                    self.idle.borrow_mut().extend(connection);
                    // Apart from each other, and longer each time.
                    let spread = 1 + u64::from(std::process::id()) % 7;
                    driver::sleep(Duration::from_millis(spread << attempt.min(5))).await;
                    attempt += 1;
                }
                Remedy::Reconnect if was_kept && !reconnected => {
                    // All that were kept are as old.
                    self.idle.borrow_mut().clear();
                    reconnected = true;
                }
                Remedy::Reconnect => return Err(told(error)),
                Remedy::Again | Remedy::None => {
                    self.idle.borrow_mut().extend(connection);
                    return Err(told(error));
                }
            }
        }
    }

    /// How many connections were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Takes leave of the server.
    pub(crate) async fn close(&self) {
        let idle = self.idle.take();
        for connection in idle {
            _ = connection.close().await;
        }
    }
}

async fn in_transaction<T>(
    connection: &mut PgConnection,
    call: &mut impl AsyncFnMut(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    match call(&mut transaction).await {
        Ok(reply) => transaction.commit().await.map(|()| reply),
        Err(error) => {
            // If this fails too, the connection is lost, of which the next call will tell.
            _ = transaction.rollback().await;
            Err(error)
        }
    }
}

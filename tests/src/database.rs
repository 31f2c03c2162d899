//! [`Database`]: a user's own, in which the store keeps its tasks and handlers write rows; and
//! [`pays`], a worker whose effect is to happen exactly once.

use std::sync::Arc;

use conveyor::postgres::PostgresStore;
use conveyor::sqlite::SqliteStore;
use conveyor::{Context, Store, StoreTransaction, Worker};
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};

use crate::consumer;

/// A user's database, with the store's tasks in it.
pub trait Database: Clone + Send + Sync + 'static {
    /// The store for which its transactions are.
    type Store: Store;
    /// A transaction that the user holds.
    type Transaction: StoreTransaction<Self::Store> + 'static;

    /// Opens it, and makes the table of payments if there is none.
    fn open(url: &str) -> BoxFuture<'_, conveyor::Result<Self>>;

    /// The store in it.
    fn store(&self) -> Arc<Self::Store>;

    /// Begins a transaction. Dropped, it is rolled back.
    fn begin(&self) -> BoxFuture<'_, conveyor::Result<Self::Transaction>>;

    /// Writes down that somebody is paid, in a transaction.
    fn pay<'a>(
        transaction: &'a mut Self::Transaction,
        whom: &'a str,
    ) -> BoxFuture<'a, conveyor::Result<()>>;

    /// Commits a transaction.
    fn commit(transaction: Self::Transaction) -> BoxFuture<'static, conveyor::Result<()>>;

    /// Who was paid, in the order of their names.
    fn paid(&self) -> BoxFuture<'_, conveyor::Result<Vec<String>>>;
}

/// A SQLite file.
#[derive(Clone)]
pub struct InFile(SqlitePool, Arc<SqliteStore>);

/// A database of a PostgreSQL server.
#[derive(Clone)]
pub struct OnServer(PgPool, Arc<PostgresStore>);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS payment (whom TEXT NOT NULL)";

macro_rules! database {
    ($database:ident, $store:ident, $driver:ident, $begin:literal, $open:expr) => {
        impl Database for $database {
            type Store = $store;
            type Transaction = sqlx::Transaction<'static, $driver>;

            fn open(url: &str) -> BoxFuture<'_, conveyor::Result<Self>> {
                Box::pin(async move {
                    let open: fn(String) -> BoxFuture<'static, conveyor::Result<_>> = $open;
                    let (pool, store) = open(url.to_owned()).await?;
                    sqlx::query(TABLE).execute(&pool).await?;
                    Ok($database(pool, Arc::new(store)))
                })
            }

            fn store(&self) -> Arc<$store> {
                Arc::clone(&self.1)
            }

            fn begin(&self) -> BoxFuture<'_, conveyor::Result<Self::Transaction>> {
                Box::pin(async { Ok(self.0.begin_with($begin).await?) })
            }

            fn pay<'a>(
                transaction: &'a mut Self::Transaction,
                whom: &'a str,
            ) -> BoxFuture<'a, conveyor::Result<()>> {
                Box::pin(async move {
                    let pay = sqlx::query("INSERT INTO payment VALUES ($1)").bind(whom);
                    pay.execute(&mut **transaction).await?;
                    Ok(())
                })
            }

            fn commit(transaction: Self::Transaction) -> BoxFuture<'static, conveyor::Result<()>> {
                Box::pin(async { Ok(transaction.commit().await?) })
            }

            fn paid(&self) -> BoxFuture<'_, conveyor::Result<Vec<String>>> {
                let paid = sqlx::query_scalar("SELECT whom FROM payment ORDER BY whom");
                Box::pin(async { Ok(paid.fetch_all(&self.0).await?) })
            }
        }
    };
}

database!(InFile, SqliteStore, Sqlite, "BEGIN IMMEDIATE", |path| Box::pin(async move {
    let store = SqliteStore::open(&path).await?;
    Ok((SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await?, store))
}));

database!(OnServer, PostgresStore, Postgres, "BEGIN", |url| Box::pin(async move {
    Ok((PgPool::connect(&url).await?, PostgresStore::open(&url).await?))
}));

/// A place in the handler of [`pays`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The payment is written.
    Paid,
    /// And the attempt is settled in the same transaction.
    Settled,
    /// And both are committed.
    Committed,
}

impl Point {
    /// All of them, in order.
    pub const ALL: [Point; 3] = [Point::Paid, Point::Settled, Point::Committed];
}

/// What happens where the handler of [`pays`] comes by.
pub type Happens = dyn Fn(Point, Context) -> BoxFuture<'static, conveyor::Result<()>> + Send + Sync;

/// A worker of the kind `pay` that pays whom its task names.
pub fn pays<D: Database>(database: &D, happens: Arc<Happens>) -> impl Worker + use<D> {
    let database = database.clone();
    let handler = move |whom: String, ctx: Context| {
        let (database, happens) = (database.clone(), Arc::clone(&happens));
        async move {
            let mut transaction = database.begin().await?;
            D::pay(&mut transaction, &whom).await?;
            happens(Point::Paid, ctx.clone()).await?;
            ctx.settle_in(&mut transaction).await?;
            happens(Point::Settled, ctx.clone()).await?;
            D::commit(transaction).await?;
            happens(Point::Committed, ctx).await
        }
    };
    consumer("pay", handler, |kind| _ = kind.retries(3))
}

//! Migrate: the schema is brought up to date, forward only, however many processes start at once.
//!
//! A migration is a file, and its number is the version. What an older process still needs stays
//! until a later version *contracts*: then [`MIN_COMPATIBLE`] rises to the version whose processes
//! can do without, and older ones are refused with both versions named.

use conveyor_core::store::{StoreError, StoreResult};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::error::incompatible;
use crate::sql::Sql;
use crate::worker::Worker;

/// The migrations, in their order; the version after each is its place, from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_tables.sql"),
    include_str!("../migrations/0002_verbs.sql"),
    include_str!("../migrations/0003_enqueue.sql"),
    include_str!("../migrations/0004_maintain.sql"),
];

/// The version of the code that the newest schema can still be used by.
const MIN_COMPATIBLE: i32 = 4;

/// How a schema stands.
struct Stands {
    version: i32,
    min_compatible: i32,
}

impl Worker {
    /// Brings the schema up to date.
    pub(crate) async fn migrate(&self) -> StoreResult<()> {
        let known = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        let stands = self
            .connections
            .call(async |connection| {
                // Most find nothing to do, and then need no right to do it.
                match look(connection, &self.sql).await? {
                    Some(stands) if stands.version >= known => Ok(stands),
                    _ => migrate(connection, &self.sql, known).await,
                }
            })
            .await?;
        let name = self.connections.call(async |connection| {
            self.sql.query_scalar("select gen_random_uuid()").fetch_one(connection).await
        });
        self.name.set(name.await?);
        if stands.min_compatible > known { Err(too_new(&stands, known)) } else { Ok(()) }
    }
}

fn too_new(stands: &Stands, known: i32) -> StoreError {
    let Stands { version, min_compatible } = stands;
    incompatible(format!(
        "its schema has version {version}, which needs code of version {min_compatible} or later; \
         this is version {known}: deploy a later one"
    ))
}

async fn look(connection: &mut PgConnection, sql: &Sql) -> Result<Option<Stands>, sqlx::Error> {
    // Asked of the catalog's rows: a name's lookup may be as old as the transaction.
    let is_there = sql
        .query_scalar::<bool>(
            "select exists (
            select from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = 'version'
        )",
        )
        .bind(sql.name())
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(None);
    }
    let look = "select version, min_compatible from conveyor.version";
    let found = sql.query_as::<(i32, i32)>(look);
    let found = found.fetch_optional(connection).await?;
    Ok(found.map(|(version, min_compatible)| Stands { version, min_compatible }))
}

async fn migrate(
    connection: &mut PgConnection,
    sql: &Sql,
    known: i32,
) -> Result<Stands, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // One at a time, in the whole database; the lock goes with the transaction.
    sql.query("select pg_advisory_xact_lock(hashtextextended('conveyor migrate ' || $1, 0))")
        .bind(sql.name())
        .execute(&mut *transaction)
        .await?;
    let mut stands = look(&mut transaction, sql).await?;
    if stands.is_none() {
        let make = "create schema if not exists conveyor.;".replace("conveyor.", sql.schema());
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut *transaction).await?;
        let make = "create table conveyor.version (version int4 not null, \
                    min_compatible int4 not null)";
        sqlx::raw_sql(sql.script(make)).execute(&mut *transaction).await?;
        let first = "insert into conveyor.version values (0, 0)";
        sqlx::raw_sql(sql.script(first)).execute(&mut *transaction).await?;
        stands = Some(Stands { version: 0, min_compatible: 0 });
    }
    let mut stands = stands.unwrap_or(Stands { version: 0, min_compatible: 0 });
    let from = usize::try_from(stands.version).unwrap_or(0);
    if from < MIGRATIONS.len() {
        for migration in &MIGRATIONS[from..] {
            sqlx::raw_sql(sql.script(migration)).execute(&mut *transaction).await?;
        }
        stands = Stands { version: known, min_compatible: MIN_COMPATIBLE };
        sql.query("update conveyor.version set version = $1, min_compatible = $2")
            .bind(stands.version)
            .bind(stands.min_compatible)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(stands)
}

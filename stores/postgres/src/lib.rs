//! Conveyor's tasks in PostgreSQL, for processes on any machines.
//!
//! ```no_run
//! # async fn open() -> Result<(), conveyor_core::store::StoreError> {
//! use conveyor_postgres::PostgresStore;
//!
//! let store = PostgresStore::open("postgres://app@db.internal/app").await?;
//! // Manager::builder().store(Arc::new(store))
//! # Ok(())
//! # }
//! ```
//!
//! There is no engine in here. Each call goes to a thread of the store's own, which talks to the
//! server through a few connections, so a store works on any runtime. What arrives while a batch of
//! enqueues or settles is under way is the next batch. All tables are in one schema, `conveyor` unless
//! [`PostgresOptions::schema`] says otherwise, which is made and brought up to date when a store is
//! opened, by however many processes at once.
//!
//! # Your own transaction
//!
//! A `sqlx::Transaction` is a [`StoreTransaction`](conveyor_core::store::StoreTransaction): what is
//! enqueued or settled in it takes effect if and only if it commits. Nobody waits for it meanwhile.
//! A key that it holds is [`Duplicate`](conveyor_core::store::Enqueued::Duplicate) to others, by
//! nobody knows whom, and a lease that it settles is busy to renewals.
//!
//! # From a trigger, or any language
//!
//! The function `conveyor.enqueue` takes a task in the caller's transaction. It returns the task's
//! id, or null if a live task has the kind and key:
//!
//! ```sql
//! create function welcome() returns trigger language plpgsql as $$
//! begin
//!     perform conveyor.enqueue(
//!         'send_email', jsonb_build_object('to', new.address),
//!         queue => 'mail', key => 'welcome:' || new.id, delay => '10 minutes'
//!     );
//!     return new;
//! end $$;
//! create trigger welcome after insert on users for each row execute function welcome();
//! ```
//!
//! Its other parameters are `priority`, `timeout`, `retries` and `wake`. Consumers find the task
//! when they look, within a second of the commit; with `wake => true` they are told at once, at the
//! price of a NOTIFY in your transaction.
//!
//! # What it needs
//!
//! PostgreSQL 15 or later, and up to eight connections a process. TLS comes with one of sqlx's
//! features, such as `tls-rustls-ring`, in your own `Cargo.toml`. A pooler that gives out connections
//! by the transaction is to be told of: [`PostgresOptions::transaction_pooler`].
//!
//! How much a task survives is asked of the server: its settings `fsync`, `synchronous_commit`,
//! `full_page_writes` and `synchronous_standby_names`. The time is the server's too.
#![forbid(unsafe_code)]

mod claim;
mod claims;
mod connection;
mod convert;
mod driver;
mod durability;
mod enqueue;
mod error;
mod inspect;
mod lanes;
mod maintain;
mod marks;
mod migrate;
mod options;
mod plant;
mod schedule;
mod settle;
mod sql;
mod store;
mod transaction;
mod wake;
mod worker;

pub use options::PostgresOptions;
pub use store::PostgresStore;

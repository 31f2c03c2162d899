//! The suite for stores, on a private server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conveyor_core::Store;
use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::Durability;
use conveyor_postgres::{PostgresOptions, PostgresStore};
use conveyor_test_servers::Postgres;
use conveyor_testkit::store_suite::{StoreHarness, StoreOptions, SuiteTransaction};
use futures::executor::block_on;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection, Executor};

struct Harness {
    /// The driver's side of the tests; the stores have threads of their own.
    runtime: tokio::runtime::Runtime,
    /// The schemas that were made, the last one last.
    schemas: Mutex<Vec<String>>,
}

impl Harness {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build();
        Harness { runtime: runtime.expect("a runtime"), schemas: Mutex::default() }
    }

    fn options(schema: &str) -> PostgresOptions {
        PostgresOptions::new(&Postgres::shared().url()).expect("a URL").schema(schema)
    }

    fn open(options: PostgresOptions) -> Option<Arc<dyn Store>> {
        let store: PostgresStore = block_on(options.open()).expect("the store opens");
        Some(Arc::new(store))
    }

    /// Makes a statement in the schemas, as an operator would.
    fn execute(&self, statement: impl Fn(&str) -> String) {
        let schemas = self.schemas.lock().expect("nobody panics").clone();
        self.runtime.block_on(async {
            let mut connection =
                PgConnection::connect(&Postgres::shared().url()).await.expect("a connection");
            for schema in &schemas {
                let statement = AssertSqlSafe(statement(schema));
                connection.execute(statement).await.expect("the statement is good");
            }
        });
    }

    fn move_clock(&self, by: i128) {
        self.execute(|schema| {
            format!("update \"{schema}\".setting set clock_offset = clock_offset + {by}")
        });
    }
}

impl StoreHarness for Harness {
    fn open(&self, options: StoreOptions) -> Option<Arc<dyn Store>> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        if options.capacity.is_some() {
            return None;
        }
        let number = MADE.fetch_add(1, Ordering::SeqCst);
        let schema = format!("it's \"number\" {number}").replace('"', "'");
        let mut chosen = Harness::options(&schema);
        if let Some(retention) = options.retention {
            chosen = chosen.retention(retention);
        }
        let mut schemas = self.schemas.lock().expect("nobody panics");
        schemas.clear(); // what came before is over
        schemas.push(schema);
        Harness::open(chosen)
    }

    fn open_again(&self) -> Option<Arc<dyn Store>> {
        let last = self.schemas.lock().expect("nobody panics").last().cloned();
        Harness::open(Harness::options(&last.expect("one was opened")))
    }

    fn block_on(&self, call: BoxFuture<'_, ()>) {
        self.runtime.block_on(call);
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn advance(&self, by: Duration) {
        self.move_clock(i128::try_from(by.as_micros()).expect("a short time"));
    }

    fn set_back(&self, by: Duration) -> bool {
        self.move_clock(-i128::try_from(by.as_micros()).expect("a short time"));
        true
    }

    fn begin(&self) -> Option<SuiteTransaction> {
        let begun = self.runtime.block_on(async {
            let pool = PgPool::connect(&Postgres::shared().url()).await?;
            pool.begin().await
        });
        let begun = begun.expect("a transaction can be begun");
        Some(SuiteTransaction::new(begun, end))
    }

    fn durability(&self) -> Durability {
        Durability::ProcessCrash // without fsync
    }

    fn cannot(&self) -> &[(&str, &str)] {
        const UNBOUNDED: &str = "a database is not bounded by a number of tasks";
        &[
            ("enqueue::a_full_store_gives_the_task_back_until_there_is_room", UNBOUNDED),
            ("enqueue::what_is_known_or_refused_anyway_needs_no_room", UNBOUNDED),
            ("enqueue::a_batch_fills_a_bounded_store_in_its_order", UNBOUNDED),
            ("settle::the_bound_of_a_store_does_not_apply_to_children", UNBOUNDED),
            ("schedule::the_bound_of_a_store_does_not_apply_to_ticks", UNBOUNDED),
            ("wake::room_in_a_bounded_store_is_told", UNBOUNDED),
            ("model::any_calls_are_answered_as_by_the_reference_in_a_bounded_store", UNBOUNDED),
        ]
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30 * u64::from(self.model_runs()).max(20))
    }

    fn model_runs(&self) -> u32 {
        std::env::var("CONVEYOR_MODEL_RUNS").map_or(40, |runs| runs.parse().expect("a number"))
    }
}

async fn end(transaction: sqlx::Transaction<'static, sqlx::Postgres>, commits: bool) {
    let end = if commits { transaction.commit().await } else { transaction.rollback().await };
    end.expect("it can be ended");
}

conveyor_testkit::store_suite!(Harness::new);

#[cfg(conveyor_plant)]
conveyor_testkit::store_plants!();

//! Migrations: from many processes at once, and never back.

use std::thread;

use conveyor_core::store::StoreErrorKind;
use futures::executor::block_on;

use super::*;

#[test]
fn eight_processes_start_at_once() {
    let schema = format!("eight {}", number());
    thread::scope(|scope| {
        let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| block_on(open(&schema)))).collect();
        for process in starting {
            let store = process.join().unwrap();
            let reply = block_on(enqueue(&store, new_task()));
            assert!(matches!(reply, Enqueued::Accepted));
        }
    });
    assert_eq!(block_on(claim(&block_on(open(&schema)))).len(), 8);
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused_unless_it_says_that_it_is_compatible() {
    let (_, schema) = new_store().await;
    let mut connection = connect().await;
    let known: i32 = {
        let version = AssertSqlSafe(format!("select version from \"{schema}\".version"));
        connection.fetch_one(version).await.unwrap().get(0)
    };
    execute(&mut connection, format!("update \"{schema}\".version set version = 1000")).await;
    let store = open(&schema).await;
    assert!(matches!(enqueue(&store, new_task()).await, Enqueued::Accepted), "side by side");
    let contracts = format!("update \"{schema}\".version set min_compatible = 999");
    execute(&mut connection, contracts).await;
    let options = PostgresOptions::new(&Postgres::shared().url()).unwrap().schema(&*schema);
    let error = options.open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Incompatible);
    let said = error.to_string();
    let named = said.contains("1000") && said.contains("999");
    assert!(named && said.contains(&known.to_string()), "{said}");
}

#[tokio::test]
async fn a_schema_may_have_any_name_that_can_be_quoted() {
    for name in ["'", "\"", "a.b", "Robert'); drop table task; --", "🦀", " ", "select"] {
        let store = open(name).await;
        enqueue(&store, keyed("k")).await;
        let claimed = claim(&store).await;
        assert_eq!(claimed.len(), 1, "{name:?}");
        store.settle(vec![settle(&claimed[0], Verdict::Succeed)]).await.unwrap();
        assert_eq!(store.counters().await.unwrap().total().processed, 1, "{name:?}");
        store
            .rescue(conveyor_core::store::RescueRequest {
                by: ME,
                lease: LEASE,
                crash_budget: 3,
                limit: 1,
            })
            .await
            .unwrap();
    }
    for name in ["", "pg_x", "a$b", &"x".repeat(64)] {
        let options = PostgresOptions::new(&Postgres::shared().url()).unwrap().schema(name);
        assert_eq!(options.open().await.unwrap_err().kind(), StoreErrorKind::Refused, "{name:?}");
    }
}

#[tokio::test]
async fn stores_of_two_schemas_know_nothing_of_each_other() {
    let ((one, _), (other, _)) = (new_store().await, new_store().await);
    let listener = Listener::of(&other);
    let task = keyed("k");
    enqueue(&one, task.clone()).await;
    assert!(matches!(enqueue(&other, task).await, Enqueued::Accepted));
    listener.hears("Claimable").await;
    assert_eq!((claim(&one).await.len(), claim(&other).await.len()), (1, 1));
}

#[tokio::test]
async fn who_cannot_be_reached_or_does_not_let_in_says_so() {
    let error = PostgresStore::open("postgres://127.0.0.1:1/x").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    let nowhere = Postgres::shared().url_of("nowhere");
    let error = PostgresStore::open(&nowhere).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    let error = PostgresStore::open("http://x").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
}

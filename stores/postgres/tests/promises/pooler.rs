//! Behind a pooler that gives out connections by the transaction.

use std::collections::BTreeSet;

use conveyor_core::store::{Settled, StoreTransaction};
use conveyor_test_servers::Pooler;
use futures::future::join_all;

use super::*;

#[tokio::test]
async fn many_calls_at_once_take_turns_on_the_poolers_connections() {
    let pooler = Pooler::start(Postgres::shared()).unwrap();
    let schema = format!("promises {}", number());
    let open = async || {
        let options = PostgresOptions::new(&pooler.url()).unwrap().schema(&schema);
        options.transaction_pooler().open().await.unwrap()
    };
    let stores = [open().await, open().await];
    let tasks: Vec<NewTask> = (0..120).map(|_| new_task()).collect();
    let enqueued =
        tasks.iter().enumerate().map(|(nth, task)| enqueue(&stores[nth % 2], task.clone()));
    let accepted = join_all(enqueued).await;
    assert!(accepted.iter().all(|reply| matches!(reply, Enqueued::Accepted)), "{accepted:?}");
    // A caller's transaction goes through it too.
    let mut connection = PgConnection::connect(&pooler.url()).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let in_transaction = new_task();
    transaction.enqueue(&stores[0], vec![in_transaction.clone()]).await.unwrap();
    transaction.commit().await.unwrap();

    let mut seen = BTreeSet::new();
    while seen.len() < tasks.len() + 1 {
        let claims =
            stores.iter().zip([5, 6]).map(|(store, by)| claim_by(store, Incarnation::new(by)));
        for (store, claimed) in stores.iter().zip(join_all(claims).await) {
            let ends =
                claimed.iter().map(|claimed| store.settle(vec![settle(claimed, Verdict::Succeed)]));
            for settled in join_all(ends).await {
                assert_eq!(settled.unwrap(), [Settled::Applied]);
            }
            for id in ids(&claimed) {
                assert!(seen.insert(id), "{id} is given out twice");
            }
        }
    }
    assert!(seen.contains(&in_transaction.id));
    assert_eq!(stores[1].counters().await.unwrap().total().processed, 121);
}

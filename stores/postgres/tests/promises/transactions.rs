//! A caller's own transaction: all or nothing with what else is in it, and nobody waits for it.

use std::time::Instant;

use conveyor_core::store::{
    CancelReply, EndState, Enqueued, Renewed, RescueRequest, Settled, StoreTransaction, Verdict,
};
use conveyor_core::{End, Incarnation};

use super::*;

#[tokio::test]
async fn what_is_enqueued_in_a_transaction_is_there_if_and_only_if_it_commits() {
    let (store, _) = new_store().await;
    let mut connection = connect().await;
    let (kept, dropped) = (new_task(), keyed("k"));
    let mut transaction = connection.begin().await.unwrap();
    let replies = transaction.enqueue(&store, vec![dropped.clone()]).await.unwrap();
    assert!(matches!(replies[..], [Enqueued::Accepted]), "{replies:?}");
    transaction.rollback().await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    transaction.enqueue(&store, vec![kept.clone()]).await.unwrap();
    assert_eq!(claim(&store).await.len(), 0, "nobody sees it before the commit");
    transaction.commit().await.unwrap();
    assert_eq!(ids(&claim(&store).await), [kept.id]);
    assert!(matches!(enqueue(&store, keyed("k")).await, Enqueued::Accepted), "the key is free");
    assert_eq!(store.counters().await.unwrap().total().enqueued, 2);
}

#[tokio::test]
async fn others_are_woken_when_it_has_committed_and_not_before() {
    let (store, schema) = new_store().await;
    let other = open(&schema).await;
    let (here, there) = (Listener::of(&store), Listener::of(&other));
    let mut connection = connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.enqueue(&store, vec![new_task()]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(here.told(), Vec::<String>::new());
    transaction.commit().await.unwrap();
    here.hears("Claimable").await;
    there.hears("Claimable").await;
}

#[tokio::test]
async fn a_key_is_checked_in_the_transaction() {
    let (store, _) = new_store().await;
    let held = keyed("held");
    enqueue(&store, held.clone()).await;
    let mut connection = connect().await;
    let mut transaction = connection.begin().await.unwrap();
    let first = keyed("own");
    let batch = vec![keyed("held"), first.clone(), keyed("own")];
    let replies = transaction.enqueue(&store, batch).await.unwrap();
    let rivals: Vec<_> = replies
        .iter()
        .map(|reply| match reply {
            Enqueued::Duplicate(rival) => *rival,
            _ => None,
        })
        .collect();
    assert_eq!(rivals, [Some(held.id), None, Some(first.id)], "{replies:?}");
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn an_open_transaction_that_holds_a_key_holds_up_nobody() {
    let (store, schema) = new_store().await;
    let other = open(&schema).await;
    let mut connection = connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.enqueue(&store, vec![keyed("k")]).await.unwrap();
    for store in [&store, &other] {
        // All of a batch is answered, and what is taken is taken by nobody knows whom.
        let batch = vec![keyed("k"), new_task()];
        let replies = promptly("a batch that meets the key", store.enqueue(batch)).await.unwrap();
        let right = matches!(replies[..], [Enqueued::Duplicate(None), Enqueued::Accepted]);
        assert!(right, "{replies:?}");
        let replies = promptly("another's", store.enqueue(vec![new_task()])).await.unwrap();
        assert!(matches!(replies[..], [Enqueued::Accepted]));
    }
    let claimed = promptly("a claim", claim(&store)).await;
    assert_eq!(claimed.len(), 4);
    let batch = claimed.iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
    let settled = promptly("a settle", store.settle(batch)).await.unwrap();
    assert_eq!(settled, [Settled::Applied; 4]);
    transaction.rollback().await.unwrap();
    assert!(matches!(enqueue(&store, keyed("k")).await, Enqueued::Accepted));
}

#[tokio::test]
async fn a_settle_commits_as_one_with_what_else_is_in_the_transaction() {
    let (store, schema) = new_store().await;
    let mut connection = connect().await;
    execute(&mut connection, format!("create table \"{schema}\".effect (n int)")).await;
    let count = async |connection: &mut PgConnection| -> i64 {
        let count = AssertSqlSafe(format!("select count(*) from \"{schema}\".effect"));
        connection.fetch_one(count).await.unwrap().get(0)
    };
    enqueue(&store, new_task()).await;
    let claimed = claim(&store).await.remove(0);
    let id = claimed.fence.task;
    for commits in [false, true] {
        let mut transaction = connection.begin().await.unwrap();
        execute(&mut transaction, format!("insert into \"{schema}\".effect values (1)")).await;
        let child = keyed("child");
        let mut end = settle(&claimed, Verdict::Succeed);
        end.children = vec![child.clone()];
        assert_eq!(transaction.settle(&store, end).await.unwrap(), Settled::Applied);
        assert_eq!(store.ends(&[id, child.id]).await.unwrap(), [EndState::Live, EndState::Gone]);
        if commits {
            transaction.commit().await.unwrap();
            let ended = EndState::Ended(End::Succeeded);
            assert_eq!(store.ends(&[id, child.id]).await.unwrap(), [ended, EndState::Live]);
        } else {
            transaction.rollback().await.unwrap();
            assert_eq!(
                store.ends(&[id, child.id]).await.unwrap(),
                [EndState::Live, EndState::Gone]
            );
        }
        assert_eq!(count(&mut connection).await, i64::from(commits));
    }
    // The handler's own settle comes after, and is a repeat.
    let settled = store.settle(vec![settle(&claimed, Verdict::Succeed)]).await.unwrap();
    assert_eq!(settled, [Settled::Already]);
    let mut transaction = connection.begin().await.unwrap();
    let fenced = transaction.settle(&store, settle(&claimed, Verdict::Succeed)).await.unwrap();
    assert_eq!(fenced, Settled::Already);
    transaction.rollback().await.unwrap();
    assert_eq!(store.counters().await.unwrap().total().processed, 1);
}

#[tokio::test]
async fn an_open_settle_is_busy_to_renewals_and_passed_by_by_rescues() {
    let (store, schema) = new_store().await;
    let mut connection = connect().await;
    let other = Incarnation::new(7);
    let request = RescueRequest { by: other, lease: LEASE, crash_budget: 3, limit: 10 };
    let forward = async |connection: &mut PgConnection, seconds: u64| {
        let by = seconds * 1_000_000;
        let forward = format!("update \"{schema}\".setting set clock_offset = clock_offset + {by}");
        execute(connection, forward).await;
    };
    let mut operator = connect().await;
    store.rescue(request).await.unwrap();
    for _ in 0..3 {
        forward(&mut operator, 30).await;
        store.rescue(request).await.unwrap();
    }
    store.enqueue(vec![new_task(), new_task()]).await.unwrap();
    let claimed = claim(&store).await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.settle(&store, settle(&claimed[0], Verdict::Succeed)).await.unwrap();
    let fences = [claimed[0].fence, claimed[1].fence];
    let start = Instant::now();
    let renewed = promptly("a renewal", store.renew(ME, &fences, LEASE)).await.unwrap();
    assert_eq!(renewed, [Renewed::Busy, Renewed::Held { cancel: false }]);
    assert!(start.elapsed() < Duration::from_secs(5), "it does not wait for the lock");
    for _ in 0..3 {
        forward(&mut operator, 30).await;
        promptly("a rescue", store.rescue(request)).await.unwrap();
    }
    let rescued = store.inspect(&conveyor_core::store::Filter::default()).await.unwrap().tasks;
    let holders: Vec<_> = rescued.iter().map(|task| task.holder).collect();
    assert_eq!(holders, [Some(ME), None], "the one beside it was taken back");
    transaction.commit().await.unwrap();
    let ended = EndState::Ended(End::Succeeded);
    assert_eq!(store.ends(&[fences[0].task]).await.unwrap(), [ended]);
}

#[tokio::test]
async fn a_cancel_waits_for_a_transaction_that_ends_soon() {
    let (store, _) = new_store().await;
    enqueue(&store, new_task()).await;
    let claimed = claim(&store).await.remove(0);
    let mut connection = connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.settle(&store, settle(&claimed, Verdict::Succeed)).await.unwrap();
    let ids = [claimed.fence.task];
    let cancel = store.cancel(&ids);
    let rollback = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        transaction.rollback().await.unwrap();
    };
    let (cancelled, ()) = futures::join!(cancel, rollback);
    assert_eq!(cancelled.unwrap(), [CancelReply::Requested]);
}

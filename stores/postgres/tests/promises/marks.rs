//! Marks: claims begin where the last one ended, and still miss nothing.

use conveyor_core::store::StoreTransaction;

use super::*;

async fn claim_some(store: &PostgresStore, room: usize) -> Vec<Claimed> {
    let kinds = [KindRoom { kind: WORK, room }];
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room };
    let request = ClaimRequest { by: ME, token: number(), lease: LEASE, demand, alone: false };
    store.claim(request).await.unwrap().tasks
}

#[tokio::test]
async fn what_is_handed_back_is_claimed_in_its_old_place() {
    let (store, _) = new_store().await;
    let all: Vec<NewTask> = (0..40).map(|_| new_task()).collect();
    store.enqueue(all.clone()).await.unwrap();
    let order: Vec<TaskId> = all.iter().map(|task| task.id).collect();
    // Again and again, since now and then a claim starts from the head in any case.
    for turn in 0..10 {
        let claimed = claim_some(&store, 3).await;
        assert_eq!(ids(&claimed), order[turn * 2..turn * 2 + 3]);
        let mut batch = vec![settle(&claimed[0], Verdict::Succeed)];
        batch.push(settle(&claimed[1], Verdict::Succeed));
        batch.push(settle(&claimed[2], Verdict::Return { started: false }));
        store.settle(batch).await.unwrap();
    }
}

#[tokio::test]
async fn what_others_put_before_a_mark_is_found_by_a_claim_that_has_room() {
    let (store, schema) = new_store().await;
    let other = open(&schema).await;
    // Claimed and committed, before and after what is behind the mark.
    let early = new_task();
    let mut connection = connect().await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.enqueue(&other, vec![early.clone()]).await.unwrap();
    store.enqueue(vec![new_task(), new_task(), new_task()]).await.unwrap();
    let lent = claim_by(&other, Incarnation::new(5)).await;
    assert_eq!(lent.len(), 3);
    store.enqueue(vec![new_task(), new_task()]).await.unwrap();
    assert_eq!(claim_some(&store, 1).await.len(), 1);
    let back = lent.iter().map(|lent| settle(lent, Verdict::Return { started: false })).collect();
    other.settle(back).await.unwrap();
    transaction.commit().await.unwrap();
    let found = ids(&claim_some(&store, 100).await);
    assert_eq!(found.len(), 5, "nothing is hidden");
    assert_eq!(found[0], early.id, "and all of it comes in its order");
}

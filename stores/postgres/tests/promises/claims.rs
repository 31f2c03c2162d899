//! Claims that come at once are put together, and each caller gets what is its own.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::*;

async fn ask(store: &PostgresStore, token: u64, room: usize) -> Vec<TaskId> {
    let kinds = [KindRoom { kind: WORK, room }];
    let demand = Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room };
    let request = ClaimRequest { by: ME, token, lease: LEASE, demand, alone: false };
    ids(&store.claim(request).await.unwrap().tasks)
}

#[tokio::test]
async fn each_of_many_claims_gets_its_own_and_the_same_again() {
    let (store, schema) = new_store().await;
    let all: Vec<NewTask> = (0..130).map(|_| new_task()).collect();
    store.enqueue(all.clone()).await.unwrap();
    let first = number();
    // Of two sorts, and more than there is.
    let room = |nth: u64| if nth.is_multiple_of(3) { 4 } else { 1 };
    let given = join_all((0..80).map(|nth| ask(&store, first + nth, room(nth)))).await;
    for (nth, given) in (0..).zip(&given) {
        assert!(given.len() <= room(nth), "{given:?} has no room in {}", room(nth));
    }
    let distinct: BTreeSet<TaskId> = given.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), 130, "everything is given out");
    assert_eq!(given.iter().map(Vec::len).sum::<usize>(), 130, "and once");
    assert!(given.iter().filter(|given| given.is_empty()).count() < 40, "to one alike another");
    // The replies were lost, and somebody asks by another handle too.
    let other = open(&schema).await;
    for store in [&store, &other] {
        let again = join_all((0..80).map(|nth| ask(store, first + nth, room(nth)))).await;
        let sorted = |mut ids: Vec<TaskId>| {
            ids.sort_unstable();
            ids
        };
        for (given, again) in given.iter().zip(again).filter(|(given, _)| !given.is_empty()) {
            assert_eq!(sorted(again), sorted(given.clone()));
        }
    }
}

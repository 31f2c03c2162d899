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

/// Claims by hand, with a mark at `place` in every lane; tells how many tasks it took, and over how
/// many entries of the index it went.
async fn walk(connection: &mut PgConnection, schema: &str, place: i64, search: i16) -> (i64, i64) {
    let token = number();
    let walked = format!(r#"pg_stat_get_xact_tuples_returned('"{schema}".task_place'::regclass)"#);
    let statement = format!(
        r#"with before as materialized (select {walked} as walked),
        claimed as materialized (
            select count(id) as count from before cross join lateral "{schema}".claim_1(
                9, array[{token}::int8], 60000000, '{{q}}', '{{work,rest}}', '{{100,100}}', '-32768'::int2,
                100, 6, false, (select array_agg(id) from "{schema}".lane),
                (select array_agg({place}::int8) from "{schema}".lane),
                (select array_agg(0::int8) from "{schema}".lane), {search}::int2
            )
        )
        select count, {walked} - before.walked from claimed, before"#
    );
    let row = connection.fetch_one(AssertSqlSafe(statement)).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_claim_of_many_lanes_does_not_walk_over_what_is_gone() {
    let (store, schema) = new_store().await;
    let rest = Kind::from_static("rest");
    let fill = async |count: usize| {
        let lane = |nth: usize| NewTask {
            kind: if nth.is_multiple_of(2) { WORK } else { rest.clone() },
            priority: if nth % 4 < 2 { Priority::HIGH } else { Priority::LOW },
            ..new_task()
        };
        store.enqueue((0..count).map(lane).collect()).await.unwrap();
    };
    // It sees all that goes from now on, so that none of it can be tidied up.
    let mut connection = connect().await;
    let snapshot = "begin isolation level repeatable read; select count(*) from pg_class";
    connection.execute(snapshot).await.unwrap();
    fill(2_000).await;
    let kinds = [WORK, rest.clone()].map(|kind| KindRoom { kind, room: 1_000 });
    let demand =
        Demand { queues: &[QUEUE], kinds: &kinds, min_priority: Priority::MIN, room: 1_000 };
    for _ in 0..2 {
        let (by, token) = (ME, number());
        let request = ClaimRequest { by, token, lease: LEASE, demand, alone: false };
        let claimed = store.claim(request).await.unwrap().tasks;
        let ends = claimed.iter().map(|claimed| settle(claimed, Verdict::Succeed)).collect();
        assert_eq!(store.settle(ends).await.unwrap().len(), 1_000);
    }
    let gone = store.now().await.unwrap().as_micros();
    fill(400).await;
    let mut other = connect().await;
    let (claimed, walked) = walk(&mut other, &schema, gone, 0).await;
    assert_eq!(claimed, 100);
    assert!(walked <= 1_000, "it went over {walked} entries");
    let (claimed, walked) = walk(&mut other, &schema, gone, 2).await;
    assert_eq!(claimed, 100);
    assert!(walked >= 1_000, "from the head there are {walked} entries only");
}

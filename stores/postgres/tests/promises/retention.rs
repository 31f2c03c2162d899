//! Ends are kept by how they ended: whoever looks into a failure comes later.

use conveyor_core::store::{CancelReply, EndState, RescueRequest, Verdict};
use conveyor_core::{End, Incarnation};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn each_sort_of_end_is_kept_for_its_own_time() {
    let schema = format!("retention {}", number());
    let options = PostgresOptions::new(&Postgres::shared().url()).unwrap().schema(&*schema);
    let options = options.keep_succeeded(HOUR).keep_failed(HOUR * 4).keep_cancelled(HOUR * 2);
    let store = options.keep_crashed(HOUR * 3).open().await.unwrap();
    let mut operator = connect().await;
    let mut pass = async |time: Duration| {
        let by = time.as_micros();
        let forward = format!("update \"{schema}\".setting set clock_offset = clock_offset + {by}");
        execute(&mut operator, forward).await;
    };
    let rescue = async || {
        let by = Incarnation::new(7);
        let request = RescueRequest { by, lease: LEASE, crash_budget: 1, limit: 10 };
        store.rescue(request).await.unwrap().rescued.len()
    };
    // Watched for long enough that the dead are noticed, a task is claimed by one who dies.
    for _ in 0..4 {
        rescue().await;
        pass(LEASE / 2).await;
    }
    let mut tasks = Vec::new();
    let mut claimed = async || {
        let task = new_task();
        tasks.push(task.id);
        enqueue(&store, task).await;
        claim(&store).await.remove(0)
    };
    claimed().await;
    let mut rescued = 0;
    for _ in 0..4 {
        pass(LEASE / 2).await;
        rescued += rescue().await;
    }
    assert_eq!(rescued, 1);
    // The failure first, so that what is kept for longest is not the newest.
    for verdict in [Verdict::Fail { error: "no hope".into() }, Verdict::Succeed] {
        let claimed = claimed().await;
        store.settle(vec![settle(&claimed, verdict)]).await.unwrap();
    }
    let cancelled = new_task();
    tasks.push(cancelled.id);
    enqueue(&store, cancelled).await;
    assert_eq!(store.cancel(&tasks[3..]).await.unwrap(), [CancelReply::Cancelled]);

    let mut left = store.ends(&tasks).await.unwrap();
    let [
        EndState::Ended(crashed),
        EndState::Ended(failed),
        EndState::Ended(succeeded),
        EndState::Ended(cancelled),
    ] = &left.clone()[..]
    else {
        panic!("{left:?}");
    };
    assert_eq!((crashed, succeeded), (&End::Crashed, &End::Succeeded));
    for goes in [succeeded, cancelled, crashed, failed] {
        pass(HOUR - LEASE * 3).await;
        assert_eq!(store.prune(10).await.unwrap(), 0, "before {goes:?}");
        pass(LEASE * 3 + Duration::from_secs(1)).await;
        assert_eq!(store.prune(10).await.unwrap(), 1, "{goes:?}");
        for state in &mut left {
            if *state == EndState::Ended(goes.clone()) {
                *state = EndState::Gone;
            }
        }
        assert_eq!(store.ends(&tasks).await.unwrap(), left, "{goes:?}");
    }
}

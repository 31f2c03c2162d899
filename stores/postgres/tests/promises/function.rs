//! `conveyor.enqueue`: tasks from a trigger, or any driver.

use conveyor_core::TaskState;
use conveyor_core::payload::AnyPayload;
use conveyor_core::store::Filter;
use uuid::Uuid;

use super::*;

async fn ask(connection: &mut PgConnection, call: String) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!("select {call}"))).fetch_one(connection).await
}

fn bytes(payload: &AnyPayload) -> Vec<u8> {
    payload.encoded(&Default::default()).unwrap().bytes.to_vec()
}

#[tokio::test]
async fn a_task_from_sql_is_one_like_any_other() {
    let (store, schema) = new_store().await;
    let mut connection = connect().await;
    let call = format!(
        "\"{schema}\".enqueue('work', '{{\"to\": 7}}', queue => 'q', key => 'k', priority => 10)"
    );
    let id = ask(&mut connection, call.clone()).await.unwrap().expect("it is new");
    assert_eq!(id.get_version_num(), 7);
    assert_eq!(ask(&mut connection, call).await.unwrap(), None, "the key is taken");
    let claimed = claim(&store).await.remove(0);
    assert_eq!(claimed.fence.task.as_u128(), id.as_u128());
    assert_eq!(claimed.key.as_ref().map(Key::as_str), Some("k"));
    assert_eq!(claimed.priority, Priority::HIGH);
    assert_eq!(bytes(&claimed.payload), b"{\"to\": 7}");
    assert_eq!((claimed.timeout, claimed.retries), (None, None));
    let counts = store.counters().await.unwrap().total();
    assert_eq!((counts.enqueued, counts.duplicates), (1, 1));
}

#[tokio::test]
async fn a_task_from_sql_may_be_delayed_and_say_its_limits() {
    let (store, schema) = new_store().await;
    let call =
        format!("\"{schema}\".enqueue('work', delay => '1 hour', timeout => '90 s', retries => 2)");
    ask(&mut connect().await, call).await.unwrap().expect("it is new");
    let task = store.inspect(&Filter::default()).await.unwrap().tasks.remove(0);
    assert_eq!((task.state, task.queue), (TaskState::Scheduled, QueueName::DEFAULT));
}

#[tokio::test]
async fn a_trigger_enqueues_with_the_row_or_not_at_all() {
    let (store, schema) = new_store().await;
    let mut connection = connect().await;
    let script = format!(
        "create table \"{schema}\".orders (id int);
         create function \"{schema}\".on_order() returns trigger language plpgsql as $$
         begin
             perform \"{schema}\".enqueue('work', to_jsonb(new), queue => 'q', wake => true);
             return new;
         end $$;
         create trigger on_order after insert on \"{schema}\".orders
             for each row execute function \"{schema}\".on_order();"
    );
    execute(&mut connection, script).await;
    let listener = Listener::of(&store);
    for (order, commits) in [(1, false), (2, true)] {
        let mut transaction = connection.begin().await.unwrap();
        execute(&mut transaction, format!("insert into \"{schema}\".orders values ({order})"))
            .await;
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
    }
    listener.hears("Claimable").await;
    let claimed = claim(&store).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(bytes(&claimed[0].payload), b"{\"id\": 2}");
}

#[tokio::test]
async fn names_that_no_worker_could_have_are_refused_with_the_reason() {
    let (_store, schema) = new_store().await;
    let mut connection = connect().await;
    for (arguments, reason) in [
        ("''", "the kind"),
        ("null", "the kind"),
        ("E'a\\nb'", "the kind"),
        ("repeat('x', 129)", "the kind"),
        ("'work', queue => ''", "the queue"),
        ("'work', key => repeat('x', 1025)", "the key"),
        ("'work', priority => 40000", "the priority"),
        ("'work', retries => -1", "the retries"),
    ] {
        let call = format!("\"{schema}\".enqueue({arguments})");
        let error = ask(&mut connection, call).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{arguments}: {error}");
    }
}

//! What a context for a handler's unit test says and does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use conveyor_core::{
    Cancelled, Context, EnqueueError, NameError, Priority, QueueName, State, Task, WaitError,
};
use conveyor_testkit::{context, simulate};

const MINUTE: Duration = Duration::from_secs(60);

/// On an executor that is not the simulator: polls until it is done.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..1_000 {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
    panic!("the future waits for ever")
}

#[test]
fn a_context_says_what_it_was_told() {
    let ctx = context()
        .kind("mail")
        .key("welcome")
        .queue("slow")
        .priority(Priority::HIGH)
        .attempt(3)
        .epoch(9)
        .timeout(MINUTE)
        .payload("hello".to_owned())
        .build();
    assert_eq!(ctx.kind().as_str(), "mail");
    assert_eq!(ctx.key().unwrap().as_str(), "welcome");
    assert_eq!(ctx.queue().as_str(), "slow");
    assert_eq!(ctx.priority(), Priority::HIGH);
    assert_eq!((ctx.attempt(), ctx.epoch()), (3, 9));
    assert_eq!(ctx.time_left(), Some(MINUTE));
    assert_eq!(*ctx.payload::<String>().unwrap(), "hello");

    let plain = context().build();
    assert_eq!((plain.attempt(), plain.epoch()), (1, 1));
    assert_eq!(plain.queue(), &QueueName::DEFAULT);
    assert_eq!((plain.key(), plain.deadline()), (None, None));
}

#[test]
fn states_are_the_ones_that_were_given() {
    trait Greet: Send + Sync {
        fn greet(&self) -> &'static str;
    }
    struct English;
    impl Greet for English {
        fn greet(&self) -> &'static str {
            "hello"
        }
    }
    let ctx = context().state(7u32).shared_state::<dyn Greet>(State(Arc::new(English))).build();
    assert_eq!(*ctx.state::<u32>(), 7);
    assert_eq!(ctx.state::<dyn Greet>().greet(), "hello");
    assert!(ctx.try_state::<u64>().is_none());
}

#[test]
#[should_panic(expected = "there is a state of type u32 already")]
fn a_second_state_of_a_type_is_refused() {
    let _ = context().state(1u32).state(2u32);
}

#[test]
#[should_panic(expected = "the key is empty")]
fn a_bad_name_is_refused_with_the_reason() {
    let _ = context().key("");
}

#[test]
fn what_is_enqueued_is_recorded_and_never_ends() {
    let (ctx, recorded) = context().build_recording();
    block_on(async {
        let first = ctx.enqueue(Task::new("log", 1u32).key("a")).await.unwrap();
        let second = ctx.enqueue(Task::new("log", 2u32)).await.unwrap();
        ctx.enqueue(Task::new("mail", "x".to_owned())).await.unwrap();
        assert!(first.id() < second.id());
        let id = first.id();
        assert_eq!(first.wait().await, Err(WaitError::Unknown { id }));
    });
    assert_eq!(recorded.payloads::<u32>("log"), [1, 2]);
    assert_eq!(recorded.payloads::<String>("mail"), ["x"]);
    let tasks = recorded.take();
    assert_eq!(tasks[0].set.key.as_ref().unwrap().as_str(), "a");
    assert_eq!((tasks.len(), recorded.is_empty()), (3, true));
}

#[test]
fn what_a_manager_would_refuse_is_refused() {
    let (ctx, recorded) = context().build_recording();
    let bad_name = block_on(ctx.enqueue(Task::new("log", 1u32).key(""))).unwrap_err();
    assert_eq!(bad_name, EnqueueError::Name(NameError::Empty { what: "key" }));
    let no_time = block_on(ctx.enqueue(Task::new("log", 1u32).timeout(Duration::ZERO)));
    assert!(matches!(no_time, Err(EnqueueError::ZeroTimeout { .. })));
    assert_eq!(recorded.len(), 0);
}

#[test]
fn sleeps_take_no_time_on_any_executor_and_move_the_clock() {
    let ctx = context().timeout(3 * MINUTE).build();
    let wall = ctx.runtime().wall();
    block_on(async {
        ctx.sleep(MINUTE).await;
        ctx.sleep(MINUTE).await;
    });
    assert_eq!(ctx.time_left(), Some(MINUTE));
    assert_eq!(ctx.runtime().wall(), wall + 2 * MINUTE);
}

#[test]
fn blocking_work_gives_its_value() {
    let ctx = context().build();
    assert_eq!(block_on(ctx.spawn_blocking(|| 6 * 7)), 42);
}

#[test]
fn a_test_can_cancel_the_handler() {
    let ctx = context().build();
    assert!(!ctx.is_cancelled());
    ctx.cancel(Cancelled::Timeout);
    assert_eq!(block_on(ctx.cancelled()), Cancelled::Timeout);
}

#[test]
#[should_panic(expected = "make it by `sim.context()`")]
fn tasks_beside_the_handler_need_a_simulation() {
    let ctx = context().build();
    drop(ctx.runtime().spawn("child", Box::pin(async {})));
}

#[test]
fn in_a_simulation_a_handler_sleeps_by_its_clock_and_can_spawn() {
    async fn handler(ctx: Context, count: Arc<AtomicU32>) {
        let child = ctx.runtime().spawn("child", {
            let (ctx, count) = (ctx.clone(), Arc::clone(&count));
            Box::pin(async move {
                ctx.sleep(MINUTE).await;
                count.fetch_add(1, Ordering::Relaxed);
            })
        });
        ctx.sleep(2 * MINUTE).await;
        assert_eq!(count.load(Ordering::Relaxed), 1);
        child.await.unwrap();
    }
    simulate(0, |sim| async move {
        handler(sim.context().build(), Arc::default()).await;
        assert_eq!(sim.elapsed(), 2 * MINUTE);
    });
}

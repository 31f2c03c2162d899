//! Order: which task is next, who may run it, and that it starts as soon as somebody can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use conveyor::prelude::*;
use conveyor::{PoolSize, Timestamp};
use conveyor_tests::{Gate, Log, Setting};
use futures::future::join_all;

use crate::{NEVER, Started, millis, notes, waits};

conveyor_tests::on_every_runtime!(
    urgent_tasks_go_first_and_equal_ones_by_age,
    one_task_in_sixteen_is_the_oldest,
    what_is_due_later_starts_later_and_nothing_starts_early,
    reserved_consumers_are_there_for_urgent_tasks_alone,
    urgent_tasks_may_use_every_consumer,
    a_queue_with_a_pool_of_its_own_shares_no_consumers,
    a_kinds_concurrency_is_never_exceeded_and_always_used,
    a_task_that_comes_to_an_idle_manager_is_started,
    what_many_enqueue_at_once_is_all_run,
    two_managers_on_one_store_share_the_work,
);

/// Notes its number and waits a moment, so that its consumer claims one at a time: of several that
/// are cheap it might hand some back, and that counts for the ageing share.
#[conveyor::worker]
async fn steps(number: u64, started: State<Started>) {
    started.push(number);
    smol::future::yield_now().await;
}

async fn urgent_tasks_go_first_and_equal_ones_by_age(setting: Setting) {
    let started = Started::new();
    let manager =
        setting.manager().consumers(1).state(started.clone()).register(steps).build().unwrap();
    let levels = [Priority::NORMAL, Priority::LOW, Priority::HIGH];
    // Fifteen are one too few for the ageing share.
    let mut expected: Vec<u64> = (0..15).collect();
    for &number in &expected {
        manager.enqueue(steps.task(number).priority(levels[number as usize % 3])).await.unwrap();
    }
    manager.start().await.unwrap();
    manager.idle().await.unwrap();
    expected.sort_by_key(|&number| (std::cmp::Reverse(levels[number as usize % 3]), number));
    assert_eq!(started.all(), expected);
}

async fn one_task_in_sixteen_is_the_oldest(setting: Setting) {
    let started = Started::new();
    let manager =
        setting.manager().consumers(1).state(started.clone()).register(steps).build().unwrap();
    for low in [1000, 1001] {
        manager.enqueue(steps.task(low).priority(Priority::LOW)).await.unwrap();
    }
    for number in 0..40 {
        manager.enqueue(steps.task(number)).await.unwrap();
    }
    manager.start().await.unwrap();
    manager.idle().await.unwrap();
    let started = started.all();
    assert_eq!((started[15], started[31], started.len()), (1000, 1001, 42), "{started:?}");
}

type Times = Log<(u64, Timestamp)>;

/// Notes when it starts.
#[conveyor::worker]
async fn notes_when(number: u64, ctx: Context, started: State<Times>) {
    started.push((number, ctx.runtime().wall()));
}

async fn what_is_due_later_starts_later_and_nothing_starts_early(setting: Setting) {
    let started = Times::new();
    let manager =
        setting.manager().consumers(1).state(started.clone()).register(notes_when).build().unwrap();
    manager.start().await.unwrap();
    let (due, now) = ([60, 20, 40, 20], setting.wall());
    let at = |number: u64| now + millis(due[number as usize]);
    // In one step, so that none of them is due before the others are there.
    let batch = (0..4).map(|number| notes_when.task(number).at(at(number)));
    for receipt in manager.enqueue_all(batch).await {
        receipt.unwrap();
    }
    let last = manager.enqueue(notes_when.task(9).delay(NEVER)).await.unwrap();
    let started = started.reaches(4).await;
    let order: Vec<u64> = started.iter().map(|&(number, _)| number).collect();
    assert_eq!(order, [1, 3, 2, 0]);
    for (number, when) in started {
        assert!(when >= at(number), "{number}: due at {:?}, started at {when:?}", at(number));
    }
    assert_eq!(manager.metrics().scheduled, 1);
    manager.cancel(last.id()).await.unwrap();
}

async fn reserved_consumers_are_there_for_urgent_tasks_alone(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(3)
        .consumers_for(Priority::HIGH, 1)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    for number in 0..4 {
        manager.enqueue(waits.task(number)).await.unwrap();
    }
    started.reaches(2).await;
    manager.enqueue(waits.task(9).priority(Priority::HIGH)).await.unwrap();
    let mut three = started.reaches(3).await;
    three.sort_unstable();
    assert_eq!(three, [0, 1, 9], "a normal task has the reserved consumer");
    gate.open();
    manager.idle().await.unwrap();
    assert_eq!(manager.metrics().processed, 5);
}

async fn urgent_tasks_may_use_every_consumer(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(4)
        .consumers_for(Priority::HIGH, 2)
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    for number in 0..4 {
        manager.enqueue(waits.task(number).priority(Priority::HIGH)).await.unwrap();
    }
    started.reaches(4).await;
    assert_eq!(manager.metrics().active, 4);
    gate.open();
    manager.idle().await.unwrap();
}

async fn a_queue_with_a_pool_of_its_own_shares_no_consumers(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let manager = setting
        .manager()
        .consumers(1)
        .pool("mail", PoolSize::new(2))
        .state(started.clone())
        .state(gate.clone())
        .register(waits)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    // The one consumer that the others share is held up; two tasks of its queue wait.
    for number in [0, 1, 2] {
        manager.enqueue(waits.task(number)).await.unwrap();
    }
    started.reaches(1).await;
    let mail = manager.enqueue(notes.task(10).queue("mail")).await.unwrap();
    assert_eq!(mail.wait().await, Ok(End::Succeeded));
    assert_eq!(started.all(), [0, 10], "the consumers of mail take nothing else");
    gate.open();
    manager.idle().await.unwrap();
}

/// How many of its attempts run at once.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[conveyor::worker(concurrency = 2)]
async fn crowds(number: u64, crowd: State<Crowd>, started: State<Started>, gate: State<Gate>) {
    let now = crowd.now.fetch_add(1, Ordering::SeqCst) + 1;
    crowd.most.fetch_max(now, Ordering::SeqCst);
    started.push(number);
    gate.passed().await;
    crowd.now.fetch_sub(1, Ordering::SeqCst);
}

async fn a_kinds_concurrency_is_never_exceeded_and_always_used(setting: Setting) {
    let (started, gate, crowd) = (Started::new(), Gate::new(), Arc::new(Crowd::default()));
    let manager = setting
        .manager()
        .consumers(5)
        .state(started.clone())
        .state(gate.clone())
        .shared_state(Arc::clone(&crowd))
        .register(crowds)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    for number in 0..100 {
        manager.enqueue(crowds.task(number)).await.unwrap();
    }
    started.reaches(2).await;
    // Another kind has consumers left.
    let other = manager.enqueue(notes.task(1000)).await.unwrap();
    assert_eq!(other.wait().await, Ok(End::Succeeded));
    assert_eq!(started.len(), 3);
    gate.open();
    manager.idle().await.unwrap();
    assert_eq!(manager.metrics().processed, 101);
    assert_eq!(crowd.most.load(Ordering::SeqCst), 2);
}

/// Each time anew everything is at rest, and has to be woken.
async fn a_task_that_comes_to_an_idle_manager_is_started(setting: Setting) {
    let manager = setting
        .manager()
        .consumers(3)
        .consumers_for(Priority::HIGH, 1)
        .state(Started::new())
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    for number in 0..300 {
        let level = if number % 3 == 0 { Priority::HIGH } else { Priority::NORMAL };
        let receipt = manager.enqueue(notes.task(number).priority(level)).await.unwrap();
        assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    }
    assert_eq!(manager.metrics().processed, 300);
}

/// Lets others run, so that attempts of many consumers mix.
#[conveyor::worker(concurrency = 3)]
async fn limited(number: u64, started: State<Started>) {
    smol::future::yield_now().await;
    started.push(number);
}

async fn what_many_enqueue_at_once_is_all_run(setting: Setting) {
    const EACH: u64 = 100;
    let started = Started::new();
    let manager = setting
        .manager()
        .consumers(6)
        .consumers_for(Priority::HIGH, 2)
        .state(started.clone())
        .register(notes)
        .register(limited)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let levels = [Priority::LOW, Priority::NORMAL, Priority::HIGH, Priority::CRITICAL];
    let producers = (0..8u64).map(|producer| {
        let manager = manager.clone();
        setting.spawn(async move {
            for number in producer * EACH..(producer + 1) * EACH {
                let level = levels[number as usize % 4];
                let late = millis(if number % 10 == 0 { number % 7 } else { 0 });
                let task = if number % 3 == 0 { limited.task(number) } else { notes.task(number) };
                manager.enqueue(task.priority(level).delay(late)).await.unwrap();
            }
        })
    });
    for producer in join_all(producers).await {
        producer.unwrap();
    }
    manager.idle().await.unwrap();
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, (0..8 * EACH).collect::<Vec<_>>(), "each once");
}

async fn two_managers_on_one_store_share_the_work(setting: Setting) {
    let (started, gate) = (Started::new(), Gate::new());
    let store = setting.shared_store();
    let build = || {
        setting
            .manager_on(&store)
            .consumers(1)
            .state(started.clone())
            .state(gate.clone())
            .register(waits)
            .build()
            .unwrap()
    };
    let (one, two) = (build(), build());
    one.start().await.unwrap();
    two.start().await.unwrap();
    let mut receipts = Vec::new();
    for number in 0..20 {
        receipts.push(one.enqueue(waits.task(number)).await.unwrap());
    }
    // Both at once: each has a consumer.
    started.reaches(2).await;
    gate.open();
    for receipt in receipts {
        assert_eq!(two.wait(receipt.id()).await, Ok(End::Succeeded));
    }
    let mut started = started.all();
    started.sort_unstable();
    assert_eq!(started, (0..20).collect::<Vec<u64>>(), "each once");
}

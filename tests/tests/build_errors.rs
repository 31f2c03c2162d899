//! What is wrong with a manager is said by `build()`, before any work starts, with the way out.

use std::sync::Arc;
use std::time::Duration;

use conveyor::{
    BuildError, Context, Definition, EnqueueError, Manager, ManagerBuilder, MemoryStore, PoolSize,
    Priority, Retention, Schedule, Task,
};
use conveyor_core::worker::KindDefinition;
use conveyor_testkit::{Sim, simulate};
use conveyor_tests::{Defined, consumer};

fn manager(sim: &Sim) -> ManagerBuilder {
    Manager::builder().runtime(sim.runtime())
}

fn nothing(
    kind: &'static str,
    settings: impl Fn(&mut KindDefinition) + Send + Sync + 'static,
) -> impl conveyor::Worker {
    consumer(kind, |(): (), _: Context| async {}, settings)
}

/// What `build()` says of a manager.
fn refusal(of: impl FnOnce(ManagerBuilder, &Sim) -> ManagerBuilder) -> String {
    simulate(7, |sim| async move {
        match of(manager(&sim), &sim).build() {
            Ok(_) => panic!("it was built"),
            Err(error) => error.to_string(),
        }
    })
}

#[test]
fn two_workers_of_one_kind() {
    let message = "two workers have the kind \"mail\"; give one of them another by `kind = \"…\"`";
    let (a, b) = (nothing("mail", |_| {}), nothing("mail", |_| {}));
    assert_eq!(refusal(|builder, _| builder.register(a).register(b)), message);
    // In one worker, too.
    let both = Defined(|definition: &mut Definition| {
        definition.consume("mail", |(): (), _| async {});
        definition.consume("mail", |(): (), _| async {});
    });
    assert_eq!(refusal(|builder, _| builder.register(both)), message);
    // And while it runs; nothing of the second worker is registered then.
    simulate(7, |sim| async move {
        let manager = manager(&sim).register(nothing("mail", |_| {})).build().unwrap();
        manager.start().await.unwrap();
        let more = Defined(|definition: &mut Definition| {
            definition
                .consume("other", |(): (), _| async {})
                .schedule(Schedule::every(Duration::from_secs(1)).unwrap());
            definition.consume("mail", |(): (), _| async {});
        });
        assert_eq!(manager.register(more).unwrap_err().to_string(), message);
        sim.advance(Duration::from_secs(10)).await;
        assert_eq!(manager.metrics().kind("other").enqueued, 0, "it does not tick");
        manager.register(nothing("other", |_| {})).expect("its name is still free");
    });
}

#[test]
fn a_pool_without_consumers() {
    assert_eq!(
        refusal(|builder, _| builder.consumers(0)),
        "the pool of the queue \"default\" has no consumers; give it at least one"
    );
    assert_eq!(
        refusal(|builder, _| builder.pool("mail", PoolSize::new(0))),
        "the pool of the queue \"mail\" has no consumers; give it at least one"
    );
}

#[test]
fn a_pool_whose_consumers_are_all_reserved() {
    assert_eq!(
        refusal(|builder, _| builder.consumers(4).consumers_for(Priority::HIGH, 4)),
        "the pool of the queue \"default\" has 4 consumers, of which 4 are reserved; leave at \
         least one for all tasks"
    );
    assert_eq!(
        refusal(|builder, _| builder
            .consumers(4)
            .consumers_for(Priority::HIGH, 3)
            .consumers_for(Priority::CRITICAL, 2)),
        "the pool of the queue \"default\" has 4 consumers, of which 5 are reserved; leave at \
         least one for all tasks"
    );
    assert_eq!(
        refusal(|builder, _| builder.pool("mail", PoolSize::new(1).reserve(Priority::HIGH, 1))),
        "the pool of the queue \"mail\" has 1 consumers, of which 1 are reserved; leave at least \
         one for all tasks"
    );
    assert_eq!(
        refusal(|builder, _| builder
            .consumers(4)
            .consumers_for(Priority::HIGH, usize::MAX)
            .consumers_for(Priority::CRITICAL, 2)),
        format!(
            "the pool of the queue \"default\" has 4 consumers, of which {} are reserved; leave \
             at least one for all tasks",
            usize::MAX
        )
    );
    simulate(7, |sim| async move {
        manager(&sim).consumers(4).consumers_for(Priority::HIGH, 3).build().unwrap();
    });
}

#[test]
fn a_name_that_breaks_the_rules() {
    let long: &'static str = "x".repeat(129).leak();
    let begins = "x".repeat(24);
    let empty = |what: &str| format!("the {what} is empty; give it at least one character");
    let too_long = |what: &str| format!("the {what} \"{begins}\"… has 129 bytes; the limit is 128");
    let control =
        |what: &str| format!("the {what} \"a\\0b\" has the control character '\\0'; leave it out");
    for (name, kind, queue) in [
        ("", empty("kind"), empty("queue")),
        (long, too_long("kind"), too_long("queue")),
        ("a\0b", control("kind"), control("queue")),
    ] {
        assert_eq!(refusal(|builder, _| builder.register(nothing(name, |_| {}))), kind);
        let of_worker = nothing("mail", move |kind| _ = kind.queue(name));
        assert_eq!(refusal(|builder, _| builder.register(of_worker)), queue);
        assert_eq!(refusal(|builder, _| builder.default_queue(name)), queue);
        assert_eq!(refusal(|builder, _| builder.queues([name])), queue);
        assert_eq!(refusal(|builder, _| builder.pool(name, PoolSize::new(1))), queue);
    }
    // The name of a producer needs room for the name of its ticks' kind.
    let almost: &'static str = "x".repeat(125).leak();
    let producer = Defined(move |definition: &mut Definition| {
        definition
            .produce(almost, |_| async { Ok::<Vec<Task<()>>, String>(Vec::new()) })
            .schedule(Schedule::every(Duration::from_secs(1)).unwrap());
    });
    assert_eq!(
        refusal(|builder, _| builder.register(producer)),
        format!("the kind \"{begins}\"… has 133 bytes; the limit is 128")
    );
}

#[test]
fn a_schedule_that_never_fires_or_has_no_zone() {
    let refused = |schedule: Result<Schedule, conveyor_core::schedule::ScheduleError>| {
        schedule.unwrap_err().to_string()
    };
    assert_eq!(
        refused(Schedule::cron("0 0 30 2 *")),
        "`0 0 30 2 *` never fires: no year has such a day; check its day, month and weekday fields"
    );
    assert_eq!(
        refused(Schedule::cron_in("0 9 * * *", "Europe/Berlim")),
        "`Europe/Berlim` is not a time zone; use a name of the IANA database such as \
         `Europe/Berlin`"
    );
    assert_eq!(
        refused(Schedule::every(Duration::from_micros(999))),
        "an interval of 999µs is too short; use 1ms or more"
    );
    assert_eq!(
        refused(Schedule::every(Duration::ZERO)),
        "an interval of 0ns is too short; use 1ms or more"
    );
}

#[test]
fn a_producer_without_a_schedule() {
    let producer = Defined(|definition: &mut Definition| {
        definition.produce("feeds", |_| async { Ok::<Vec<Task<()>>, String>(Vec::new()) });
    });
    assert_eq!(
        refusal(|builder, _| builder.register(producer)),
        "the producer \"feeds.produce\" has no schedule; give it `interval` or `cron`, or the \
         builder a `default_schedule`"
    );
}

#[test]
fn a_timeout_of_zero() {
    assert_eq!(
        refusal(|builder, _| builder.timeout(Duration::ZERO)),
        "the default timeout is zero; leave it out for the default"
    );
    let worker = nothing("mail", |kind| _ = kind.timeout(Duration::ZERO));
    assert_eq!(
        refusal(|builder, _| builder.register(worker)),
        "the timeout of \"mail\" is zero; leave it out for the default"
    );
    simulate(7, |sim| async move {
        let manager = manager(&sim).build().unwrap();
        let error =
            manager.enqueue(Task::new("mail", ()).timeout(Duration::ZERO)).await.unwrap_err();
        assert!(matches!(error, EnqueueError::ZeroTimeout { .. }), "{error:?}");
        assert_eq!(error.to_string(), "the timeout of a mail task is zero; leave it out for none");
        assert_eq!(manager.metrics().enqueued, 0);
    });
}

#[test]
fn other_settings_that_must_not_be_zero() {
    let worker = nothing("mail", |kind| _ = kind.concurrency(0));
    assert_eq!(
        refusal(|builder, _| builder.register(worker)),
        "the concurrency of \"mail\" is zero; leave it out for the default"
    );
    for (of, message) in [
        (
            (|builder| builder.capacity(0)) as fn(ManagerBuilder) -> ManagerBuilder,
            "the capacity is zero; leave it out for the default",
        ),
        (
            |builder| builder.crash_budget(0),
            "the crash budget is zero; leave it out for the default",
        ),
        (
            |builder| builder.poll_interval(Duration::ZERO),
            "the poll interval is zero; leave it out for the default",
        ),
    ] {
        assert_eq!(refusal(|builder, _| of(builder)), message);
    }
}

#[test]
fn a_lease_too_short_to_be_renewed() {
    assert_eq!(
        refusal(|builder, _| builder.lease(Duration::from_millis(99))),
        "a lease of 99ms is too short to be renewed in time; give it at least 100ms"
    );
    simulate(7, |sim| async move {
        manager(&sim).lease(Duration::from_millis(100)).build().unwrap();
    });
}

#[test]
fn a_bound_for_a_store_that_is_not_the_builders() {
    let message = "`capacity` and `retention` are for the builder's own store; set them on the \
                   store that you gave it";
    let store = |sim: &Sim| Arc::new(MemoryStore::new(sim.clock()));
    assert_eq!(refusal(|builder, sim| builder.store(store(sim)).capacity(9)), message);
    assert_eq!(
        refusal(|builder, sim| builder.store(store(sim)).retention(Retention::default())),
        message
    );
}

#[test]
fn no_runtime_here() {
    let error = Manager::builder().build().unwrap_err();
    assert_eq!(error, BuildError::OutsideRuntime);
    assert_eq!(
        error.to_string(),
        "there is no tokio runtime here; call `build()` inside one, or give the builder one by \
         `.runtime(…)`"
    );
}

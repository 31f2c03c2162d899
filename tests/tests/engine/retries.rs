//! Retries: how many attempts a task gets, not before when, and what costs none of them.

use conveyor::prelude::*;
use conveyor::{Error, Timestamp};
use conveyor_tests::{Log, Setting};

use crate::{Started, failed, millis, notes};

conveyor_tests::on_every_runtime!(
    attempts_are_one_more_than_retries_and_none_is_early,
    an_attempt_that_succeeds_ends_the_retries,
    a_fatal_error_is_not_retried,
    an_error_may_say_when_to_retry,
    a_snooze_costs_no_attempt_and_ends_not_early,
    a_cancel_by_the_handler_is_the_end,
    a_task_that_backs_off_holds_up_no_other,
);

/// The attempts, and when they began.
type Attempts = Log<(u32, Timestamp)>;

/// Fails as often as its payload says, and then succeeds.
#[conveyor::worker(retries = 2, backoff = "20ms")]
async fn fails(times: u32, ctx: Context, attempts: State<Attempts>) -> Result<(), String> {
    attempts.push((ctx.attempt(), ctx.runtime().wall()));
    if ctx.attempt() <= times { Err(format!("failure {}", ctx.attempt())) } else { Ok(()) }
}

async fn attempts_are_one_more_than_retries_and_none_is_early(setting: Setting) {
    let attempts = Attempts::new();
    let manager = setting.manager().state(attempts.clone()).register(fails).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(fails.task(9)).await.unwrap();
    assert_eq!(receipt.wait().await, Ok(failed("failure 3")));
    assert_apart(&attempts.all(), &[1, 2, 3]);
    let metrics = manager.metrics();
    assert_eq!((metrics.retried, metrics.failed, metrics.live()), (2, 1, 0));
}

/// These are the attempts, and each began at least 20 ms after the one before.
fn assert_apart(attempts: &[(u32, Timestamp)], expected: &[u32]) {
    let numbers: Vec<_> = attempts.iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers, expected);
    for pair in attempts.windows(2) {
        assert!(pair[1].1 >= pair[0].1 + millis(20), "too early: {pair:?}");
    }
}

async fn an_attempt_that_succeeds_ends_the_retries(setting: Setting) {
    let attempts = Attempts::new();
    let manager = setting.manager().state(attempts.clone()).register(fails).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(fails.task(1)).await.unwrap();
    assert_eq!(receipt.wait().await, Ok(End::Succeeded));
    assert_apart(&attempts.all(), &[1, 2]);
    let metrics = manager.metrics();
    assert_eq!((metrics.retried, metrics.processed, metrics.failed), (1, 1, 0));
}

/// Ends in the way that its payload says.
#[conveyor::worker(retries = 2, backoff = "none")]
async fn decides(how: String, ctx: Context, attempts: State<Attempts>) -> Result<Outcome, Error> {
    attempts.push((ctx.attempt(), ctx.runtime().wall()));
    let first = attempts.len() == 1;
    match how.as_str() {
        "fatal" => Err(Error::fatal("no use")),
        "later" => Err(Error::retry_after("busy", millis(20))),
        "snooze" if first => Ok(Outcome::snooze(millis(20))),
        "cancel" => Ok(Outcome::cancel("not needed")),
        _ => Ok(Outcome::success()),
    }
}

/// The attempts of one task that decides so, and its end.
async fn decide(setting: &Setting, how: &str) -> (End, Vec<(u32, Timestamp)>) {
    let attempts = Attempts::new();
    let manager = setting.manager().state(attempts.clone()).register(decides).build().unwrap();
    manager.start().await.unwrap();
    let receipt = manager.enqueue(decides.task(how.to_owned())).await.unwrap();
    let end = receipt.wait().await.unwrap();
    assert_eq!(manager.metrics().live(), 0);
    (end, attempts.all())
}

async fn a_fatal_error_is_not_retried(setting: Setting) {
    let (end, attempts) = decide(&setting, "fatal").await;
    assert_eq!((end, attempts.len()), (failed("no use"), 1));
}

async fn an_error_may_say_when_to_retry(setting: Setting) {
    let (end, attempts) = decide(&setting, "later").await;
    assert_eq!(end, failed("busy"));
    assert_apart(&attempts, &[1, 2, 3]);
}

async fn a_snooze_costs_no_attempt_and_ends_not_early(setting: Setting) {
    let (end, attempts) = decide(&setting, "snooze").await;
    assert_eq!(end, End::Succeeded);
    assert_apart(&attempts, &[1, 1]);
}

async fn a_cancel_by_the_handler_is_the_end(setting: Setting) {
    let (end, attempts) = decide(&setting, "cancel").await;
    assert_eq!((end, attempts.len()), (End::Cancelled("not needed".to_owned()), 1));
}

#[conveyor::worker(retries = 1, backoff = "1h")]
async fn fails_for_long(started: State<Started>) -> Result<(), &'static str> {
    started.push(1000);
    Err("come back in an hour")
}

async fn a_task_that_backs_off_holds_up_no_other(setting: Setting) {
    let started = Started::new();
    let manager = setting
        .manager()
        .consumers(1)
        .state(started.clone())
        .register(fails_for_long)
        .register(notes)
        .build()
        .unwrap();
    manager.start().await.unwrap();
    let task = manager.enqueue(fails_for_long.task()).await.unwrap();
    started.reaches(1).await;
    let other = manager.enqueue(notes.task(1)).await.unwrap();
    assert_eq!(other.wait().await, Ok(End::Succeeded));
    let metrics = manager.metrics();
    assert_eq!((metrics.scheduled, metrics.retried, metrics.processed), (1, 1, 1));
    manager.cancel(task.id()).await.unwrap();
    assert_eq!(task.wait().await, Ok(End::Cancelled("cancelled on request".to_owned())));
    assert_eq!(started.len(), 2);
}

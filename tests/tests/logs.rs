//! What an operator has to know is told to the log, and nothing else is.
#![allow(missing_docs, reason = "a test's name says what it is for")]
#![allow(clippy::unwrap_used, reason = "what cannot be in a test may end it")]

use std::fmt::{self, Debug, Write};
use std::time::Duration;

use conveyor::{Context, Error, Manager, Task};
use conveyor_testkit::simulate;
use conveyor_tests::{Log, consumer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what is told as a warning or worse.
struct Keeper(Log<String>);

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as one line. The ids of tasks are left out: they are not the same in all runs.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let told: fmt::Result = match field.name() {
            "id" => Ok(()),
            "message" => write!(self.0, " {value:?}:"),
            name => write!(self.0, " {name}={value:?}"),
        };
        told.unwrap();
    }
}

fn told(payload: impl conveyor::Payload, retries: u32) -> Vec<String> {
    let log = Log::new();
    tracing::subscriber::with_default(Keeper(log.clone()), || {
        simulate(7, |sim| async move {
            let handler = async |how: u32, _: Context| match how {
                0 => Ok(()),
                1 => Err(Error::from("no luck")),
                _ => panic!("no way"),
            };
            let handler = move |how, ctx| Box::pin(handler(how, ctx));
            let backoff = conveyor::Backoff::fixed(Duration::from_secs(2));
            let manager = Manager::builder()
                .runtime(sim.runtime())
                .consumers(1)
                .backoff(backoff)
                .register(consumer("work", handler, |_| {}))
                .build()
                .unwrap();
            manager.start().await.unwrap();
            manager.enqueue(Task::new("work", payload).retries(retries)).await.unwrap();
            sim.advance(Duration::from_secs(10)).await;
        });
    });
    log.all()
}

#[test]
fn a_task_that_succeeds_is_nothing_to_tell_of() {
    assert!(told(0_u32, 1).is_empty());
}

#[test]
fn each_error_is_told_and_whether_it_was_the_last() {
    let retried =
        "WARN the task will be retried: kind=work attempt=1 panicked=false delay=2s error=no luck";
    let failed = "ERROR the task failed: kind=work attempt=2 panicked=false error=no luck";
    assert_eq!(told(1_u32, 1), [retried, failed]);
}

#[test]
fn a_panic_is_told_as_one() {
    let failed = "ERROR the task failed: kind=work attempt=1 panicked=true error=panicked: no way";
    assert_eq!(told(2_u32, 0), [failed]);
}

#[test]
fn what_does_not_decode_is_told_with_the_reason() {
    let told = told("zero".to_owned(), 1);
    let [parked] = told.as_slice() else { panic!("{told:?}") };
    let reason = "ERROR the task was parked: kind=work reason=cannot decode the payload as u32";
    assert!(parked.starts_with(reason), "{parked}");
}

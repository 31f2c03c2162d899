//! [`Keeper`]: what was told to the log, for a test to look at.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::Log;

/// Keeps what is told as a warning or worse.
pub struct Keeper(pub Log<String>);

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
        told.unwrap_or_else(|_| unreachable!("a text takes any line"));
    }
}

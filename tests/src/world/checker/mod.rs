//! The checker: holds a history against what Conveyor promises.
//!
//! It goes through the history once. The model (`model.rs`) says at each step of the store whether it
//! may be so; attempts (`attempts.rs`) are held against it and against what their handlers did; what
//! waits though somebody could run it is found (`prompt.rs`); and at rest (`rest.rs`) the store must
//! be as the model says.

mod attempts;
mod claims;
mod model;
mod prompt;
mod rest;
mod schedules;

use std::fmt;
use std::time::Duration;

use conveyor::TaskId;

use super::history::Event;
use super::options::Options;
use attempts::Attempts;
use model::Model;
use prompt::Prompt;
pub use rest::AtRest;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// When.
    pub at: Duration,
    /// What must not be.
    pub what: String,
    /// The tasks concerned.
    pub tasks: Vec<TaskId>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.6} s: {}", self.at.as_secs_f64(), self.what)
    }
}

/// What was found so far, and where the checker is.
#[derive(Default)]
struct Findings {
    at: Duration,
    broken: Vec<Broken>,
}

impl Findings {
    fn wrong(&mut self, tasks: impl IntoIterator<Item = TaskId>, what: impl Into<String>) {
        let broken = Broken { at: self.at, what: what.into(), tasks: tasks.into_iter().collect() };
        self.broken.push(broken);
    }
}

/// Every promise that the history breaks, in order.
#[must_use]
pub fn check(options: &Options, events: &[Event], rest: &AtRest) -> Vec<Broken> {
    let mut found = Findings::default();
    let mut model = Model::new(options);
    let mut attempts = Attempts::new(options);
    let mut prompt = Prompt::new(options);
    for event in events {
        prompt.before(event, &model, &attempts, &mut found);
        found.at = event.at;
        attempts.before(event, &model, &mut found);
        model.apply(event, &mut found);
        attempts.after(event, &model, &mut found);
        prompt.after(event);
    }
    rest.check(&model, &mut found);
    found.broken
}

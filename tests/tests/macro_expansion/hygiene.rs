//! What a worker carries over, and what it never collides with.

use std::sync::{Arc, Mutex};

use conveyor::worker;
use conveyor_core::payload::AnyPayload;

use super::engine::{kind, run};

/// The facade under another name, as a crate that re-exports it has it.
pub mod nested {
    pub use conveyor as tasks;
}

#[worker(crate = "nested::tasks")]
async fn by_another_path(_number: u8) {}

#[worker(crate = nested::tasks)]
async fn by_a_bare_path() {}

#[derive(serde::Serialize, serde::Deserialize, conveyor::Task)]
#[task(kind = "renamed", crate = "nested::tasks")]
struct Renamed;

struct Elsewhere;

#[worker(crate = "nested::tasks")]
impl Elsewhere {
    async fn consume(&self, _renamed: &Renamed) {}
}

#[test]
fn the_facade_may_have_another_path() {
    assert!(run(&kind(by_another_path), AnyPayload::new(1u8)).succeeded());
    assert!(run(&kind(by_a_bare_path), AnyPayload::new(())).succeeded());
    assert_eq!(Elsewhere::task(Renamed).kind().as_str(), "renamed");
}

/// Documented, and for everyone.
#[worker]
pub async fn documented(/* the payload */ private: Private) -> Result<(), String> {
    Err(private.0.to_string())
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Private(u8);

/// With its worker.
pub struct Public;

#[worker]
impl Public {
    async fn consume(&self, _private: Private) {}
}

#[test]
fn a_public_worker_may_have_a_private_payload() {
    assert_eq!(documented.task(Private(1)).payload().0, 1);
    assert_eq!(Public::CONSUME.task(Private(2)).payload().0, 2);
}

#[worker]
#[cfg(not(test))]
async fn left_out(missing: Missing) {}

#[cfg(not(test))]
#[worker(kind = "left_out")]
async fn left_out(missing: Missing) {}

#[worker]
#[cfg(test)]
#[allow(unused_variables)]
#[cfg_attr(test, doc = "Taken in.")]
async fn left_out(payload: u8) {}

struct Parts;

#[worker]
impl Parts {
    #[consume]
    #[cfg(not(test))]
    async fn gone(&self, missing: Missing) {}

    #[cfg(test)]
    async fn consume(&self) {}
}

#[test]
fn what_a_cfg_leaves_out_is_left_out_whole() {
    assert_eq!(kind(left_out).kind.as_str(), "left_out");
    assert_eq!(kind(Parts).kind.as_str(), "Parts");
}

/// Names that the macro might have used.
#[worker(key = |payload| *payload, retry_if = |error| error.is_empty())]
async fn task(payload: u8) -> Result<(), String> {
    let (ctx, kind, definition, worker) = (1, 2, 3, 4);
    Err(format!("{payload}{ctx}{kind}{definition}{worker}"))
}

#[worker]
async fn call(call_me: u8) -> Result<(), String> {
    Err(call_me.to_string())
}

#[worker]
async fn r#move(r#type: u8) -> Result<(), String> {
    Err(r#type.to_string())
}

#[allow(non_upper_case_globals, dead_code)]
mod shadowed {
    /// A constant where a local may be expected.
    pub(super) const ctx: u8 = 1;
    /// Another.
    pub(super) const payload: u8 = 2;
    /// Not the one of the prelude.
    pub(super) struct Ok;
    /// Nor this.
    pub(super) struct Some;
    /// Nor this.
    pub(super) struct Result;
}

mod in_a_hostile_scope {
    #[allow(unused_imports)]
    use super::shadowed::{Ok, Result, Some, ctx, payload};

    #[conveyor::worker(queue = "q", key = |x: &u8| x.to_string())]
    pub(super) async fn hostile(number: u8) -> core::result::Result<(), String> {
        core::result::Result::Err((number + ctx + payload).to_string())
    }
}

#[test]
fn names_do_not_collide() {
    let message = |defined| run(&defined, AnyPayload::new(9u8)).failure().message;
    assert_eq!(message(kind(task)), "91234");
    assert_eq!(message(kind(call)), "9");
    assert_eq!(message(kind(r#move)), "9");
    assert_eq!(kind(r#move).kind.as_str(), "move");
    assert_eq!(message(kind(in_a_hostile_scope::hostile)), "12");
    assert_eq!(futures::executor::block_on(call::call(9)), Err("9".to_owned()));
    assert_eq!(task.task(1).kind().as_str(), "task");
}

macro_rules! workers {
    ($($name:ident($payload:ident: $ty:ty)),*) => {
        $(
            #[worker]
            async fn $name($payload: $ty) -> Result<(), String> {
                let ctx = $payload.to_string();
                Err(ctx)
            }
        )*
    };
}

workers!(first(ctx: u8), second(worker: &u8));

#[test]
fn a_macro_can_write_workers() {
    for defined in [kind(first), kind(second)] {
        assert_eq!(run(&defined, AnyPayload::new(5u8)).failure().message, "5");
    }
}

/// Keeps the names of the spans that are opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.0.lock().expect("not poisoned").push(span.metadata().name());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[worker]
#[tracing::instrument(skip_all)]
async fn below(_number: u8) {}

#[tracing::instrument(skip_all)]
#[worker]
async fn above(_number: u8) {}

struct Method;

#[worker]
impl Method {
    #[tracing::instrument(skip_all)]
    #[consume]
    async fn method(&self, _number: u8) {}
}

#[test]
fn a_span_is_named_after_the_function() {
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || {
        for defined in [kind(below), kind(above), kind(Method)] {
            assert!(run(&defined, AnyPayload::new(1u8)).succeeded());
        }
        futures::executor::block_on(below::call(1));
    });
    assert_eq!(*spans.0.lock().unwrap(), ["below", "above", "method", "below"]);
}

#[test]
fn a_worker_may_be_written_within_a_function() {
    #[worker]
    async fn local(_number: u8) {}
    assert!(run(&kind(local), AnyPayload::new(1u8)).succeeded());
}

//! What the tests of the whole share: the runtimes to run on, workers made of closures, a log of
//! what ran, and a gate to hold it up.

pub mod database;
mod gate;
mod keeper;
mod log;
mod pass_on;
pub mod setting;
pub mod slow_store;
pub mod torture;
pub mod world;

use std::future::Future;
use std::sync::Arc;

use conveyor::{Context, Definition, Payload, Worker};
use conveyor_core::outcome::IntoResult;
use conveyor_core::worker::KindDefinition;

pub use crate::gate::Gate;
pub use crate::keeper::Keeper;
pub use crate::log::Log;
pub use crate::setting::Setting;

/// A worker of one kind, made of a closure; `settings` are called on its definition.
pub fn consumer<P, H, F>(
    kind: &'static str,
    handler: H,
    settings: impl Fn(&mut KindDefinition) + Send + Sync + 'static,
) -> impl Worker
where
    P: Payload + Clone,
    H: Fn(P, Context) -> F + Send + Sync + 'static,
    F: Future<Output: IntoResult> + Send + 'static,
{
    let handler = Arc::new(handler);
    Defined(move |definition: &mut Definition| {
        let handler = Arc::clone(&handler);
        settings(definition.consume(kind, move |payload: P, ctx| handler(payload, ctx)));
    })
}

/// A worker that is defined by a closure.
pub struct Defined<D>(pub D);

impl<D: Fn(&mut Definition) + Send + Sync + 'static> Worker for Defined<D> {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        (self.0)(definition);
    }
}

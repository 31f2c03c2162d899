//! A consumer's seat: the attempt that it runs, and the claims that it has not started yet.
//!
//! The seat is where everybody else finds them: the lease keeper renews what is in it, a request to
//! cancel looks for its task in it, and a shutdown takes from it what is left.

use std::collections::VecDeque;
use std::sync::Arc;

use conveyor_core::context::{Cancelled, Context, Host};
use conveyor_core::store::Claimed;
use conveyor_core::time::Instant;
use conveyor_core::worker::catch_panic;
use conveyor_core::{Fence, TaskId};

use crate::sync::{Mutex, lock};

#[derive(Default)]
pub(crate) struct Seat(Mutex<State>);

#[derive(Default)]
struct State {
    /// Claimed, in the order in which they are to be started.
    waiting: VecDeque<Claimed>,
    /// The context of the attempt; kept after it, to be used for the next one.
    context: Option<Context>,
    /// Whether the context's attempt is under way.
    running: bool,
    /// When the claims' lease was last known to hold.
    leased_at: Instant,
    /// Everything in the seat was there when fences were last asked for.
    listed: bool,
}

impl Seat {
    /// Puts claims into the seat, to be started one after the other.
    pub(crate) fn fill(&self, claims: Vec<Claimed>, leased_at: Instant) {
        let mut state = lock(&self.0);
        state.waiting.extend(claims);
        state.leased_at = leased_at;
        state.listed = false;
    }

    /// Takes the next claim for which `start` gives a deadline, or says by an error that it must
    /// not start; then it is given back with the error.
    pub(crate) fn start<E>(
        &self,
        host: &Arc<dyn Host>,
        start: impl FnOnce(&mut Claimed) -> Result<Option<Instant>, E>,
    ) -> Option<Result<Context, (Claimed, E)>> {
        let mut state = lock(&self.0);
        state.running = false;
        let mut claimed = state.waiting.pop_front()?;
        let deadline = match start(&mut claimed) {
            Ok(deadline) => deadline,
            Err(error) => return Some(Err((claimed, error))),
        };
        let context = state.context.as_mut();
        let previous = if context.is_some_and(|context| context.reuse(&mut claimed, deadline)) {
            (Some(claimed), None)
        } else {
            let context = Context::new(claimed, deadline, Arc::clone(host));
            (None, state.context.replace(context))
        };
        state.running = true;
        let context = state.context.clone();
        drop(state);
        let_go(previous);
        context.map(Ok)
    }

    /// Says that the attempt under way is over.
    pub(crate) fn finish(&self) {
        lock(&self.0).running = false;
    }

    /// Takes the claims that have not started.
    pub(crate) fn take_waiting(&self) -> Vec<Claimed> {
        lock(&self.0).waiting.drain(..).collect()
    }

    /// Takes everything: the claims that have not started, and the attempt that has.
    pub(crate) fn clear(&self) -> (Vec<Claimed>, Option<Context>) {
        let mut state = lock(&self.0);
        let (waiting, context) = (state.waiting.drain(..).collect(), state.context.take());
        let running = std::mem::take(&mut state.running);
        drop(state);
        if running {
            (waiting, context)
        } else {
            let_go(context);
            (waiting, None)
        }
    }

    /// The attempt under way.
    pub(crate) fn running(&self) -> Option<Context> {
        let state = lock(&self.0);
        state.context.clone().filter(|_| state.running)
    }

    /// Adds the fences of everything in the seat, to be renewed.
    pub(crate) fn fences(&self, into: &mut Vec<Fence>) {
        let mut state = lock(&self.0);
        state.listed = true;
        if let (Some(context), true) = (&state.context, state.running) {
            into.push(context.fence());
        }
        into.extend(state.waiting.iter().map(|claimed| claimed.fence));
    }

    /// Notes that the leases of the fences that were last listed hold from `asked_at` on. Claims
    /// that came into the seat since were not renewed with them.
    pub(crate) fn renewed(&self, asked_at: Instant) {
        let mut state = lock(&self.0);
        if state.listed {
            state.leased_at = state.leased_at.max(asked_at);
        }
    }

    /// When the seat's leases were last known to hold; `None` if it is empty.
    pub(crate) fn leased_at(&self) -> Option<Instant> {
        let state = lock(&self.0);
        (state.running || !state.waiting.is_empty()).then_some(state.leased_at)
    }

    /// Asks the attempt under way to stop.
    pub(crate) fn cancel(&self, why: Cancelled) {
        if let Some(context) = self.running() {
            context.cancel(why);
        }
    }

    /// Has a task cancelled on request, if it is in the seat.
    pub(crate) fn cancel_task(&self, task: TaskId) -> bool {
        let mut state = lock(&self.0);
        if let Some(waiting) = state.waiting.iter_mut().find(|claimed| claimed.fence.task == task) {
            waiting.cancel = true;
            return true;
        }
        match &state.context {
            Some(context) if state.running && context.id() == task => {
                context.cancel(Cancelled::Requested);
                true
            }
            _ => false,
        }
    }

    /// Drops a claim whose lease is lost, or asks its attempt to stop.
    pub(crate) fn lose(&self, fence: Fence) {
        let mut state = lock(&self.0);
        let waiting = state.waiting.iter().position(|claimed| claimed.fence == fence);
        let lost = waiting.and_then(|at| state.waiting.remove(at));
        if let Some(context) = &state.context
            && state.running
            && context.fence() == fence
        {
            context.cancel(Cancelled::LeaseLost);
        }
        drop(state);
        let_go(lost);
    }
}

/// Drops claims or contexts. A payload may go with them, whose drop is a user's code: it must not
/// run under a lock, nor end who runs it by a panic.
pub(crate) fn let_go<T>(claims: T) {
    if let Err(panic) = catch_panic(|| drop(claims)) {
        tracing::warn!(%panic, "a payload panicked when it was dropped");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_renewal_is_no_news_of_claims_that_came_after_it_was_asked_for() {
        let (seat, start) = (Seat::default(), Instant::default());
        let later = start + Duration::from_secs(5);
        seat.fences(&mut Vec::new());
        seat.fill(Vec::new(), start);
        seat.renewed(later);
        assert_eq!(lock(&seat.0).leased_at, start);
        seat.fences(&mut Vec::new());
        seat.renewed(later);
        assert_eq!(lock(&seat.0).leased_at, later);
    }
}

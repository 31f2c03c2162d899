//! Execute: one attempt, from its payload to how it went.
//!
//! Read [`begin`] and [`go_on`]: decode → run → wait within the deadline → outcome. A panic
//! anywhere in the handler's code is caught where that code is called.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use conveyor_core::codec::CodecError;
use conveyor_core::context::{Cancelled, Context};
use conveyor_core::outcome::{Failure, Outcome};
use conveyor_core::runtime::Runtime;
use conveyor_core::worker::{Slot, catch_panic};

/// How long a handler has to return that a shutdown asks to stop, at most.
const STOP_GRACE: Duration = Duration::from_millis(100);

/// How an attempt went.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The payload could not be decoded; the handler was not called.
    Undecodable(CodecError),
    /// The handler returned.
    Returned(Result<Outcome, Failure>),
    /// The handler panicked.
    Panicked(String),
    /// The handler was asked to stop, and was dropped when it did not within its grace.
    Dropped,
}

/// Begins an attempt in a consumer's slot for its kind, and runs it as far as it goes without
/// waiting: a handler that does not wait is done then, and costs no timer.
pub(crate) fn begin(
    slot: &mut dyn Slot,
    ctx: &Context,
    cx: &mut std::task::Context<'_>,
) -> Poll<Attempt> {
    // Decode: by the handler's own code, which may panic as any other.
    match catch_panic(|| slot.start(ctx.clone())) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Poll::Ready(Attempt::Undecodable(error)),
        Err(panic) => return Poll::Ready(clear(slot, Attempt::Panicked(panic))),
    }
    poll_slot(slot, cx).map(|attempt| clear(slot, attempt))
}

/// Goes on with an attempt that waits, until it is done or its time is up.
pub(crate) async fn go_on(
    runtime: &dyn Runtime,
    slot: &mut dyn Slot,
    ctx: &Context,
    cancel_grace: Duration,
) -> Attempt {
    let attempt = within_deadline(runtime, slot, ctx, cancel_grace).await;
    clear(slot, attempt)
}

async fn within_deadline(
    runtime: &dyn Runtime,
    slot: &mut dyn Slot,
    ctx: &Context,
    cancel_grace: Duration,
) -> Attempt {
    let mut stop = pin!(ctx.cancelled());
    let mut stopping = false;
    // First the deadline's, then the grace's.
    let mut timer = ctx.deadline().map(|deadline| runtime.sleep_until(deadline));
    poll_fn(|cx| {
        if let Poll::Ready(attempt) = poll_slot(slot, cx) {
            return Poll::Ready(attempt);
        }
        loop {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                // A shutdown's deadline is kept, whatever a worker's grace.
                let grace = match ctx.cancellation() {
                    Some(Cancelled::Shutdown) => cancel_grace.min(STOP_GRACE),
                    _ => cancel_grace,
                };
                timer = Some(runtime.sleep_until(runtime.now() + grace));
            }
            match timer.as_mut().map(|timer| Pin::new(timer).poll(cx)) {
                Some(Poll::Ready(())) if stopping => return Poll::Ready(Attempt::Dropped),
                Some(Poll::Ready(())) => {
                    // The handler hears of it before anything is done about it.
                    timer = None;
                    ctx.cancel(Cancelled::Timeout);
                }
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    })
    .await
}

fn poll_slot(slot: &mut dyn Slot, cx: &mut std::task::Context<'_>) -> Poll<Attempt> {
    match catch_panic(|| slot.poll(cx)) {
        Ok(Poll::Ready(result)) => Poll::Ready(Attempt::Returned(result)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Attempt::Panicked(panic)),
    }
}

/// Drops the handler's future. A panic in that drop is the attempt's own, unless it failed anyway.
fn clear(slot: &mut dyn Slot, attempt: Attempt) -> Attempt {
    match (catch_panic(|| slot.clear()), attempt) {
        (Err(panic), Attempt::Returned(Ok(_))) => Attempt::Panicked(panic),
        (_, attempt) => attempt,
    }
}

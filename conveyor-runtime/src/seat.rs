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

/// How many requests to cancel an empty seat remembers: more than come while a claim is on its way
/// to it. One that is forgotten is told by the next renewal.
const REMEMBERED: usize = 16;

#[derive(Default)]
pub(crate) struct Seat(Mutex<State>);

#[derive(Default)]
struct State {
    /// Claimed, in the order in which they are to be started.
    waiting: VecDeque<Claimed>,
    /// Which of them must not start, since their lease is lost.
    lost: Vec<Fence>,
    /// What was to be cancelled while the seat was empty, the last ones: a claim of it may have been
    /// on its way.
    cancelled: VecDeque<TaskId>,
    /// The context of the attempt; kept after it, to be used for the next one.
    context: Option<Context>,
    /// Whether the context's attempt is under way.
    running: bool,
    /// When the last claims came.
    filled_at: Instant,
    /// When the claims' lease was last known to hold.
    leased_at: Instant,
}

/// How things stand with a claim that is next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Its lease is lost.
    pub(crate) lost: bool,
    /// When its lease was last known to hold.
    pub(crate) leased_at: Instant,
    /// Other claims wait behind it.
    pub(crate) others: bool,
}

/// What is to become of a claim that is next.
pub(crate) enum Answer<E> {
    /// It starts, with that deadline.
    Start(Option<Instant>),
    /// It must not start.
    Refuse(E),
    /// It stays where it is, for now.
    Wait,
}

/// What became of the claim that was next.
pub(crate) enum Next<E> {
    /// There was none.
    Nothing,
    /// It is the seat's attempt now.
    Started(Context),
    /// It was given back, and why.
    Refused(Claimed, E),
    /// It waits still.
    Waits,
}

impl Seat {
    /// Puts claims into the seat that are leased from then on, to be started one after the other.
    pub(crate) fn fill(&self, mut claims: Vec<Claimed>, leased_at: Instant, now: Instant) {
        let mut state = lock(&self.0);
        for task in state.cancelled.drain(..) {
            if let Some(claimed) = claims.iter_mut().find(|claimed| claimed.fence.task == task) {
                claimed.cancel = true;
            }
        }
        state.waiting.extend(claims);
        state.filled_at = now;
        state.leased_at = leased_at;
    }

    /// Takes up the next claim, if `answer` says so.
    pub(crate) fn start<E>(
        &self,
        host: &Arc<dyn Host>,
        answer: impl FnOnce(&mut Claimed, Standing) -> Answer<E>,
    ) -> Next<E> {
        let mut state = lock(&self.0);
        state.running = false;
        let Some(mut claimed) = state.waiting.pop_front() else {
            return Next::Nothing;
        };
        let lost = state.lost.iter().position(|&lost| lost == claimed.fence);
        let standing = Standing {
            lost: lost.is_some(),
            leased_at: state.leased_at,
            others: !state.waiting.is_empty(),
        };
        let answer = answer(&mut claimed, standing);
        if matches!(answer, Answer::Wait) {
            state.waiting.push_front(claimed);
            return Next::Waits;
        }
        if let Some(at) = lost {
            state.lost.swap_remove(at);
        }
        let deadline = match answer {
            Answer::Start(deadline) => deadline,
            Answer::Refuse(why) => return Next::Refused(claimed, why),
            Answer::Wait => unreachable!("it was looked at above"),
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
        context.map_or(Next::Nothing, Next::Started)
    }

    /// Says that the attempt under way is over.
    pub(crate) fn finish(&self) {
        lock(&self.0).running = false;
    }

    /// Takes the claims behind the next one.
    pub(crate) fn take_others(&self) -> Vec<Claimed> {
        let mut state = lock(&self.0);
        let others: Vec<Claimed> = state.waiting.drain(1..).collect();
        state.lost.retain(|lost| others.iter().all(|other| other.fence != *lost));
        others
    }

    /// Takes the claims that have not started.
    pub(crate) fn take_waiting(&self) -> Vec<Claimed> {
        let mut state = lock(&self.0);
        state.lost.clear();
        state.waiting.drain(..).collect()
    }

    /// Takes everything: the claims that have not started, and the attempt that has.
    pub(crate) fn clear(&self) -> (Vec<Claimed>, Option<Context>) {
        let mut state = lock(&self.0);
        let (waiting, context) = (state.waiting.drain(..).collect(), state.context.take());
        let running = std::mem::take(&mut state.running);
        state.lost.clear();
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

    /// Adds the fences of everything in the seat.
    pub(crate) fn fences(&self, into: &mut Vec<Fence>) {
        let state = lock(&self.0);
        if let (Some(context), true) = (&state.context, state.running) {
            into.push(context.fence());
        }
        into.extend(state.waiting.iter().map(|claimed| claimed.fence));
    }

    /// Notes that the leases of everything that was in the seat at `asked_at` hold from then on, but
    /// for those whose tasks were `busy`. Claims that came since were not renewed with them.
    ///
    /// A task is busy while a transaction holds it, and nobody else can take it away then. If it is
    /// its own attempt's, that is as good as a lease.
    pub(crate) fn renewed(&self, asked_at: Instant, busy: &[Fence]) {
        let mut state = lock(&self.0);
        let is_busy = |fence: Fence| busy.contains(&fence);
        let running = state.context.as_ref().filter(|_| state.running);
        let is_held = state.waiting.iter().all(|claimed| !is_busy(claimed.fence))
            && running.is_none_or(|context| context.is_settled() || !is_busy(context.fence()));
        if state.filled_at < asked_at && is_held {
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

    /// Has a task cancelled on request, if it is in the seat, or is on its way to it.
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
            _ => {
                state.remember_cancelled(task);
                false
            }
        }
    }

    /// Has a claim whose lease is lost not start, or asks its attempt to stop. It stays here for
    /// the consumer, who gives back what else went with it: a permit, and its place in the count of
    /// what is held.
    pub(crate) fn lose(&self, fence: Fence) {
        let mut state = lock(&self.0);
        let waits = state.waiting.iter().any(|claimed| claimed.fence == fence);
        if waits && !state.lost.contains(&fence) {
            state.lost.push(fence);
        }
        if let Some(context) = &state.context
            && state.running
            && context.fence() == fence
            // Else it is over by its own doing, as a rule: by a transaction that committed.
            && !context.is_settled()
        {
            context.cancel(Cancelled::LeaseLost);
        }
    }
}

impl State {
    fn remember_cancelled(&mut self, task: TaskId) {
        let is_empty = !self.running && self.waiting.is_empty();
        if is_empty && !self.cancelled.contains(&task) {
            if self.cancelled.len() == REMEMBERED {
                self.cancelled.pop_front();
            }
            self.cancelled.push_back(task);
        }
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

    use conveyor_core::codec::Codecs;
    use conveyor_core::payload::AnyPayload;
    use conveyor_core::runtime::{BoxFuture, Runtime};
    use conveyor_core::states::States;
    use conveyor_core::store::{Budgets, NewTask, Store};
    use conveyor_core::{
        AnyTask, End, EnqueueError, Incarnation, Kind, Priority, QueueName, Receipt, WaitError,
    };

    use super::*;

    struct NoHost;

    impl Host for NoHost {
        fn enqueue(&self, _: AnyTask) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
            unimplemented!("nothing is run here")
        }

        fn wait(&self, _: TaskId) -> BoxFuture<'_, Result<End, WaitError>> {
            unimplemented!("nothing is run here")
        }

        fn runtime(&self) -> &Arc<dyn Runtime> {
            unimplemented!("nothing is run here")
        }

        fn states(&self) -> &States {
            unimplemented!("nothing is run here")
        }

        fn codecs(&self) -> &Codecs {
            unimplemented!("nothing is run here")
        }

        fn store(&self) -> &dyn Store {
            unimplemented!("nothing is run here")
        }

        fn new_task(&self, _: AnyTask) -> Result<NewTask, EnqueueError> {
            unimplemented!("nothing is run here")
        }
    }

    fn claimed(task: u128) -> Claimed {
        Claimed {
            fence: Fence {
                task: TaskId::from_u128(task),
                epoch: 1,
                incarnation: Incarnation::new(1),
            },
            ticket: 0,
            kind: Kind::from_static("work"),
            queue: QueueName::DEFAULT,
            key: None,
            priority: Priority::NORMAL,
            payload: AnyPayload::new(()),
            timeout: None,
            retries: None,
            budgets: Budgets::default(),
            cancel: false,
        }
    }

    /// Dropped by the lease keeper, a claim would take its permit along for ever.
    #[test]
    fn a_claim_whose_lease_is_lost_does_not_start_and_comes_back() {
        let host: Arc<dyn Host> = Arc::new(NoHost);
        let seat = Seat::default();
        seat.fill(vec![claimed(1), claimed(2)], Instant::default(), Instant::default());
        for _ in 0..2 {
            // Each renewal finds so, as long as it is here.
            seat.lose(claimed(1).fence);
        }
        let next =
            || {
                seat.start(&host, |_, standing| {
                    if standing.lost { Answer::Refuse(()) } else { Answer::Start(None) }
                })
            };
        let Next::Refused(back, ()) = next() else { panic!("it must not start") };
        assert_eq!(back.fence, claimed(1).fence);
        let Next::Started(context) = next() else { panic!("its lease is held") };
        assert_eq!(context.fence(), claimed(2).fence);
        assert!(matches!(next(), Next::Nothing));
    }

    #[test]
    fn what_is_lost_and_gone_leaves_no_mark_behind_for_a_claim_to_come() {
        let host: Arc<dyn Host> = Arc::new(NoHost);
        let seat = Seat::default();
        let fill = |tasks: &[u128]| {
            let claims = tasks.iter().copied().map(claimed).collect();
            seat.fill(claims, Instant::default(), Instant::default());
        };
        let lose = |task| seat.lose(claimed(task).fence);
        let next_is_lost = || {
            let answer = |_: &mut Claimed, standing: Standing| Answer::Refuse(standing.lost);
            match seat.start(&host, answer) {
                Next::Refused(_, lost) => lost,
                _ => panic!("it is refused"),
            }
        };

        // It was given back.
        fill(&[1]);
        lose(1);
        lose(1);
        assert!(next_is_lost());
        fill(&[1]);
        assert!(!next_is_lost());

        // It was not here, or has started.
        fill(&[2]);
        lose(3);
        assert!(matches!(seat.start(&host, |_, _| Answer::<()>::Start(None)), Next::Started(_)));
        fill(&[4]);
        lose(2);
        assert!(!next_is_lost());
        fill(&[3, 2]);
        assert_eq!([next_is_lost(), next_is_lost()], [false, false]);

        // It was taken away, and what stays is lost still.
        fill(&[5, 6]);
        lose(5);
        lose(6);
        assert_eq!(seat.take_others().len(), 1);
        assert!(next_is_lost());
        fill(&[6]);
        assert!(!next_is_lost());
        fill(&[7]);
        lose(7);
        assert_eq!(seat.take_waiting().len(), 1);
        fill(&[7]);
        assert!(!next_is_lost());
    }

    #[test]
    fn a_claim_that_waits_keeps_its_place_and_is_in_the_seat_all_the_time() {
        let host: Arc<dyn Host> = Arc::new(NoHost);
        let seat = Seat::default();
        seat.fill(vec![claimed(1), claimed(2)], Instant::default(), Instant::default());
        let waits = |_: &mut Claimed, standing: Standing| {
            if standing.others { Answer::<()>::Wait } else { Answer::Start(None) }
        };
        assert!(matches!(seat.start(&host, waits), Next::Waits));
        let mut fences = Vec::new();
        seat.fences(&mut fences);
        assert_eq!(fences, [claimed(1).fence, claimed(2).fence]);
        assert_eq!(seat.take_others().len(), 1);
        let Next::Started(context) = seat.start(&host, waits) else { panic!("it is alone") };
        assert_eq!(context.fence(), claimed(1).fence);
    }

    /// Its result is on its way to the store then, and nothing changes it any more.
    #[test]
    fn an_attempt_that_is_over_is_not_in_the_seat() {
        let host: Arc<dyn Host> = Arc::new(NoHost);
        let seat = Seat::default();
        seat.fill(vec![claimed(1)], Instant::default(), Instant::default());
        let started = seat.start(&host, |_, _| Answer::<()>::Start(None));
        let Next::Started(context) = started else { panic!("it starts") };
        assert!(seat.running().is_some());
        seat.finish();
        seat.cancel(Cancelled::Shutdown);
        seat.lose(context.fence());
        assert!(!seat.cancel_task(context.id()));
        assert_eq!(context.cancellation(), None);
        let mut fences = Vec::new();
        seat.fences(&mut fences);
        assert_eq!((fences, seat.leased_at()), (vec![], None));
        assert!(seat.running().is_none() && seat.clear().1.is_none());
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_ends_nobody() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("no way");
            }
        }
        let_go(vec![Some(Bomb)]);
    }

    #[test]
    fn a_renewal_is_no_news_of_claims_that_came_after_it_was_asked_for() {
        let (seat, start) = (Seat::default(), Instant::default());
        let (filled, asked) = (start + Duration::from_secs(2), start + Duration::from_secs(1));
        seat.fill(vec![claimed(1)], start, filled);
        for unsure in [asked, filled] {
            seat.renewed(unsure, &[]);
            assert_eq!(seat.leased_at(), Some(start));
        }
        let asked = start + Duration::from_secs(5);
        seat.renewed(asked, &[]);
        assert_eq!(seat.leased_at(), Some(asked));
    }

    #[test]
    fn a_task_that_a_transaction_holds_keeps_its_seat_from_being_renewed_unless_it_is_its_own() {
        let (start, second) = (Instant::default(), Duration::from_secs(1));
        let host: Arc<dyn Host> = Arc::new(NoHost);
        let renewed_at = |settled: bool, busy: &[u128]| {
            let seat = Seat::default();
            seat.fill(vec![claimed(1), claimed(2)], start, start);
            let next = seat.start(&host, |_, _| Answer::<()>::Start(None));
            let Next::Started(context) = next else { panic!("it starts") };
            if settled {
                context.note_settled();
            }
            let busy: Vec<Fence> = busy.iter().map(|&task| claimed(task).fence).collect();
            seat.renewed(start + second, &busy);
            seat.leased_at().unwrap()
        };
        assert_eq!(renewed_at(false, &[3]), start + second, "another's");
        assert_eq!(renewed_at(false, &[1]), start);
        assert_eq!(renewed_at(true, &[1]), start + second, "nobody takes it away meanwhile");
        assert_eq!(renewed_at(true, &[2]), start);
    }

    #[test]
    fn an_attempt_that_settled_itself_is_not_told_that_it_lost_its_lease() {
        let (seat, host) = (Seat::default(), Arc::new(NoHost) as Arc<dyn Host>);
        for task in [1, 2] {
            seat.fill(vec![claimed(task)], Instant::default(), Instant::default());
            let next = seat.start(&host, |_, _| Answer::<()>::Start(None));
            let Next::Started(context) = next else { panic!("it starts") };
            if task == 1 {
                context.note_settled();
            }
            seat.lose(claimed(task).fence);
            // The second attempt reuses the context of the first.
            assert_eq!(context.is_cancelled(), task == 2);
        }
    }

    /// Else the attempt would hear of it by the next renewal, a third of a lease later.
    #[test]
    fn a_request_that_comes_before_its_claim_is_remembered_for_it() {
        let (seat, host) = (Seat::default(), Arc::new(NoHost) as Arc<dyn Host>);
        for task in (1..=30).chain([1, 1]) {
            assert!(!seat.cancel_task(TaskId::from_u128(task)));
        }
        let cancelled = |tasks: &[u128]| {
            let claims = tasks.iter().copied().map(claimed).collect();
            seat.fill(claims, Instant::default(), Instant::default());
            let next = || match seat.start(&host, |claimed, _| Answer::Refuse(claimed.cancel)) {
                Next::Refused(_, cancel) => cancel,
                _ => panic!("it is refused"),
            };
            tasks.iter().map(|_| next()).collect::<Vec<_>>()
        };
        assert_eq!(cancelled(&[29, 2, 1]), [true, false, true], "the last ones");
        assert_eq!(cancelled(&[30]), [false], "only for the claims that were on their way");
        seat.fill(vec![claimed(4)], Instant::default(), Instant::default());
        assert!(!seat.cancel_task(TaskId::from_u128(5)));
        assert_eq!(seat.take_waiting().len(), 1);
        assert_eq!(cancelled(&[5]), [false], "nothing is on its way to a seat that is taken");
    }
}

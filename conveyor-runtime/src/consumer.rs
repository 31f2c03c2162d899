//! A consumer: claims tasks, executes them one at a time, and settles how they ended.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use conveyor_core::Priority;
use conveyor_core::context::{Context, Host};
use conveyor_core::plant::{Plant, planted};
use conveyor_core::store::{Claimed, Settle, Verdict};
use conveyor_core::time::Instant;
use conveyor_core::worker::{Slot, catch_panic};
use futures::future::join;
use tracing::Instrument;

use crate::claim::Wants;
use crate::engine::{Engine, RetryPause};
use crate::execute;
use crate::lease;
use crate::phase::Phase;
use crate::pool::Pool;
use crate::quarantine::Wait;
use crate::registry::Workers;
use crate::seat::{Answer, Next, Seat, Standing, let_go};
use crate::verdict::settle_unstarted;

/// The most tasks that a consumer claims at once, if its last ones were all cheap.
const MOST_AT_ONCE: usize = 32;

/// A kind whose attempts neither wait nor take longer than this is cheap.
const CHEAP: Duration = Duration::from_micros(20);

pub(crate) struct Consumer {
    engine: Arc<Engine>,
    pool: Arc<Pool>,
    /// Its number in the pool.
    number: usize,
    wants: Wants,
    /// Its own place for the attempts of each kind, in the order of the workers.
    slots: Vec<Option<Box<dyn Slot>>>,
    /// How attempts ended that are not settled yet.
    ended: Vec<Settle>,
    /// How many tasks it claims at once.
    at_once: usize,
    /// The last claim told of suspects.
    suspects: bool,
    /// When it first asked for its last claim.
    asked_at: Instant,
    /// It was woken, and has not claimed since.
    woken: bool,
}

/// Why a claim is not started.
enum NotStarted {
    /// It is to be cancelled.
    Cancelled,
    /// The process stops, or has the code or the lease for it no more. If it is the lease, the
    /// store refuses what is handed back.
    HandBack,
}

impl Consumer {
    pub(crate) fn new(engine: Arc<Engine>, pool: Arc<Pool>, number: usize) -> Self {
        let wants = Wants::new(&engine);
        let slots = no_slots(wants.workers());
        Consumer {
            engine,
            pool,
            number,
            wants,
            slots,
            ended: Vec::new(),
            at_once: 1,
            suspects: false,
            asked_at: Instant::default(),
            woken: false,
        }
    }

    fn seat(&self) -> &Seat {
        &self.pool.seats[self.number]
    }

    fn min_priority(&self) -> Priority {
        self.pool.min[self.number]
    }

    /// Consumes until the manager stops.
    pub(crate) async fn run(mut self) {
        let mut pause = RetryPause::new();
        while self.engine.phases.now() < Phase::Draining {
            if self.engine.quarantine.is_on() {
                self.engine.quarantine.lifted().await;
                continue;
            }
            match self.claim_or_wait().await {
                Ok(claimed) => {
                    pause.reset();
                    self.work(claimed).await;
                    if std::mem::take(&mut self.suspects) {
                        self.run_suspects().await;
                    }
                }
                // A store that fails never ends a consumer.
                Err(_) => pause.wait(&self.engine).await,
            }
        }
        while self.wants.is_unanswered() && self.engine.phases.now() < Phase::Stopped {
            match self.claim().await {
                // Handed back: nothing is started any more.
                Ok(claimed) => self.work(claimed).await,
                Err(_) => pause.wait(&self.engine).await,
            }
        }
    }

    /// Claims tasks; if there are none, waits for a wake-up, and returns with nothing.
    async fn claim_or_wait(&mut self) -> Result<Vec<Claimed>, conveyor_core::store::StoreError> {
        let found = self.claim().await?;
        let woken = std::mem::take(&mut self.woken);
        if !found.is_empty() || self.suspects {
            return Ok(found);
        }
        if woken {
            self.pass_wake_up_on();
        }
        let (pool, number) = (Arc::clone(&self.pool), self.number);
        let idle = Idle::enter(&pool, number);
        // The last look, after which no wake-up can be missed.
        let found = if planted(Plant::WakeUpLost) { Vec::new() } else { self.claim().await? };
        let stay = found.is_empty() && !self.suspects && self.engine.phases.now() < Phase::Draining;
        if stay {
            idle.wait().await;
            self.woken = true;
        } else if idle.leave() {
            // The wake-up that came meanwhile may have been for what is still there, also if there
            // was room for more: that may have been room for other kinds.
            pool.look();
        }
        Ok(found)
    }

    /// Wakes somebody who takes less urgent tasks too: the task that this consumer was woken for
    /// may have gone to one who was woken for another, and that one is left.
    fn pass_wake_up_on(&self) {
        if let Some(less_urgent) = self.min_priority().get().checked_sub(1) {
            self.pool.idle.wake(Priority::new(less_urgent), 1);
        }
    }

    async fn claim(&mut self) -> Result<Vec<Claimed>, conveyor_core::store::StoreError> {
        if self.wants.refresh(&self.engine) {
            self.slots = no_slots(self.wants.workers());
        }
        let lent = planted(Plant::ReservedLentOut);
        let min = if lent { Priority::MIN } else { self.min_priority() };
        let at_once = self.at_once;
        self.note_ask();
        let claim = self.wants.claim(&self.engine, &self.pool, min, at_once, false).await?;
        // After a quarantine that failed they wait for their time; polling finds them then.
        self.suspects |= claim.suspects && self.engine.quarantine.may_begin(&self.engine);
        Ok(claim.tasks)
    }

    /// Notes when it asks. What it was given at first, and was not told of, is leased from then on.
    fn note_ask(&mut self) {
        if !self.wants.is_unanswered() {
            self.asked_at = self.engine.runtime.now();
        }
    }

    /// Runs tasks that were there when a process died, each with nothing beside it.
    async fn run_suspects(&mut self) {
        let engine = Arc::clone(&self.engine);
        let Some(mut quarantine) = engine.quarantine.begin(&engine) else {
            return;
        };
        let mut pause = RetryPause::new();
        loop {
            let is_quiet = match quarantine.wait().await {
                Wait::Quiet => true,
                Wait::Look => false,
                Wait::Over => break,
            };
            let min = self.min_priority();
            self.note_ask();
            // Without room nothing is given: this process must go quiet first, also of attempts whose
            // leases the store knows to be lost.
            let room = usize::from(is_quiet);
            let claim = self.wants.claim(&engine, &self.pool, min, room, true).await;
            match claim {
                Ok(claim) if !claim.tasks.is_empty() => {
                    self.work(claim.tasks).await;
                    quarantine.made_progress();
                    pause.reset();
                }
                Ok(claim) if claim.suspects && !is_quiet => {}
                // The store knows of a claim that this process does not know of yet.
                Ok(claim) if claim.suspects => pause.wait(&engine).await,
                _ => break,
            }
        }
    }

    /// Executes what was claimed, one after the other.
    async fn work(&mut self, claimed: Vec<Claimed>) {
        if claimed.is_empty() {
            return;
        }
        let host = self.engine.host();
        let workers = Arc::clone(self.wants.workers());
        let mut now = self.engine.runtime.now();
        // The leases run from the request on, at the latest.
        self.seat().fill(claimed, self.asked_at, now);
        let mut all_cheap = true;
        loop {
            match self.start(&host, now) {
                Next::Nothing => break,
                Next::Waits => {
                    self.clear_others(&workers).await;
                    now = self.engine.runtime.now();
                }
                Next::Started(ctx) => {
                    let cheap = self.attempt(&workers, ctx, &mut now).await;
                    all_cheap &= cheap;
                }
                Next::Refused(claimed, NotStarted::HandBack) => {
                    self.give_permit_back(&claimed);
                    let stops = self.engine.phases.now() >= Phase::Draining;
                    if stops && planted(Plant::ShutdownKeepsClaims) {
                        continue;
                    }
                    self.ended.push(Engine::hand_back(&claimed));
                }
                Next::Refused(claimed, NotStarted::Cancelled) => {
                    self.give_permit_back(&claimed);
                    let why = "cancelled on request".to_owned();
                    self.ended.push(settle_unstarted(&claimed, Verdict::Cancel { why }));
                }
            }
        }
        self.engine.settle(&mut self.ended).await;
        self.at_once = if all_cheap { (self.at_once * 2).min(MOST_AT_ONCE) } else { 1 };
        yield_now().await;
    }

    /// Takes up the next claim in the seat, if it is to be started.
    fn start(&self, host: &Arc<dyn Host>, now: Instant) -> Next<NotStarted> {
        self.seat().start(host, |claimed, Standing { lost, leased_at, others }| {
            if claimed.cancel && !lost {
                return Answer::Refuse(NotStarted::Cancelled);
            }
            let may_not_hold = lost || lease::is_too_old(&self.engine, leased_at, now);
            if may_not_hold || self.engine.phases.now() >= Phase::Draining {
                return Answer::Refuse(NotStarted::HandBack);
            }
            let workers = self.wants.workers();
            let Some(at) = workers.position(&claimed.kind) else {
                return Answer::Refuse(NotStarted::HandBack);
            };
            if (others || !self.ended.is_empty()) && !self.wants.is_cheap(at) {
                // It may block or wait for long: nothing else is to wait with it. What that takes
                // comes before it starts, or its lease might be over by then.
                return Answer::Wait;
            }
            // What the task does not say, the worker decides.
            let worker = workers.at(at);
            claimed.retries = claimed.retries.or(Some(worker.retry.retries));
            claimed.timeout = claimed.timeout.or(worker.timeout);
            Answer::Start(claimed.timeout.map(|timeout| now + timeout))
        })
    }

    /// Hands back what waits behind the next claim, and settles what has ended.
    async fn clear_others(&mut self, workers: &Workers) {
        let others = self.pool.seats[self.number].take_others();
        clear_desk(&self.engine, workers, others, &mut self.ended).await;
    }

    /// Runs one attempt that starts `now`, and moves that on to its end; `true` if it was cheap.
    async fn attempt(&mut self, workers: &Workers, ctx: Context, now: &mut Instant) -> bool {
        let Consumer { engine, pool, number, wants, slots, ended, asked_at, .. } = self;
        let seat = &pool.seats[*number];
        let at = workers.position(ctx.kind()).expect("invariant: it was just looked up");
        let worker = workers.at(at);
        let slot = slots[at].get_or_insert_with(|| worker.definition.handler.slot());
        let span = tracing::info_span!(
            "task", kind = %ctx.kind(), id = %ctx.id(), attempt = ctx.attempt()
        );
        let begun =
            poll_fn(|cx| Poll::Ready(span.in_scope(|| execute::begin(&mut **slot, &ctx, cx))));
        let (attempt, waited) = match begun.await {
            Poll::Ready(attempt) => (attempt, false),
            Poll::Pending => {
                // What else is at hand must not wait with it. Nor does it wait for that, which may
                // take as long as the store is away. Boxed, so that one that never waits is small.
                let goes_on =
                    execute::go_on(&*engine.runtime, &mut **slot, &ctx, worker.cancel_grace);
                let others = clear_desk(engine, workers, seat.take_waiting(), ended);
                (Box::pin(join(goes_on, others).instrument(span)).await.0, true)
            }
        };
        let started = std::mem::replace(now, engine.runtime.now());
        let lease = engine.settings.lease;
        // The request is looked at first: it is at hand, and recent for all but long attempts.
        let slept = now.saturating_since(*asked_at) >= lease
            && seat.leased_at().is_some_and(|at| now.saturating_since(at) >= lease);
        seat.finish();
        let cheap = !waited && now.saturating_since(started) <= CHEAP;
        wants.set_cheap(at, cheap);
        let settle = engine.judge(worker, &ctx, attempt);
        engine.tally.note(engine.phases.now(), &settle.verdict);
        // From here on it is settled, also by a shutdown that does not wait for what follows.
        ended.push(settle);
        if let Some(permits) = &worker.permits {
            permits.give_back_used(&engine.signals);
        }
        if slept {
            lease::renew_after_sleep(engine).await;
        }
        cheap
    }

    fn give_permit_back(&self, claimed: &Claimed) {
        let worker = self.wants.workers().get(&claimed.kind);
        if let Some(permits) = worker.and_then(|worker| worker.permits.as_ref()) {
            permits.give_back_unused(None, &self.engine.signals);
        }
    }
}

/// Hands back what a consumer has not started, and settles what has ended. `workers` are those of
/// the claim, which the permits were taken from: the registry may have others by now.
async fn clear_desk(
    engine: &Engine,
    workers: &Workers,
    waiting: Vec<Claimed>,
    ended: &mut Vec<Settle>,
) {
    ended.extend(waiting.iter().map(Engine::hand_back));
    engine.settle(ended).await;
    for claimed in &waiting {
        let worker = workers.get(&claimed.kind);
        if let Some(permits) = worker.and_then(|worker| worker.permits.as_ref()) {
            permits.give_back_unused(None, &engine.signals);
        }
    }
    waiting.into_iter().for_each(let_go);
}

fn no_slots(workers: &Workers) -> Vec<Option<Box<dyn Slot>>> {
    workers.iter().map(|_| None).collect()
}

/// A consumer that is dropped before its end hands back what it holds: at once if the store answers
/// at once, else by a task of its own. Where nothing is spawned any more it runs out with its lease.
impl Drop for Consumer {
    fn drop(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            if let Err(panic) = catch_panic(|| slot.clear()) {
                tracing::warn!(%panic, "a handler panicked when it was dropped");
            }
        }
        let (waiting, running) = self.seat().clear();
        for claimed in waiting.iter().chain(running.iter().map(Context::claimed)) {
            self.give_permit_back(claimed);
        }
        let mut batch = std::mem::take(&mut self.ended);
        batch.extend(waiting.iter().map(Engine::hand_back));
        if let Some(ctx) = &running {
            let verdict = Verdict::Return { started: true };
            self.engine.tally.note(self.engine.phases.now(), &verdict);
            batch.push(settle_unstarted(ctx.claimed(), verdict));
        }
        self.engine.settle_left(batch);
        waiting.into_iter().for_each(let_go);
        let_go(running);
    }
}

/// A stay on the idle list, which ends with it.
struct Idle<'a> {
    pool: &'a Pool,
    number: usize,
    on_list: bool,
}

impl<'a> Idle<'a> {
    fn enter(pool: &'a Pool, number: usize) -> Self {
        pool.idle.enter(number, pool.min[number]);
        Idle { pool, number, on_list: true }
    }

    async fn wait(mut self) {
        self.pool.idle.wait(self.number).await;
        self.on_list = false;
    }

    /// Leaves the list; `true` if a wake-up came meanwhile.
    fn leave(mut self) -> bool {
        self.on_list = false;
        self.pool.idle.leave(self.number)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        // A wake-up that came for a consumer that is no more is another's due.
        if self.on_list && self.pool.idle.leave(self.number) {
            self.pool.look();
        }
    }
}

/// Lets others run.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            Poll::Ready(())
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

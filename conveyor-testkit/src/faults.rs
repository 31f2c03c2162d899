//! [`FaultyStore`]: any store, behind a wire that loses, delays and doubles.
//!
//! It injects no fault that the contract of a [`Store`] does not allow: an error that it makes is
//! always [`StoreErrorKind::Unavailable`], which says that the effect is unknown.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use conveyor_core::metrics::Counters;
use conveyor_core::name::{Kind, QueueName};
use conveyor_core::store::{
    CancelReply, Capabilities, Claim, ClaimRequest, Durability, EndState, Enqueued, Filter,
    NewTask, Page, Renewed, Rescue, RescueRequest, ScheduleDefinition, ScheduleState, Settle,
    Settled, Store, StoreError, StoreErrorKind, StoreFuture, StoreResult, Tick, Ticked, Wake,
    WakeSink,
};
use conveyor_core::time::Instant;
use conveyor_core::{Fence, Incarnation, TaskId, Timestamp};

use crate::{Random, Sim};

/// How often what goes wrong; each number is out of a thousand calls, and drawn on its own.
///
/// ```
/// use conveyor_testkit::FaultPlan;
///
/// let plan = FaultPlan { reply_lost: 200, ..FaultPlan::none() };
/// assert_eq!(plan.doubled, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// The reply comes up to [`delay`](FaultPlan::delay) later.
    pub delayed: u32,
    /// The request takes up to [`slowness`](FaultPlan::slowness) to arrive, or its reply to come.
    pub slow: u32,
    /// The request is lost: an error, and no effect.
    pub request_lost: u32,
    /// The reply is lost: an error, and the effect is there.
    pub reply_lost: u32,
    /// The request arrives twice, up to [`delay`](FaultPlan::delay) apart; the second reply comes.
    pub doubled: u32,
    /// A wake-up is lost, out of a thousand wake-ups. Only those of a store that is
    /// [shared](Capabilities::shared): of another's, the engine need not poll.
    pub wake_up_lost: u32,
    /// The longest delay of a delayed reply, and between the two of a doubled request.
    pub delay: Duration,
    /// The longest time that a slow call takes.
    pub slowness: Duration,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        FaultPlan {
            delayed: 0,
            slow: 0,
            request_lost: 0,
            reply_lost: 0,
            doubled: 0,
            wake_up_lost: 0,
            delay: Duration::from_millis(50),
            slowness: Duration::from_secs(5),
        }
    }

    /// Everything goes wrong now and then: a tenth of the calls fails, half of them are late.
    #[must_use]
    pub const fn rough() -> Self {
        FaultPlan {
            delayed: 500,
            slow: 10,
            request_lost: 50,
            reply_lost: 50,
            doubled: 50,
            wake_up_lost: 200,
            ..FaultPlan::none()
        }
    }
}

/// What was injected so far: [`FaultyStore::injected`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Calls, with and without a fault.
    pub calls: u64,
    /// Replies that came later.
    pub delayed: u64,
    /// Calls that were slow.
    pub slow: u64,
    /// Requests that were lost.
    pub requests_lost: u64,
    /// Replies that were lost.
    pub replies_lost: u64,
    /// Requests that arrived twice.
    pub doubled: u64,
    /// Calls that failed since the store was away; whether at the request or the reply.
    pub away: u64,
    /// Wake-ups that were lost.
    pub wake_ups_lost: u64,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Injected { calls, delayed, slow, requests_lost, replies_lost, doubled, .. } = self;
        let Injected { away, wake_ups_lost, .. } = self;
        write!(
            f,
            "{calls} calls: {delayed} delayed, {slow} slow, {requests_lost} requests lost, \
             {replies_lost} replies lost, {doubled} doubled, {away} while away; \
             {wake_ups_lost} wake-ups lost"
        )
    }
}

/// A store whose calls go wrong, as a [`FaultPlan`] says and a simulation's seed decides.
///
/// It says that it is not [immediate](Capabilities::immediate), so that an engine takes the ways
/// that it takes with a server. Clones share the faults, the counts and the store: keep one, and
/// give another to the manager. It injects from the start; see [`FaultyStore::stop`].
///
/// A caller that drops a call's future takes back a request that has not arrived yet.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use conveyor_core::{Context, Definition, MemoryStore, Task, Worker};
/// use conveyor_testkit::{FaultPlan, FaultyStore, simulate};
///
/// struct Greet;
///
/// impl Worker for Greet {
///     fn define(self: Arc<Self>, definition: &mut Definition) {
///         definition.consume("greet", |(): (), _: Context| async {});
///     }
/// }
///
/// simulate(7, |sim| async move {
///     let memory = Arc::new(MemoryStore::new(sim.clock()).shared_by_managers());
///     let faults = FaultyStore::new(&sim, memory, FaultPlan::rough());
///     let manager = sim.manager_builder().store(Arc::new(faults.clone())).register(Greet);
///     let manager = manager.build().unwrap();
///     manager.start().await.unwrap();
///     let accepted = manager.enqueue(Task::new("greet", ())).await;
///     faults.away_for(Duration::from_secs(3));
///     sim.advance(Duration::from_secs(10)).await;
///     faults.stop();
///     sim.advance(Duration::from_secs(30)).await;
///     if accepted.is_ok() {
///         assert_eq!(manager.fetch_metrics().await.unwrap().processed, 1);
///     }
///     println!("{}", faults.injected());
/// });
/// ```
#[derive(Clone)]
pub struct FaultyStore {
    store: Arc<dyn Store>,
    wire: Arc<Wire>,
}

/// What the clones share.
struct Wire {
    sim: Sim,
    state: Mutex<State>,
}

struct State {
    plan: FaultPlan,
    on: bool,
    away_until: Option<Instant>,
    random: Random,
    injected: Injected,
    /// The store holds its sinks weakly: these are kept for as long as the engine's own.
    sinks: Vec<Arc<LossySink>>,
}

/// What happens to one call.
#[derive(Clone, Copy, Default)]
struct Fate {
    before: Duration,
    between: Option<Duration>,
    after: Duration,
    request_lost: bool,
    reply_lost: bool,
}

impl FaultyStore {
    /// Puts `store` behind a wire on which goes wrong what the plan says.
    #[must_use]
    pub fn new(sim: &Sim, store: Arc<dyn Store>, plan: FaultPlan) -> Self {
        let state = State {
            plan,
            on: true,
            away_until: None,
            // A stream of its own: faults change none of the numbers that the test draws later.
            random: Random::new(sim.random()),
            injected: Injected::default(),
            sinks: Vec::new(),
        };
        FaultyStore { store, wire: Arc::new(Wire { sim: sim.clone(), state: Mutex::new(state) }) }
    }

    /// Injects no more; an absence ends. A call that is under way may still meet its fate.
    pub fn stop(&self) {
        let mut state = self.wire.lock();
        state.on = false;
        state.away_until = None;
    }

    /// Injects again, by the same plan.
    pub fn start(&self) {
        self.wire.lock().on = true;
    }

    /// Goes by another plan from the next call on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.wire.lock().plan = plan;
    }

    /// Has every request and every reply fail from now on, for that much virtual time or until
    /// [`FaultyStore::stop`], whether faults are injected or not.
    pub fn away_for(&self, time: Duration) {
        let until = self.wire.sim.now() + time;
        self.wire.lock().away_until = Some(until);
    }

    /// What was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.wire.lock().injected
    }

    /// The store behind the wire: for a look at how things really are.
    #[must_use]
    pub fn behind(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        StoreFuture::later(async move {
            let fate = self.wire.draw();
            self.wire.pass(fate.before).await;
            self.wire.check(fate.request_lost, "the request was lost")?;
            let mut reply = call(&*self.store).await;
            if let Some(between) = fate.between {
                self.wire.pass(between).await;
                reply = call(&*self.store).await;
            }
            self.wire.pass(fate.after).await;
            self.wire.check(fate.reply_lost, "the reply was lost")?;
            reply
        })
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.injected())
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw(&self) -> Fate {
        self.lock().draw()
    }

    async fn pass(&self, time: Duration) {
        if !time.is_zero() {
            self.sim.advance(time).await;
        }
    }

    fn check(&self, lost: bool, why: &'static str) -> StoreResult<()> {
        let now = self.sim.now();
        let mut state = self.lock();
        let away = state.away_until.is_some_and(|until| now < until);
        if away {
            state.injected.away += 1;
        }
        drop(state);
        let why = if away { "it is away" } else { why };
        if away || lost {
            return Err(StoreError::new("faulty", StoreErrorKind::Unavailable, why));
        }
        Ok(())
    }
}

impl State {
    /// Draws a call's fate. Always as many numbers, so that another plan leaves the rest alike.
    fn draw(&mut self) -> Fate {
        self.injected.calls += 1;
        let plan = self.plan;
        let delayed = self.rolls(plan.delayed);
        let slow = self.rolls(plan.slow);
        let request_lost = self.rolls(plan.request_lost);
        let reply_lost = self.rolls(plan.reply_lost) && !request_lost;
        let doubled = self.rolls(plan.doubled) && !request_lost;
        let (delay, slowness) = (self.up_to(plan.delay), self.up_to(plan.slowness));
        let (between, at_request) = (self.up_to(plan.delay), self.random.below(2) == 0);
        let injected = &mut self.injected;
        injected.delayed += u64::from(delayed);
        injected.slow += u64::from(slow);
        injected.requests_lost += u64::from(request_lost);
        injected.replies_lost += u64::from(reply_lost);
        injected.doubled += u64::from(doubled);
        let slowness = if slow { slowness } else { Duration::ZERO };
        let delay = if delayed { delay } else { Duration::ZERO };
        Fate {
            before: if at_request { slowness } else { Duration::ZERO },
            between: doubled.then_some(between),
            after: if at_request { delay } else { delay + slowness },
            request_lost,
            reply_lost,
        }
    }

    fn rolls(&mut self, per_mille: u32) -> bool {
        let roll = self.random.below(1_000);
        self.on && roll < per_mille as usize
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.below(1_000) as f64 / 1_000.0)
    }
}

/// An engine's ear, in which not everything arrives.
struct LossySink {
    sink: Weak<dyn WakeSink>,
    wire: Weak<Wire>,
}

impl WakeSink for LossySink {
    fn wake(&self, wake: Wake<'_>) {
        let (Some(sink), Some(wire)) = (self.sink.upgrade(), self.wire.upgrade()) else {
            return;
        };
        let lost = {
            let mut state = wire.lock();
            let per_mille = state.plan.wake_up_lost;
            let away = state.away_until.is_some_and(|until| wire.sim.now() < until);
            let lost = state.rolls(per_mille) || away;
            state.injected.wake_ups_lost += u64::from(lost);
            lost
        };
        if !lost {
            sink.wake(wake);
        }
    }

    fn watches_ends(&self) -> bool {
        self.sink.upgrade().is_some_and(|sink| sink.watches_ends())
    }
}

impl Store for FaultyStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.immediate = false;
        capabilities
    }

    fn durability(&self) -> StoreFuture<'_, Durability> {
        self.call(|store| store.durability())
    }

    fn now(&self) -> StoreFuture<'_, Timestamp> {
        self.call(|store| store.now())
    }

    fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'_, Vec<Enqueued>> {
        self.call(move |store| store.enqueue(batch.clone()))
    }

    fn claim<'a>(&'a self, request: ClaimRequest<'a>) -> StoreFuture<'a, Claim> {
        self.call(move |store| store.claim(request))
    }

    fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'_, Vec<Settled>> {
        self.call(move |store| store.settle(batch.clone()))
    }

    fn renew<'a>(
        &'a self,
        by: Incarnation,
        fences: &'a [Fence],
        lease: Duration,
    ) -> StoreFuture<'a, Vec<Renewed>> {
        self.call(move |store| store.renew(by, fences, lease))
    }

    fn rescue(&self, request: RescueRequest) -> StoreFuture<'_, Rescue> {
        self.call(move |store| store.rescue(request))
    }

    fn promote(&self, limit: usize) -> StoreFuture<'_, Option<Timestamp>> {
        self.call(move |store| store.promote(limit))
    }

    fn put_schedule(&self, definition: ScheduleDefinition) -> StoreFuture<'_, ScheduleState> {
        self.call(move |store| store.put_schedule(definition.clone()))
    }

    fn remove_schedule<'a>(&'a self, name: &'a Kind) -> StoreFuture<'a, ()> {
        self.call(move |store| store.remove_schedule(name))
    }

    fn tick(&self, batch: Vec<Tick>) -> StoreFuture<'_, Vec<Ticked>> {
        self.call(move |store| store.tick(batch.clone()))
    }

    fn cancel<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<CancelReply>> {
        self.call(move |store| store.cancel(ids))
    }

    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, ()> {
        self.call(move |store| store.pause(queue, paused))
    }

    fn paused(&self) -> StoreFuture<'_, Vec<QueueName>> {
        self.call(|store| store.paused())
    }

    fn ends<'a>(&'a self, ids: &'a [TaskId]) -> StoreFuture<'a, Vec<EndState>> {
        self.call(move |store| store.ends(ids))
    }

    fn inspect<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Page> {
        self.call(move |store| store.inspect(filter))
    }

    fn counters(&self) -> StoreFuture<'_, Counters> {
        self.call(|store| store.counters())
    }

    fn prune(&self, limit: usize) -> StoreFuture<'_, usize> {
        self.call(move |store| store.prune(limit))
    }

    fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        if !self.store.capabilities().shared {
            // Its wake-ups may be relied on: they are not touched.
            self.store.subscribe(sink);
            return;
        }
        let sink = Arc::new(LossySink { sink, wire: Arc::downgrade(&self.wire) });
        let weak = Arc::downgrade(&sink);
        let mut state = self.wire.lock();
        state.sinks.retain(|sink| sink.sink.strong_count() > 0);
        state.sinks.push(sink);
        drop(state);
        self.store.subscribe(weak);
    }

    /// Transactions have a wire of their own, where nothing goes wrong.
    fn inner(&self) -> Option<&dyn Store> {
        Some(&*self.store)
    }
}

#[cfg(test)]
mod tests {
    use conveyor_core::MemoryStore;

    use super::*;
    use crate::simulate;

    fn behind_wire(sim: &Sim, plan: FaultPlan) -> FaultyStore {
        FaultyStore::new(sim, Arc::new(MemoryStore::new(sim.clock())), plan)
    }

    #[test]
    fn what_always_happens_is_counted_and_stops() {
        simulate(1, |sim| async move {
            let plan = FaultPlan { request_lost: 1_000, ..FaultPlan::none() };
            let faults = behind_wire(&sim, plan);
            let error = faults.now().await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            faults.set_plan(FaultPlan { reply_lost: 1_000, doubled: 1_000, ..FaultPlan::none() });
            faults.prune(1).await.unwrap_err();
            faults.stop();
            faults.now().await.unwrap();
            faults.start();
            faults.now().await.unwrap_err();
            let Injected { calls, requests_lost, replies_lost, doubled, .. } = faults.injected();
            assert_eq!((calls, requests_lost, replies_lost, doubled), (4, 1, 2, 2));
            let text = faults.injected().to_string();
            assert!(text.starts_with("4 calls: 0 delayed, 0 slow, 1 requests lost"), "{text}");
        });
    }

    #[test]
    fn a_store_that_is_away_loses_replies_too_and_comes_back() {
        simulate(1, |sim| async move {
            let faults = behind_wire(&sim, FaultPlan { delayed: 1_000, ..FaultPlan::none() });
            sim.spawn("away", {
                let (sim, faults) = (sim.clone(), faults.clone());
                async move {
                    sim.advance(Duration::from_nanos(1)).await;
                    faults.away_for(Duration::from_secs(1));
                }
            });
            faults.now().await.unwrap_err();
            faults.now().await.unwrap_err();
            sim.advance(Duration::from_secs(1)).await;
            faults.now().await.unwrap();
            assert_eq!(faults.injected().away, 2);
        });
    }

    #[test]
    fn a_seed_decides_what_goes_wrong() {
        let run = |seed| {
            simulate(seed, |sim| async move {
                let faults = behind_wire(&sim, FaultPlan::rough());
                for _ in 0..200 {
                    _ = faults.now().await;
                }
                (faults.injected(), sim.elapsed())
            })
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}

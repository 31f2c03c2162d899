//! Claim: a consumer asks the store for what it has room for.

use std::sync::Arc;

use conveyor_core::Priority;
use conveyor_core::store::{Claim, ClaimRequest, Demand, KindRoom, StoreErrorKind, StoreResult};

use crate::engine::Engine;
use crate::permits::Look;
use crate::pool::Pool;
use crate::registry::Workers;

/// What a consumer asks for, kept from one claim to the next.
pub(crate) struct Wants {
    workers: Arc<Workers>,
    version: u64,
    /// In the order of the workers.
    rooms: Vec<KindRoom>,
    /// Which limited kinds a permit was taken for.
    permitted: Vec<bool>,
    /// Whose last attempt neither waited nor took long.
    cheap: Vec<bool>,
    /// The token of the last claim, if the store's reply to it was lost.
    unanswered: Option<u64>,
}

impl Wants {
    pub(crate) fn new(engine: &Engine) -> Self {
        let version = engine.registry.version();
        let workers = engine.registry.workers();
        let rooms = workers.rooms();
        let kinds = rooms.len();
        let (permitted, cheap) = (vec![false; kinds], vec![false; kinds]);
        Wants { workers, version, rooms, permitted, cheap, unanswered: None }
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// Whether the last attempt at a kind neither waited nor took long.
    pub(crate) fn is_cheap(&self, kind: usize) -> bool {
        self.cheap[kind]
    }

    pub(crate) fn set_cheap(&mut self, kind: usize, cheap: bool) {
        self.cheap[kind] = cheap;
    }

    /// Whether the reply to the last claim was lost: the store may hold tasks for this process
    /// that it does not know of.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Takes over a change of the registry; `true` if there was one. Not while a claim is not
    /// answered: the answer is for what was asked.
    pub(crate) fn refresh(&mut self, engine: &Engine) -> bool {
        let changed = engine.registry.version() != self.version && !self.is_unanswered();
        if changed {
            *self = Wants::new(engine);
        }
        changed
    }

    /// Claims up to `room` tasks, at most one of each kind that is not cheap.
    pub(crate) async fn claim(
        &mut self,
        engine: &Engine,
        pool: &Pool,
        min_priority: Priority,
        room: usize,
        alone: bool,
    ) -> StoreResult<Claim> {
        let look = Look { sort: pool.sort(min_priority), news: engine.signals.news() };
        for (at, worker) in self.workers.iter().enumerate() {
            self.rooms[at].room = match &worker.permits {
                // A permit is for one task; it is kept while a claim is not answered.
                Some(permits) => {
                    self.permitted[at] = self.permitted[at] || permits.try_take(look);
                    usize::from(self.permitted[at])
                }
                None if self.cheap[at] => room,
                None => 1,
            };
        }
        let queues = pool.queues();
        let demand = Demand { queues: &queues, kinds: &self.rooms, min_priority, room };
        let token = self.unanswered.take().unwrap_or_else(|| engine.token());
        let request = ClaimRequest {
            by: engine.incarnation,
            token,
            lease: engine.settings.lease,
            demand,
            alone,
        };
        let claim = engine.ask("claim", |store| store.claim(request)).await;
        match &claim {
            Ok(claim) => {
                // A suspect's process is given nothing else, whatever there is.
                let in_vain = claim.tasks.is_empty() && !claim.suspects && !alone;
                self.give_back_unused(engine, Some(claim), in_vain.then_some(look));
                engine.hold(claim.tasks.len());
            }
            // It may have been given something: asked again by its token, it is told what.
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                self.unanswered = Some(token);
            }
            Err(_) => self.give_back_unused(engine, None, None),
        }
        claim
    }

    /// Gives back the permits that nothing was claimed for. `in_vain` is the look if nothing was
    /// claimed at all.
    fn give_back_unused(&mut self, engine: &Engine, claim: Option<&Claim>, in_vain: Option<Look>) {
        for (at, worker) in self.workers.iter().enumerate() {
            let Some(permits) = &worker.permits else {
                continue;
            };
            let claimed = claim.is_some_and(|claim| {
                claim.tasks.iter().any(|claimed| claimed.kind == *worker.kind())
            });
            if std::mem::take(&mut self.permitted[at]) && !claimed {
                permits.give_back_unused(in_vain, &engine.signals);
            }
        }
    }
}

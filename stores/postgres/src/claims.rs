//! Claims that have arrived and ask for the same are put together: consumers by the dozen, each with
//! room for one task, are served by one call.

use std::time::Duration;

use conveyor_core::store::{
    Claim, ClaimRequest, Claimed, Demand, KindRoom, StoreErrorKind, StoreResult,
};
use conveyor_core::{Incarnation, Priority, QueueName};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};

use crate::worker::{Request, TOGETHER, Worker};

/// A claim, in the thread's own words: of one request, or of several that ask for the same.
#[derive(Debug)]
pub(crate) struct OwnedClaim {
    pub(crate) by: Incarnation,
    /// The request's; or those of several, one for each place of the room.
    pub(crate) tokens: Vec<u64>,
    pub(crate) lease: Duration,
    pub(crate) queues: Vec<QueueName>,
    pub(crate) kinds: Vec<KindRoom>,
    pub(crate) min_priority: Priority,
    pub(crate) room: usize,
    pub(crate) alone: bool,
}

/// What was claimed.
pub(crate) struct Given {
    /// In the order in which they should start, each with the token of the request that it is for.
    pub(crate) tasks: Vec<(u64, Claimed)>,
    pub(crate) suspects: bool,
    /// It was given to one of the requests before, when that came first; the others got nothing.
    pub(crate) before: bool,
}

/// Requests that ask for the same.
struct Group {
    /// What each of them asks for.
    claim: OwnedClaim,
    callers: Vec<Caller>,
    /// Others may join.
    is_open: bool,
}

/// A request's token, and where the reply goes.
type Caller = (u64, oneshot::Sender<StoreResult<Claim>>);

impl From<ClaimRequest<'_>> for OwnedClaim {
    fn from(request: ClaimRequest<'_>) -> Self {
        let ClaimRequest { by, token, lease, demand, alone } = request;
        let Demand { queues, kinds, min_priority, room } = demand;
        let (queues, kinds) = (queues.to_vec(), kinds.to_vec());
        OwnedClaim { by, tokens: vec![token], lease, queues, kinds, min_priority, room, alone }
    }
}

impl OwnedClaim {
    /// Whether each of its places is for any of the same kinds, so that another's may be among them.
    fn may_be_shared(&self) -> bool {
        let fits_all = |kind: &KindRoom| kind.room == 0 || kind.room == self.room;
        !self.alone && self.room > 0 && self.kinds.iter().all(fits_all)
    }

    fn asks_for_the_same(&self, other: &OwnedClaim) -> bool {
        let kinds = self.kinds.iter().zip(&other.kinds);
        (self.by, self.lease, self.min_priority, self.room)
            == (other.by, other.lease, other.min_priority, other.room)
            && self.queues == other.queues
            && self.kinds.len() == other.kinds.len()
            && kinds.into_iter().all(|(one, two)| (&one.kind, one.room) == (&two.kind, two.room))
    }

    /// The same, for another request.
    fn of(&self, token: u64) -> Self {
        let (queues, kinds) = (self.queues.clone(), self.kinds.clone());
        OwnedClaim { tokens: vec![token], queues, kinds, ..*self }
    }

    /// The same for several requests: their places are dealt out in turn, so that none gets all that
    /// there is.
    fn of_all(&self, callers: &[Caller]) -> Self {
        let mut all = self.of(0);
        all.tokens = (0..self.room).flat_map(|_| callers.iter().map(|caller| caller.0)).collect();
        all.room *= callers.len();
        all.kinds.iter_mut().for_each(|kind| kind.room *= callers.len());
        all
    }
}

impl Given {
    /// What is for that request.
    fn to(&mut self, token: u64) -> Claim {
        let tasks = self.tasks.extract_if(.., |(of, _)| *of == token);
        Claim { tasks: tasks.map(|(_, task)| task).collect(), suspects: self.suspects }
    }
}

impl Worker {
    /// Serves claims.
    pub(crate) async fn claims(
        &self,
        requests: mpsc::UnboundedReceiver<Request<OwnedClaim, Claim>>,
    ) {
        let mut requests = requests.ready_chunks(TOGETHER);
        while let Some(arrived) = requests.next().await {
            for group in self.groups(arrived) {
                self.serve(group).await;
            }
        }
    }

    /// Puts requests together that ask for the same; one that comes again stays alone.
    fn groups(&self, requests: Vec<Request<OwnedClaim, Claim>>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut last_tokens = self.last_tokens.borrow_mut();
        for Request { asked: claim, reply } in requests {
            if reply.is_canceled() {
                continue;
            }
            let token = claim.tokens[0];
            let last = last_tokens.entry(claim.by).or_default();
            let is_open = token > *last && claim.may_be_shared();
            *last = token.max(*last);
            let same = groups.iter_mut().find(|group| {
                is_open
                    && group.is_open
                    && group.claim.asks_for_the_same(&claim)
                    && claim.room * (group.callers.len() + 1) <= TOGETHER
            });
            match same {
                Some(group) => group.callers.push((token, reply)),
                None => groups.push(Group { claim, callers: vec![(token, reply)], is_open }),
            }
        }
        groups
    }

    async fn serve(&self, group: Group) {
        let Group { claim, callers, .. } = group;
        if callers.len() > 1 {
            match self.claim(&claim.of_all(&callers)).await {
                Ok(mut given) if !given.before => {
                    for (token, reply) in callers {
                        _ = reply.send(Ok(given.to(token)));
                    }
                    return;
                }
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    for (_, reply) in callers {
                        _ = reply.send(Err(error.clone()));
                    }
                    return;
                }
                _ => {}
            }
        }
        for (token, reply) in callers {
            let given = self.claim(&claim.of(token)).await;
            _ = reply.send(given.map(|mut given| given.to(token)));
        }
    }
}

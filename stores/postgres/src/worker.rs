//! The store's thread: all that talks to the server, so that callers on any runtime, or on none,
//! need nothing but a channel, and a caller that goes away harms nothing.
//!
//! Enqueues, claims and settles are put together: while one batch is under way, what arrives is the
//! next.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use conveyor_core::codec::Codecs;
use conveyor_core::store::{
    Claim, Enqueued, NewTask, Renewed, Settle, Settled, StoreErrorKind, StoreFuture, StoreResult,
};
use conveyor_core::{Fence, Incarnation, QueueName};
use futures::channel::{mpsc, oneshot};
use futures::future::{LocalBoxFuture, select};
use futures::{StreamExt, join};
use uuid::Uuid;

use crate::claims::OwnedClaim;
use crate::connection::Connections;
use crate::driver;
use crate::error::unavailable;
use crate::lanes::Lanes;
use crate::marks::Marks;
use crate::options::PostgresOptions;
use crate::sql::Sql;
use crate::transaction::Uncommitted;
use crate::wake::Wakes;

/// The most elements, and bytes of payload, of callers' requests that are put together.
pub(crate) const TOGETHER: usize = 1_000;
const TOGETHER_BYTES: usize = 4 << 20;

/// How many calls besides the life of a task go on at once.
const ASIDE: usize = 4;

/// What the thread works with.
pub(crate) struct Worker {
    pub(crate) sql: Arc<Sql>,
    pub(crate) options: PostgresOptions,
    pub(crate) connections: Connections,
    /// Renewals have their own, so that nothing else delays them.
    pub(crate) renewals: Connections,
    pub(crate) lanes: Lanes,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) marks: Marks,
    /// The highest token that each process asked with so far.
    pub(crate) last_tokens: RefCell<HashMap<Incarnation, u64>>,
    /// Tasks that claims took from a queue since the last one that went to the oldest.
    pub(crate) since_ageing: RefCell<HashMap<QueueName, u32>>,
    /// What tells this process's notifications from others'.
    pub(crate) name: Cell<Uuid>,
    /// Up to when this process was told of what became due.
    pub(crate) promoted: Cell<i64>,
}

/// A request, and where the reply goes.
pub(crate) struct Request<Q, R> {
    pub(crate) asked: Q,
    pub(crate) reply: oneshot::Sender<StoreResult<R>>,
}

/// A call that is not put together with others.
type Call = Box<dyn FnOnce(Rc<Worker>) -> LocalBoxFuture<'static, ()> + Send>;

pub(crate) type Renewal = (Incarnation, Vec<Fence>, std::time::Duration);

/// The ways to the thread.
#[derive(Clone)]
pub(crate) struct Requests {
    enqueue: mpsc::UnboundedSender<Request<Vec<NewTask>, Vec<Enqueued>>>,
    /// Tasks with keys are apart: they may have to wait for others' open transactions.
    keyed: mpsc::UnboundedSender<Request<Vec<NewTask>, Vec<Enqueued>>>,
    claim: mpsc::UnboundedSender<Request<OwnedClaim, Claim>>,
    settle: mpsc::UnboundedSender<Request<Vec<Settle>, Vec<Settled>>>,
    renew: mpsc::UnboundedSender<Request<Renewal, Vec<Renewed>>>,
    aside: mpsc::UnboundedSender<Call>,
    uncommitted: mpsc::UnboundedSender<Uncommitted>,
}

/// The thread's ends of the ways.
struct Lines {
    enqueue: mpsc::UnboundedReceiver<Request<Vec<NewTask>, Vec<Enqueued>>>,
    keyed: mpsc::UnboundedReceiver<Request<Vec<NewTask>, Vec<Enqueued>>>,
    claim: mpsc::UnboundedReceiver<Request<OwnedClaim, Claim>>,
    settle: mpsc::UnboundedReceiver<Request<Vec<Settle>, Vec<Settled>>>,
    renew: mpsc::UnboundedReceiver<Request<Renewal, Vec<Renewed>>>,
    aside: mpsc::UnboundedReceiver<Call>,
    uncommitted: mpsc::UnboundedReceiver<Uncommitted>,
    listen: oneshot::Receiver<oneshot::Sender<()>>,
}

/// Has the thread listen for other processes from now on, and tell when it does.
pub(crate) type Listen = oneshot::Sender<oneshot::Sender<()>>;

/// Starts the thread. It ends when nobody can reach it any more.
pub(crate) fn start(
    options: PostgresOptions,
    sql: Arc<Sql>,
    wakes: Arc<Wakes>,
) -> std::io::Result<(Requests, Listen)> {
    let (enqueue, of_enqueue) = mpsc::unbounded();
    let (keyed, of_keyed) = mpsc::unbounded();
    let (claim, of_claim) = mpsc::unbounded();
    let (settle, of_settle) = mpsc::unbounded();
    let (renew, of_renew) = mpsc::unbounded();
    let (aside, of_aside) = mpsc::unbounded();
    let (uncommitted, of_uncommitted) = mpsc::unbounded();
    let (listen, of_listen) = oneshot::channel();
    let lines = Lines {
        enqueue: of_enqueue,
        keyed: of_keyed,
        claim: of_claim,
        settle: of_settle,
        renew: of_renew,
        aside: of_aside,
        uncommitted: of_uncommitted,
        listen: of_listen,
    };
    std::thread::Builder::new().name("conveyor-postgres".to_owned()).spawn(move || {
        let connections = || Connections::new(&options);
        let worker = Rc::new(Worker {
            sql,
            connections: connections(),
            renewals: connections(),
            options,
            lanes: Lanes::default(),
            wakes,
            marks: Marks::default(),
            last_tokens: RefCell::default(),
            since_ageing: RefCell::default(),
            name: Cell::default(),
            promoted: Cell::new(i64::MIN),
        });
        if let Err(error) = driver::block_on(run(worker, lines)) {
            tracing::error!(%error, "the PostgreSQL store's thread cannot run");
        }
    })?;
    Ok((Requests { enqueue, keyed, claim, settle, renew, aside, uncommitted }, listen))
}

async fn run(worker: Rc<Worker>, mut lines: Lines) {
    let serve = async {
        join!(
            together(lines.enqueue, weight_of_task, async |batch| worker.enqueue(batch).await),
            together(lines.keyed, weight_of_task, async |batch| worker.enqueue(batch).await),
            together(lines.settle, weight_of_settle, async |batch| worker.settle(batch).await),
            worker.claims(lines.claim),
            one_by_one(lines.renew, async |renewal| worker.renew(renewal).await),
            lines.aside.for_each_concurrent(ASIDE, |call| call(Rc::clone(&worker))),
        );
    };
    let listen = async {
        if let Ok(ready) = lines.listen.await {
            worker.hear_others(ready).await;
        }
    };
    let background = async {
        join!(
            worker.notify_others(),
            worker.take_up_counts(),
            worker.watch_transactions(&mut lines.uncommitted),
            listen,
        )
    };
    select(std::pin::pin!(serve), std::pin::pin!(background)).await;
    worker.connections.close().await;
    worker.renewals.close().await;
}

fn weight_of_task(task: &NewTask) -> usize {
    task.payload.encoded(&Codecs::default()).map_or(0, |encoded| encoded.bytes.len())
}

fn weight_of_settle(settle: &Settle) -> usize {
    settle.children.iter().map(weight_of_task).sum()
}

/// Serves requests one after the other.
async fn one_by_one<Q, R>(
    mut requests: mpsc::UnboundedReceiver<Request<Q, R>>,
    serve: impl AsyncFn(Q) -> StoreResult<R>,
) {
    while let Some(request) = requests.next().await {
        if !request.reply.is_canceled() {
            _ = request.reply.send(serve(request.asked).await);
        }
    }
}

/// Serves what has arrived as one batch. If that fails, not for want of a server but for what one
/// of the callers asked, each is served for itself.
async fn together<Q, R>(
    requests: mpsc::UnboundedReceiver<Request<Vec<Q>, Vec<R>>>,
    weight: fn(&Q) -> usize,
    serve: impl AsyncFn(&[Q]) -> StoreResult<Vec<R>>,
) {
    let mut requests = requests.ready_chunks(TOGETHER);
    while let Some(arrived) = requests.next().await {
        let mut arrived = arrived.into_iter().filter(|one| !one.reply.is_canceled()).peekable();
        while arrived.peek().is_some() {
            let (mut batch, mut callers, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(Request { asked, reply }) = arrived.next_if(|next| {
                batch.is_empty()
                    || (batch.len() + next.asked.len() <= TOGETHER && bytes <= TOGETHER_BYTES)
            }) {
                bytes += asked.iter().map(weight).sum::<usize>();
                callers.push((asked.len(), reply));
                batch.extend(asked);
            }
            serve_batch(&batch, callers, &serve).await;
        }
    }
}

async fn serve_batch<Q, R>(
    batch: &[Q],
    callers: Vec<(usize, oneshot::Sender<StoreResult<Vec<R>>>)>,
    serve: &impl AsyncFn(&[Q]) -> StoreResult<Vec<R>>,
) {
    match serve(batch).await {
        Ok(replies) => {
            let mut replies = replies.into_iter();
            for (count, caller) in callers {
                _ = caller.send(Ok(replies.by_ref().take(count).collect()));
            }
        }
        Err(error) if callers.len() == 1 || error.kind() == StoreErrorKind::Unavailable => {
            for (_, caller) in callers {
                _ = caller.send(Err(error.clone()));
            }
        }
        Err(_) => {
            let mut rest = batch;
            for (count, caller) in callers {
                let (own, others) = rest.split_at(count);
                rest = others;
                _ = caller.send(serve(own).await);
            }
        }
    }
}

impl Requests {
    pub(crate) fn enqueue(&self, batch: Vec<NewTask>) -> StoreFuture<'static, Vec<Enqueued>> {
        let is_keyed = batch.iter().any(|task| task.key.is_some());
        ask(if is_keyed { &self.keyed } else { &self.enqueue }, batch)
    }

    pub(crate) fn claim(&self, claim: OwnedClaim) -> StoreFuture<'static, Claim> {
        ask(&self.claim, claim)
    }

    pub(crate) fn settle(&self, batch: Vec<Settle>) -> StoreFuture<'static, Vec<Settled>> {
        ask(&self.settle, batch)
    }

    pub(crate) fn renew(&self, renewal: Renewal) -> StoreFuture<'static, Vec<Renewed>> {
        ask(&self.renew, renewal)
    }

    /// Makes a call beside the others.
    pub(crate) fn aside<R: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(&Worker) -> StoreResult<R> + Send + 'static,
    ) -> StoreFuture<'static, R> {
        let (reply, answered) = oneshot::channel();
        let call: Call = Box::new(move |worker| {
            Box::pin(async move {
                if !reply.is_canceled() {
                    _ = reply.send(call(&worker).await);
                }
            })
        });
        _ = self.aside.unbounded_send(call);
        answer(answered)
    }

    /// Has others told of what is in a transaction when that has committed.
    pub(crate) fn tell_after_commit(&self, news: Uncommitted) {
        _ = self.uncommitted.unbounded_send(news);
    }
}

fn ask<Q, R: Send + 'static>(
    line: &mpsc::UnboundedSender<Request<Q, R>>,
    asked: Q,
) -> StoreFuture<'static, R> {
    let (reply, answered) = oneshot::channel();
    _ = line.unbounded_send(Request { asked, reply });
    answer(answered)
}

fn answer<R: Send + 'static>(
    answered: oneshot::Receiver<StoreResult<R>>,
) -> StoreFuture<'static, R> {
    StoreFuture::later(async {
        answered.await.unwrap_or_else(|_| Err(unavailable("its thread is gone")))
    })
}

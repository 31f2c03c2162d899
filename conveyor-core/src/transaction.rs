//! Enqueue and settle in a caller's own transaction: what a [`StoreTransaction`] is used for.

use std::sync::Arc;

use crate::context::{Cancelled, Context, Host};
use crate::id::TaskId;
use crate::receipt::{EnqueueError, Receipt};
use crate::store::{
    Enqueued, OtherStore, Settle, Settled, Store, StoreError, StoreTransaction, Verdict,
};
use crate::task::{AnyTask, IntoTask};

impl Context {
    /// Enqueues another task in a transaction of yours: it is there if and only if that commits.
    ///
    /// The task's key is checked in the transaction. Nothing waits for room there: a bounded store
    /// that is full says so. The receipt is good once the transaction has committed.
    ///
    /// Cancel safe as the transaction is: if the future is dropped, the task may be in it or not,
    /// and so the transaction is to be rolled back.
    ///
    /// # Errors
    /// [`EnqueueError`]: the task is not in the transaction. After [`EnqueueError::Store`], roll
    /// back.
    pub async fn enqueue_in<S, T>(
        &self,
        transaction: &mut T,
        task: impl IntoTask,
    ) -> Result<Receipt, EnqueueError>
    where
        S: Store,
        T: StoreTransaction<S> + ?Sized,
    {
        enqueue_in(self.host(), transaction, task.into_task()).await
    }

    /// Ends the task as succeeded in a transaction of yours: what the handler writes in it and the
    /// end of the task commit as one, so that an effect in the same database happens exactly once.
    ///
    /// Commit, then return `Ok`: what the engine has to record then is there already. If the
    /// handler fails before the commit, roll back (as dropping a transaction does), and the attempt
    /// ends as any other that failed. A handler that returns `Ok` without having committed says
    /// that it succeeded, and its writes are lost. What `produce` returns is not enqueued after a
    /// commit; use [`enqueue_in`](Context::enqueue_in).
    ///
    /// Until the transaction ends, nobody can take the task away, nor cancel it; end it soon.
    ///
    /// ```
    /// # use conveyor_core::{Context, Error, Store};
    /// # use conveyor_core::store::StoreTransaction;
    /// # trait Database<S: Store> {
    /// #     type Tx: StoreTransaction<S>;
    /// #     async fn begin(&self) -> Result<Self::Tx, Error>;
    /// #     async fn pay(&self, tx: &mut Self::Tx) -> Result<(), Error>;
    /// #     async fn commit(&self, tx: Self::Tx) -> Result<(), Error>;
    /// # }
    /// # async fn handler<S: Store, D: Database<S>>(db: D, ctx: Context) -> Result<(), Error> {
    /// let mut tx = db.begin().await?;
    /// db.pay(&mut tx).await?;
    /// ctx.settle_in(&mut tx).await?;
    /// db.commit(tx).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe as the transaction is: if the future is dropped, the end may be in it or not,
    /// and so it is to be rolled back.
    ///
    /// # Errors
    /// [`SettleError`]: the end is not in the transaction, which is to be rolled back.
    pub async fn settle_in<S, T>(&self, transaction: &mut T) -> Result<(), SettleError>
    where
        S: Store,
        T: StoreTransaction<S> + ?Sized,
    {
        let store = self.host().store().find::<S>()?;
        let settle = Settle {
            fence: self.fence(),
            ticket: self.claimed().ticket,
            verdict: Verdict::Succeed,
            children: Vec::new(),
            panicked: false,
            timed_out: self.cancellation() == Some(Cancelled::Timeout),
        };
        let id = self.id();
        match transaction.settle(store, settle).await? {
            Settled::Applied => {
                self.note_settled();
                Ok(())
            }
            Settled::Already => Err(SettleError::Already { id }),
            Settled::Fenced => Err(SettleError::LeaseLost { id }),
        }
    }
}

/// Why an attempt could not be settled in a transaction. Roll it back: what else is in it must not
/// take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The transaction is of another store than the manager's.
    #[error(transparent)]
    OtherStore(#[from] OtherStore),
    /// The store gave the task to another process: what this attempt does must not count.
    #[error("the lease of task {id} was lost; roll the transaction back, another attempt is made")]
    LeaseLost {
        /// The task.
        id: TaskId,
    },
    /// This attempt was settled before: in a transaction that committed, though its reply may have
    /// been lost, or in this very one.
    #[error("task {id} was settled before by this attempt; roll the transaction back")]
    Already {
        /// The task.
        id: TaskId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enqueues a task in a transaction: for engines.
///
/// # Errors
/// [`EnqueueError`]: the task is not in the transaction.
pub async fn enqueue_in<S, T>(
    host: &Arc<dyn Host>,
    transaction: &mut T,
    task: AnyTask,
) -> Result<Receipt, EnqueueError>
where
    S: Store,
    T: StoreTransaction<S> + ?Sized,
{
    let mut answers = enqueue_all_in(host, transaction, vec![task]).await;
    answers.pop().unwrap_or_else(|| unreachable!("each task is answered"))
}

/// Enqueues tasks in a transaction, each with its own answer, in order: for engines.
pub async fn enqueue_all_in<S, T>(
    host: &Arc<dyn Host>,
    transaction: &mut T,
    tasks: Vec<AnyTask>,
) -> Vec<Result<Receipt, EnqueueError>>
where
    S: Store,
    T: StoreTransaction<S> + ?Sized,
{
    let mut batch = Vec::new();
    // What becomes of each: what was asked for, so that a refusal can name it, or why it was not.
    let asked: Vec<_> = tasks
        .into_iter()
        .map(|task| {
            let new = host.new_task(task)?;
            let keyed = new.key.clone().map(|key| (new.kind.clone(), key));
            let id = new.id;
            batch.push(new);
            Ok((id, keyed))
        })
        .collect();
    let replies = match host.store().find::<S>() {
        Err(other) => Err(EnqueueError::from(other)),
        Ok(_) if batch.is_empty() => Ok(Vec::new()),
        Ok(store) => transaction.enqueue(store, batch).await.map_err(EnqueueError::from),
    };
    let mut replies = replies.map(Vec::into_iter);
    let mut answer = |asked: Result<_, EnqueueError>| {
        let (id, keyed) = asked?;
        let reply = replies.as_mut().map_err(|error| error.clone())?.next();
        match (reply, keyed) {
            (Some(Enqueued::Accepted), _) => Ok(Receipt::new(id, Arc::clone(host))),
            (Some(Enqueued::Full { capacity, .. }), _) => Err(EnqueueError::Full { capacity }),
            (Some(Enqueued::Duplicate(id)), Some((kind, key))) => {
                Err(EnqueueError::Duplicate { id, kind, key })
            }
            (Some(Enqueued::Duplicate(_)), None) => {
                unreachable!("a store refuses a task as a duplicate only by its key")
            }
            (None, _) => unreachable!("a store answers every element of a batch"),
        }
    };
    asked.into_iter().map(&mut answer).collect()
}

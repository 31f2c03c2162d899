//! A caller's own transaction: what is enqueued or settled in it takes effect if and only if it
//! commits.
//!
//! Nobody else waits for it. A key that it holds is answered as taken to others, a lease that it
//! settles is busy to who renews it, and whoever rescues passes it by. When it has committed, which
//! the store's thread asks the server now and then, others are woken.

use std::time::Duration;

use conveyor_core::store::{
    Enqueued, NewTask, Settle, Settled, StoreFuture, StoreResult, StoreTransaction,
};
use futures::channel::mpsc;
use futures::{FutureExt, StreamExt, select_biased};
use sqlx::postgres::{PgConnection, Postgres};

use crate::driver;
use crate::enqueue;
use crate::error::told;
use crate::settle;
use crate::store::PostgresStore;
use crate::wake::News;
use crate::worker::Worker;

/// How long after a change the server is asked whether it committed, at first and at most.
const SOON: Duration = Duration::from_millis(2);
const LATE: Duration = Duration::from_millis(500);

/// News of a transaction, to be told when it has committed.
pub(crate) struct Uncommitted {
    xid: String,
    news: News,
}

impl StoreTransaction<PostgresStore> for sqlx::Transaction<'_, Postgres> {
    fn enqueue<'a>(
        &'a mut self,
        store: &'a PostgresStore,
        batch: Vec<NewTask>,
    ) -> StoreFuture<'a, Vec<Enqueued>> {
        StoreFuture::later(async move {
            if batch.is_empty() {
                return Ok(Vec::new());
            }
            // New lanes are written down outside, where nobody waits for this transaction's end.
            let (batch, lanes) = store
                .requests
                .aside(async |worker| {
                    let lanes = worker.lanes_of(&batch).await?;
                    Ok((batch, lanes))
                })
                .await?;
            let payloads = enqueue::encoded(&batch)?;
            let inserted = enqueue::insert(self, &store.sql, &batch, &lanes, &payloads);
            let inserted = inserted.await.map_err(told)?;
            let mut news = News::default();
            for (task, told) in batch.iter().zip(&inserted) {
                told.tell(task, &mut news);
            }
            tell_after_commit(self, store, news).await?;
            Ok(inserted.into_iter().map(|told| told.reply).collect())
        })
    }

    fn settle<'a>(
        &'a mut self,
        store: &'a PostgresStore,
        settle: Settle,
    ) -> StoreFuture<'a, Settled> {
        StoreFuture::later(async move {
            let batch = vec![settle];
            let (batch, children) = store
                .requests
                .aside(async |worker| {
                    let children = worker.children_of(&batch).await?;
                    Ok((batch, children))
                })
                .await?;
            let outcome = settle::settle_in(self, &store.sql, &batch, &children).await;
            let outcome = outcome.map_err(told)?;
            let settled = outcome.rows.first().map_or(Settled::Fenced, |row| row.settled);
            let news =
                store.requests.aside(async move |worker| worker.news_of(&batch, &outcome).await);
            tell_after_commit(self, store, news.await?).await?;
            Ok(settled)
        })
    }
}

/// Has news told when the connection's transaction has committed.
async fn tell_after_commit(
    connection: &mut PgConnection,
    store: &PostgresStore,
    news: News,
) -> StoreResult<()> {
    if news.is_empty() {
        return Ok(());
    }
    let xid =
        store.sql.query_scalar::<String>("select pg_current_xact_id()::text").fetch_one(connection);
    let xid = xid.await.map_err(told)?;
    store.requests.tell_after_commit(Uncommitted { xid, news });
    Ok(())
}

impl Worker {
    /// Asks about open transactions, at first often, then less so, and tells of those that have
    /// committed.
    pub(crate) async fn watch_transactions(
        &self,
        arrives: &mut mpsc::UnboundedReceiver<Uncommitted>,
    ) {
        let mut open: Vec<Uncommitted> = Vec::new();
        let mut pause = SOON;
        loop {
            if open.is_empty() {
                let Some(first) = arrives.next().await else { return };
                open.push(first);
                pause = SOON;
            } else {
                let mut waits = std::pin::pin!(driver::sleep(pause).fuse());
                select_biased! {
                    another = arrives.next() => {
                        let Some(another) = another else { return };
                        open.push(another);
                        pause = SOON;
                        continue;
                    }
                    () = waits => pause = (pause * 2).min(LATE),
                }
            }
            let xids: Vec<String> = open.iter().map(|one| one.xid.clone()).collect();
            let stand = self
                .connections
                .call(async |connection| {
                    self.sql
                        .query_scalar::<Option<String>>(
                            "select pg_xact_status(x.xid::xid8) \
                         from unnest($1::text[]) with ordinality as x(xid, nth) order by x.nth",
                        )
                        .bind(&xids)
                        .fetch_all(connection)
                        .await
                })
                .await;
            let Ok(stand) = stand else { continue };
            let mut stand = stand.into_iter();
            for one in std::mem::take(&mut open) {
                match stand.next().flatten().as_deref() {
                    Some("committed") => {
                        // It came before its commit.
                        self.marks.clear();
                        self.wakes.tell(one.news);
                    }
                    Some("in progress") => open.push(one),
                    // Rolled back, or so long ago that the server has forgotten.
                    _ => {}
                }
            }
        }
    }
}

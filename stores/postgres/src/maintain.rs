//! Maintain: leases are renewed and taken back, due tasks told of, tasks cancelled, queues paused,
//! ends pruned.

use std::collections::HashMap;
use std::time::Duration;

use conveyor_core::store::{
    CancelReply, Renewed, Rescue, RescueRequest, Rescued, RescuedAs, StoreResult,
};
use conveyor_core::{End, QueueName, RetentionByEnd, TaskId, Timestamp};
use sqlx::Row;
use uuid::Uuid;

use crate::convert;
use crate::driver;
use crate::error::{told, unavailable};
use crate::settle::ON_REQUEST;
use crate::wake::News;
use crate::worker::{Renewal, Worker};

/// How often a renewal that met another transaction is tried before it is answered as busy, and
/// how long it waits in between. A batch of settles is over by then, a user's transaction need
/// not be.
const RENEWALS: u32 = 5;
const BETWEEN_RENEWALS: Duration = Duration::from_millis(4);

/// How often a task that another transaction holds is tried to be cancelled.
const CANCELS: u32 = 100;
const BETWEEN_CANCELS: Duration = Duration::from_millis(20);

/// How often what was counted is taken up, and how many batches at a time.
const TAKE_UP: Duration = Duration::from_secs(10);
const TAKEN_UP: i64 = 20_000;

impl Worker {
    pub(crate) async fn renew(&self, (by, fences, lease): Renewal) -> StoreResult<Vec<Renewed>> {
        let mut replies = vec![Renewed::Lost; fences.len()];
        // Only its own holder renews a lease.
        let mut left: Vec<usize> =
            (0..fences.len()).filter(|&at| fences[at].incarnation == by).collect();
        for attempt in 1..=RENEWALS {
            let ids: Vec<Uuid> = left.iter().map(|&at| convert::uuid(fences[at].task)).collect();
            let epochs: Vec<i64> = left.iter().map(|&at| fences[at].epoch.cast_signed()).collect();
            let rows = self
                .renewals
                .call(async |connection| {
                    self.sql
                        .query_scalar::<i16>(
                            "select reply from conveyor.renew_1($1, $2, $3, $4) order by nth",
                        )
                        .bind(by.get().cast_signed())
                        .bind(&ids)
                        .bind(&epochs)
                        .bind(convert::micros(lease))
                        .fetch_all(connection)
                        .await
                })
                .await?;
            for (&at, reply) in left.iter().zip(&rows) {
                replies[at] = match reply {
                    0 => Renewed::Held { cancel: false },
                    1 => Renewed::Held { cancel: true },
                    2 => Renewed::Lost,
                    _ => Renewed::Busy,
                };
            }
            left.retain(|&at| replies[at] == Renewed::Busy);
            if left.is_empty() || attempt == RENEWALS {
                break;
            }
            driver::sleep(BETWEEN_RENEWALS).await;
        }
        Ok(replies)
    }

    pub(crate) async fn rescue(&self, request: RescueRequest) -> StoreResult<Rescue> {
        let rows = self
            .connections
            .call(async |connection| {
                self.sql
                    .query_as::<(Option<Uuid>, Option<i64>, Option<i64>, Option<i16>, Option<i64>)>(
                        "select id, lane, holder, rescued_as, next \
                         from conveyor.rescue_1($1, $2, $3, $4)",
                    )
                    .bind(request.by.get().cast_signed())
                    .bind(convert::micros(request.lease))
                    .bind(i64::from(request.crash_budget))
                    .bind(convert::limit(request.limit))
                    .fetch_all(connection)
                    .await
            })
            .await?;
        let lanes: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let names = self.names_of(&lanes).await?;
        let mut names = names.iter();
        let (mut rescue, mut news) = (Rescue::default(), News::default());
        for row in rows {
            let (Some(id), Some(holder), Some(code)) = (row.0, row.2, row.3) else {
                rescue.next = row.4.map(convert::time);
                continue;
            };
            let Some(names) = names.next() else { continue };
            row.1.inspect(|&lane| self.marks.waits(lane, None));
            let id = convert::task_id(id);
            let rescued_as = match code {
                0 => RescuedAs::Interrupted,
                1 => RescuedAs::Suspect,
                2 => RescuedAs::Charged,
                3 => RescuedAs::Crashed,
                _ => RescuedAs::Cancelled,
            };
            match rescued_as {
                RescuedAs::Crashed => news.ended(id, End::Crashed),
                RescuedAs::Cancelled => news.ended(id, End::Cancelled(ON_REQUEST.to_owned())),
                _ => news.claimable(&names.queue, names.priority, 1),
            }
            let from = convert::incarnation(holder);
            rescue.rescued.push(Rescued { id, kind: names.kind.clone(), from, rescued_as });
        }
        self.wakes.tell(news);
        Ok(rescue)
    }

    /// Due tasks are claimable by the clock alone; what there is to do is to tell of them.
    pub(crate) async fn promote(&self) -> StoreResult<Option<Timestamp>> {
        let since = self.promoted.get();
        let rows = self
            .connections
            .call(async |connection| {
                self.sql
                    .query_as::<(Option<i64>, Option<i64>, i64)>(
                        "select lane, next, moment from conveyor.promote_1($1)",
                    )
                    .bind(since)
                    .fetch_all(connection)
                    .await
            })
            .await?;
        let lanes: Vec<i64> = rows.iter().filter_map(|row| row.0).collect();
        let mut news = News::default();
        for names in self.names_of(&lanes).await? {
            news.claimable(&names.queue, names.priority, 1);
        }
        if let Some(moment) = rows.iter().map(|row| row.2).max() {
            self.promoted.set(moment);
        }
        // Each process sees for itself what has become due.
        self.wakes.tell_here(&news);
        Ok(rows.iter().find_map(|row| row.1).map(convert::time))
    }

    pub(crate) async fn cancel(&self, ids: &[TaskId]) -> StoreResult<Vec<CancelReply>> {
        let mut known: HashMap<TaskId, CancelReply> = HashMap::new();
        let mut left: Vec<TaskId> = ids.to_vec();
        left.sort_unstable();
        left.dedup();
        let mut news = News::default();
        let mut attempts = 0;
        while !left.is_empty() {
            if attempts == CANCELS {
                let why = "another transaction holds a task that is to be cancelled";
                self.wakes.tell(news);
                return Err(unavailable(why));
            }
            if attempts > 0 {
                driver::sleep(BETWEEN_CANCELS).await;
            }
            attempts += 1;
            let asked: Vec<Uuid> = left.iter().copied().map(convert::uuid).collect();
            let replies = self
                .connections
                .call(async |connection| {
                    self.sql
                        .query_scalar::<i16>("select reply from conveyor.cancel_1($1) order by nth")
                        .bind(&asked)
                        .fetch_all(connection)
                        .await
                })
                .await?;
            for (&id, reply) in left.iter().zip(&replies) {
                let reply = match reply {
                    0 => CancelReply::Cancelled,
                    1 => CancelReply::Requested,
                    2 => CancelReply::AlreadyEnded,
                    3 => CancelReply::Unknown,
                    _ => continue,
                };
                match reply {
                    CancelReply::Cancelled => {
                        news.ended(id, End::Cancelled(ON_REQUEST.to_owned()));
                    }
                    CancelReply::Requested => news.cancel_requested(id),
                    _ => {}
                }
                known.insert(id, reply);
            }
            left.retain(|id| !known.contains_key(id));
        }
        self.wakes.tell(news);
        let reply = |id: &TaskId| {
            let reply = known.get(id).copied().unwrap_or(CancelReply::Unknown);
            if reply == CancelReply::Cancelled {
                // Named once more, it has ended by then.
                known.insert(*id, CancelReply::AlreadyEnded);
            }
            reply
        };
        Ok(ids.iter().map(reply).collect())
    }

    pub(crate) async fn pause(&self, queue: &QueueName, paused: bool) -> StoreResult<()> {
        let change = if paused {
            "insert into conveyor.pause (queue) values ($1) on conflict do nothing"
        } else {
            "delete from conveyor.pause where queue = $1"
        };
        let changed = self
            .connections
            .call(async |connection| {
                let change = self.sql.query(change).bind(queue.as_str());
                Ok(change.execute(connection).await?.rows_affected())
            })
            .await?;
        if changed > 0 && !paused {
            self.tell_of_queue(queue).await?;
        }
        Ok(())
    }

    pub(crate) async fn paused(&self) -> StoreResult<Vec<QueueName>> {
        let names: Vec<String> = self
            .connections
            .call(async |connection| {
                let paused = "select queue from conveyor.pause order by queue";
                self.sql.query_scalar(paused).fetch_all(connection).await
            })
            .await?;
        names.into_iter().map(convert::queue).collect()
    }

    /// Tells what there is to claim in a queue.
    async fn tell_of_queue(&self, queue: &QueueName) -> StoreResult<()> {
        let lanes =
            self.connections
                .call(async |connection| {
                    self.sql.query_scalar::<i64>(
                    "select distinct l.id from conveyor.lane l where l.queue = $1 and exists (
                        select from conveyor.task t where t.lane = l.id and not t.parked
                    )",
                )
                .bind(queue.as_str())
                .fetch_all(connection)
                .await
                })
                .await?;
        let mut news = News::default();
        for names in self.names_of(&lanes).await? {
            news.claimable(&names.queue, names.priority, 1);
        }
        self.wakes.tell(news);
        Ok(())
    }

    pub(crate) async fn prune(&self, limit: usize) -> StoreResult<usize> {
        let retention = &self.options.retention;
        let RetentionByEnd { succeeded, failed, cancelled, crashed, .. } = retention;
        let ages = [*succeeded, *failed, *cancelled, *crashed].map(convert::micros);
        let kept = convert::limit(retention.count);
        let pruned: i64 = self
            .connections
            .call(async |connection| {
                self.sql
                    .query_scalar("select conveyor.prune_1($1, $2, $3)")
                    .bind(&ages[..])
                    .bind(kept)
                    .bind(convert::limit(limit))
                    .fetch_one(connection)
                    .await
            })
            .await?;
        Ok(usize::try_from(pruned).unwrap_or(0))
    }

    /// Takes up what was counted, again and again.
    pub(crate) async fn take_up_counts(&self) {
        loop {
            driver::sleep(TAKE_UP).await;
            let taken = self
                .connections
                .call(async |connection| {
                    let fold = self.sql.query_scalar::<i64>("select conveyor.fold_1($1)");
                    fold.bind(TAKEN_UP).fetch_one(connection).await
                })
                .await;
            if let Err(error) = taken {
                tracing::debug!(%error, "counts are not taken up now");
            }
        }
    }

    pub(crate) async fn now(&self) -> StoreResult<Timestamp> {
        let row = self
            .connections
            .call(async |connection| {
                self.sql.query("select conveyor.now()").fetch_one(connection).await
            })
            .await?;
        row.try_get(0).map(convert::time).map_err(told)
    }
}

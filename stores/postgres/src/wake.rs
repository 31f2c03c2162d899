//! Wake-ups: this process's own sinks are told at once; other processes by NOTIFY, put together and
//! sent after the commit on a connection of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use conveyor_core::store::{Wake, WakeSink};
use conveyor_core::{End, Priority, QueueName, TaskId, Timestamp};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use sqlx::postgres::{PgListener, PgPoolOptions};
use uuid::Uuid;

use crate::driver;
use crate::worker::Worker;

/// How long news are put together after some were sent.
const TOGETHER: Duration = Duration::from_millis(5);

/// The most bytes of a NOTIFY; PostgreSQL takes up to 8,000.
const LONGEST: usize = 7_000;

/// The most ends that others are told of at once: who waits for one looks by itself now and then,
/// and for a stream of ends, being told of each would cost more than that.
const ENDS_TOLD: usize = 16;

/// How often a quiet connection is asked whether it is there, and how long a lost one is waited
/// for, at most.
const QUIET: Duration = Duration::from_secs(30);
const BACKOFF: Duration = Duration::from_secs(5);

/// What happened.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct News {
    claimable: BTreeMap<QueueName, (Priority, usize)>,
    due: Option<Timestamp>,
    ended: Vec<(TaskId, Option<End>)>,
    cancel_requested: Vec<TaskId>,
    schedule_changed: bool,
}

impl News {
    pub(crate) fn of_schedules() -> Self {
        News { schedule_changed: true, ..News::default() }
    }

    /// A task waits in a queue, until `due`.
    pub(crate) fn waits(&mut self, queue: &QueueName, priority: Priority, due: i64, now: i64) {
        if due > now {
            let due = Timestamp::from_micros(due);
            self.due = Some(self.due.map_or(due, |known| known.min(due)));
        } else {
            self.claimable(queue, priority, 1);
        }
    }

    pub(crate) fn claimable(&mut self, queue: &QueueName, priority: Priority, count: usize) {
        match self.claimable.get_mut(queue) {
            Some((highest, known)) => {
                *highest = (*highest).max(priority);
                *known += count;
            }
            None => _ = self.claimable.insert(queue.clone(), (priority, count)),
        }
    }

    pub(crate) fn ended(&mut self, task: TaskId, end: End) {
        self.ended.push((task, Some(end)));
    }

    pub(crate) fn cancel_requested(&mut self, task: TaskId) {
        self.cancel_requested.push(task);
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == News::default()
    }

    /// Takes in what others are to be told.
    fn add(&mut self, other: News) {
        for (queue, (priority, count)) in other.claimable {
            self.claimable(&queue, priority, count);
        }
        self.due = [self.due, other.due].into_iter().flatten().min();
        let room = ENDS_TOLD.saturating_sub(self.ended.len());
        self.ended.extend(other.ended.into_iter().take(room));
        self.cancel_requested.extend(other.cancel_requested);
        self.schedule_changed |= other.schedule_changed;
    }

    /// In words that fit into a NOTIFY each.
    fn words(&self, from: Uuid) -> Vec<String> {
        let claimable = self
            .claimable
            .iter()
            .map(|(queue, (priority, count))| format!("q {} {count} {queue}", priority.get()));
        let due = self.due.iter().map(|due| format!("d {}", due.as_micros()));
        let ended = self.ended.iter().map(|(task, _)| format!("e {task}"));
        let cancels = self.cancel_requested.iter().map(|task| format!("x {task}"));
        let schedules = self.schedule_changed.then(|| "s".to_owned());
        let start = format!("c\n{from}");
        let mut all = vec![start.clone()];
        for line in claimable.chain(due).chain(ended).chain(cancels).chain(schedules) {
            if all.last().is_some_and(|words| words.len() + line.len() > LONGEST) {
                all.push(start.clone());
            }
            if let Some(words) = all.last_mut() {
                words.push('\n');
                words.push_str(&line);
            }
        }
        all
    }

    /// What another process said; nothing of what it said itself, and nothing of what a later
    /// version may say.
    fn heard(words: &str, own: Uuid) -> Option<News> {
        let mut lines = words.split('\n');
        if lines.next() != Some("c") || lines.next() == Some(own.to_string().as_str()) {
            return None;
        }
        let mut news = News::default();
        for line in lines {
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            match what {
                "q" => {
                    let mut parts = rest.splitn(3, ' ');
                    let priority = parts.next().and_then(|text| text.parse().ok());
                    let count = parts.next().and_then(|text| text.parse().ok());
                    let queue = parts.next().and_then(|name| QueueName::new(name).ok());
                    if let (Some(priority), Some(count), Some(queue)) = (priority, count, queue) {
                        news.claimable(&queue, Priority::new(priority), count);
                    }
                }
                "d" => news.due = rest.parse().ok().map(Timestamp::from_micros),
                "e" => news.ended.extend(rest.parse().ok().map(|task| (task, None))),
                "x" => news.cancel_requested.extend(rest.parse::<TaskId>().ok()),
                "s" => news.schedule_changed = true,
                _ => {}
            }
        }
        Some(news)
    }
}

/// Who is to be told.
pub(crate) struct Wakes {
    sinks: RwLock<Vec<Weak<dyn WakeSink>>>,
    /// What other processes are still to be told.
    outgoing: Mutex<News>,
    has_news: mpsc::Sender<()>,
    hears_news: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Wakes {
    pub(crate) fn new() -> Arc<Self> {
        let (has_news, hears_news) = mpsc::channel(0);
        Arc::new(Wakes {
            sinks: RwLock::default(),
            outgoing: Mutex::default(),
            has_news,
            hears_news: Mutex::new(Some(hears_news)),
        })
    }

    pub(crate) fn subscribe(&self, sink: Weak<dyn WakeSink>) {
        let mut sinks = self.sinks.write().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|sink| sink.strong_count() > 0);
        sinks.push(sink);
    }

    /// Tells this process, and has the others told.
    pub(crate) fn tell(&self, news: News) {
        if news.is_empty() {
            return;
        }
        self.tell_here(&news);
        self.outgoing().add(news);
        // One that is not taken yet is enough.
        _ = self.has_news.clone().try_send(());
    }

    /// Tells this process only.
    pub(crate) fn tell_here(&self, news: &News) {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        for sink in sinks.iter().filter_map(Weak::upgrade) {
            for (queue, &(priority, count)) in &news.claimable {
                sink.wake(Wake::Claimable { queue, priority, count });
            }
            if let Some(due) = news.due {
                sink.wake(Wake::Due(due));
            }
            if sink.watches_ends() {
                for (task, end) in &news.ended {
                    sink.wake(Wake::Ended { task: *task, end: end.as_ref() });
                }
            }
            for &task in &news.cancel_requested {
                sink.wake(Wake::CancelRequested(task));
            }
            if news.schedule_changed {
                sink.wake(Wake::ScheduleChanged);
            }
        }
    }

    fn outgoing(&self) -> MutexGuard<'_, News> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Tells other processes, at once if nothing was told for a while.
    pub(crate) async fn notify_others(&self) {
        let own = self.name.get();
        let hears = self.wakes.hears_news.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut hears) = hears else { return };
        while hears.next().await.is_some() {
            let news = std::mem::take(&mut *self.wakes.outgoing());
            let words = news.words(own);
            let notified = self
                .connections
                .call(async |connection| {
                    self.sql.query(
                        "select pg_notify(conveyor.channel_1(), words) from unnest($1::text[]) words",
                    )
                    .bind(&words)
                    .execute(connection)
                    .await
                })
                .await;
            if let Err(error) = notified {
                tracing::debug!(%error, "other processes are not told; they will look");
            }
            driver::sleep(TOGETHER).await;
        }
    }

    /// Hears what other processes tell, for as long as the store is open; `ready` learns that it
    /// does, or that it cannot yet.
    pub(crate) async fn hear_others(&self, ready: oneshot::Sender<()>) {
        if self.options.pooler {
            // What it asked to hear would come to whoever has the connection then.
            return;
        }
        let mut ready = Some(ready);
        let mut pause = Duration::from_millis(100);
        loop {
            let error = match self.listen().await {
                Ok(mut listener) => {
                    pause = Duration::from_millis(100);
                    ready.take().map(|ready| ready.send(()));
                    self.hear(&mut listener).await
                }
                Err(error) => error,
            };
            ready.take().map(|ready| ready.send(()));
            tracing::debug!(%error, "other processes are not heard for now; what they do is polled");
            driver::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF);
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(self.options.patience)
            .connect_lazy_with(self.options.connect.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        let channel = self.sql.query_scalar("select conveyor.channel_1()");
        let channel: String = channel.fetch_one(&mut listener).await?;
        listener.listen(&channel).await?;
        Ok(listener)
    }

    /// Passes on what is heard, until the connection is lost.
    async fn hear(&self, listener: &mut PgListener) -> sqlx::Error {
        let own = self.name.get();
        loop {
            match driver::within(QUIET, listener.try_recv()).await {
                Some(Ok(Some(told))) => {
                    if let Some(news) = News::heard(told.payload(), own) {
                        self.wakes.tell_here(&news);
                    }
                }
                Some(Ok(None)) => return sqlx::Error::WorkerCrashed,
                Some(Err(error)) => return error,
                None => {
                    let alive = sqlx::query("select 1").execute(&mut *listener);
                    match driver::within(self.options.patience, alive).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return error,
                        None => return sqlx::Error::PoolTimedOut,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &'static str) -> QueueName {
        QueueName::from_static(name)
    }

    #[test]
    fn what_is_told_is_heard_by_others_and_not_by_oneself() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut news = News::of_schedules();
        news.claimable(&queue(" a b "), Priority::LOW, 2);
        news.claimable(&queue(" a b "), Priority::HIGH, 1);
        news.waits(&queue("q"), Priority::NORMAL, 9, 8);
        news.cancel_requested(TaskId::from_u128(u128::MAX));
        news.ended.push((TaskId::from_u128(7), None));
        let words = news.words(own);
        assert_eq!(words.len(), 1);
        assert_eq!(News::heard(&words[0], own), None);
        assert_eq!(News::heard(&words[0], other), Some(news));
    }

    #[test]
    fn what_does_not_fit_into_one_notification_goes_into_several() {
        let mut news = News::default();
        for number in 0..1_000 {
            news.cancel_requested(TaskId::from_u128(number));
        }
        let words = news.words(Uuid::nil());
        assert!(words.len() > 1 && words.iter().all(|words| words.len() < 8_000));
        let mut heard = News::default();
        for words in &words {
            heard.add(News::heard(words, Uuid::max()).unwrap());
        }
        assert_eq!(heard, news);
    }
}

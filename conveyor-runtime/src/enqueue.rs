//! Enqueue: a task gets its identity and every default that is fixed now, and goes to the store.

use conveyor_core::payload::AnyPayload;
use conveyor_core::store::{Enqueued, NewTask, StoreErrorKind};
use conveyor_core::{AnyTask, EnqueueError, Key, Kind, Receipt, TaskId};

use crate::engine::{Engine, RetryPause};
use crate::phase::Phase;

impl Engine {
    /// Enqueues a task, waiting for room.
    ///
    /// Cancel safe: a task whose enqueue is dropped while it waits for room is not in the store.
    pub(crate) async fn enqueue(&self, task: AnyTask) -> Result<Receipt, EnqueueError> {
        match self.enqueue_at_once(task) {
            Begun::Over(reply) => reply,
            // Boxed, so that an enqueue that need not wait stays small.
            Begun::Waits(new) => Box::pin(self.enqueue_when_asked(new)).await,
        }
    }

    /// An enqueue as far as it goes without waiting: to its end, if the store answers at once and
    /// has room. No future, in which the task would be copied from one call to the next.
    fn enqueue_at_once(&self, task: AnyTask) -> Begun {
        let new = match self.check_accepting().and_then(|()| self.new_task(task)) {
            Ok(new) => new,
            Err(error) => return Begun::Over(Err(error)),
        };
        if !self.door.capabilities.immediate || self.must_queue_up(&new) {
            return Begun::Waits(Box::new(new));
        }
        let asked = Asked::of(&new);
        let reply = self.door.at_once("enqueue", |store| store.enqueue_one(new));
        match reply.map_err(EnqueueError::from).and_then(|reply| self.answer(asked, reply)) {
            Ok(Sent::Accepted(receipt)) => Begun::Over(Ok(receipt)),
            Ok(Sent::Full(task, _)) => Begun::Waits(task),
            Err(error) => Begun::Over(Err(error)),
        }
    }

    /// Enqueues a task that could not be enqueued at once.
    async fn enqueue_when_asked(&self, mut new: Box<NewTask>) -> Result<Receipt, EnqueueError> {
        if !self.door.capabilities.immediate && !self.must_queue_up(&new) {
            match self.send_one(*new).await? {
                Sent::Accepted(receipt) => return Ok(receipt),
                Sent::Full(task, _) => new = task,
            }
        }
        self.enqueue_when_there_is_room(new).await
    }

    /// Whether a task goes to the end of the line without asking the store, since others wait
    /// already. One with a key may be a duplicate, which is to be told at once.
    fn must_queue_up(&self, new: &NewTask) -> bool {
        !self.signals.line.is_empty() && new.key.is_none()
    }

    /// Waits for something, or for the manager to accept nothing any more.
    async fn or_stopping(&self, wait: impl Future<Output = ()>) {
        let stopping = std::pin::pin!(self.phases.reached(Phase::Draining));
        futures::future::select(std::pin::pin!(wait), stopping).await;
    }

    async fn enqueue_when_there_is_room(
        &self,
        mut new: Box<NewTask>,
    ) -> Result<Receipt, EnqueueError> {
        let place = self.signals.line.enter();
        self.or_stopping(place.first()).await;
        loop {
            self.check_accepting()?;
            // Asked once more after listening, so that no room that came in between is missed.
            let room = self.signals.room.listen();
            match self.send_one(*new).await? {
                Sent::Accepted(receipt) => return Ok(receipt),
                Sent::Full(task, _) => new = task,
            }
            self.or_stopping(room).await;
        }
    }

    /// Enqueues a task, or says at once that there is no room.
    pub(crate) async fn try_enqueue(&self, task: AnyTask) -> Result<Receipt, EnqueueError> {
        let new = self.new_task(task)?;
        self.check_accepting()?;
        match self.send_one(new).await? {
            Sent::Accepted(receipt) => Ok(receipt),
            Sent::Full(_, capacity) => Err(EnqueueError::Full { capacity }),
        }
    }

    /// Enqueues many tasks in one round trip, each with its own answer; waits for room for those
    /// that do not fit.
    pub(crate) async fn enqueue_all(
        &self,
        tasks: Vec<AnyTask>,
    ) -> Vec<Result<Receipt, EnqueueError>> {
        let mut answers: Vec<Option<Result<Receipt, EnqueueError>>> = Vec::new();
        answers.resize_with(tasks.len(), || None);
        // What is asked for, so that a refusal can name it.
        let mut asked = Vec::new();
        let mut batch = Vec::new();
        for (at, task) in tasks.into_iter().enumerate() {
            match self.check_accepting().and_then(|()| self.new_task(task)) {
                Ok(new) => {
                    asked.push((at, Asked::of(&new)));
                    batch.push(new);
                }
                Err(error) => answers[at] = Some(Err(error)),
            }
        }
        let queue_up = !batch.is_empty() && batch.iter().all(|new| self.must_queue_up(new));
        let mut place = queue_up.then(|| self.signals.line.enter());
        loop {
            if let Some(place) = &place {
                self.or_stopping(place.first()).await;
            }
            if let Err(error) = self.check_accepting() {
                for (at, _) in asked {
                    answers[at] = Some(Err(error.clone()));
                }
                break;
            }
            let room = self.signals.room.listen();
            let replies = match self.send(batch).await {
                Ok(replies) => replies,
                Err(error) => {
                    for (at, _) in asked {
                        answers[at] = Some(Err(error.clone()));
                    }
                    break;
                }
            };
            let (mut full, mut still_asked) = (Vec::new(), Vec::new());
            for ((at, of), reply) in asked.into_iter().zip(replies) {
                match self.answer(of, reply) {
                    Ok(Sent::Accepted(receipt)) => answers[at] = Some(Ok(receipt)),
                    Ok(Sent::Full(task, _)) => {
                        still_asked.push((at, Asked::of(&task)));
                        full.push(*task);
                    }
                    Err(error) => answers[at] = Some(Err(error)),
                }
            }
            if full.is_empty() {
                break;
            }
            (batch, asked) = (full, still_asked);
            if place.is_some() {
                self.or_stopping(room).await;
            } else {
                // Whatever came in between is found as soon as it is this one's turn.
                place = Some(self.signals.line.enter());
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.expect("invariant: every task was answered"))
            .collect()
    }

    pub(crate) fn check_accepting(&self) -> Result<(), EnqueueError> {
        if self.phases.now() < Phase::Draining { Ok(()) } else { Err(EnqueueError::Stopped) }
    }

    /// Gives a task its identity, and resolves what is fixed at the enqueue: what the task itself
    /// says, then its type, then its worker, then the manager's defaults.
    pub(crate) fn new_task(&self, task: AnyTask) -> Result<NewTask, EnqueueError> {
        let AnyTask { kind, payload, set } = task;
        if let Some(error) = set.invalid {
            return Err((*error).into());
        }
        if set.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(EnqueueError::ZeroTimeout { kind });
        }
        let (mut key, mut queue, mut priority) = (set.key, set.queue, set.priority);
        if key.is_none() || queue.is_none() || priority.is_none() {
            let workers = self.registry.glance();
            if let Some(worker) = workers.get(&kind) {
                let definition = &worker.definition;
                if let (None, Some(key_of)) = (&key, &definition.key) {
                    key = key_of(&payload).transpose()?;
                }
                queue = queue.or_else(|| definition.settings.queue.clone());
                priority = priority.or(definition.settings.priority);
            }
        }
        let queue = queue.unwrap_or_else(|| self.defaults.queue.clone());
        self.serve(&queue);
        Ok(NewTask {
            id: self.ids.next(self.runtime.wall()),
            payload: self.fit(&kind, payload)?,
            kind,
            queue,
            key,
            priority: priority.unwrap_or(self.defaults.priority),
            start: set.start,
            timeout: set.timeout,
            retries: set.retries,
        })
    }

    /// The payload as the store can keep it.
    fn fit(&self, kind: &Kind, payload: AnyPayload) -> Result<AnyPayload, EnqueueError> {
        let capabilities = &self.door.capabilities;
        if !capabilities.encoded {
            return Ok(payload);
        }
        let encoded = payload.encoded(&self.codecs)?;
        let (len, limit) = (encoded.bytes.len(), capabilities.max_payload);
        if len > limit {
            return Err(EnqueueError::TooLarge { kind: kind.clone(), len, limit });
        }
        Ok(AnyPayload::from_encoded(encoded))
    }

    async fn send_one(&self, new: NewTask) -> Result<Sent, EnqueueError> {
        let asked = Asked::of(&new);
        let reply = if self.door.capabilities.immediate {
            self.door.at_once("enqueue", |store| store.enqueue_one(new))?
        } else {
            // Boxed, so that an enqueue whose reply is at hand is small.
            let mut replies = Box::pin(self.send(vec![new])).await?;
            replies.pop().expect("invariant: a store answers every element of a batch")
        };
        self.answer(asked, reply)
    }

    /// Sends a batch; what cannot be known to have arrived is sent again, since an id is accepted
    /// only once.
    async fn send(&self, batch: Vec<NewTask>) -> Result<Vec<Enqueued>, EnqueueError> {
        const TRIES: u32 = 4;
        let mut pause = RetryPause::new();
        for _ in 1..TRIES {
            match self.ask_for(batch.len(), "enqueue", |store| store.enqueue(batch.clone())).await {
                Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                    pause.wait(self).await;
                }
                reply => return Ok(reply?),
            }
        }
        Ok(self.ask_for(batch.len(), "enqueue", |store| store.enqueue(batch)).await?)
    }

    fn answer(&self, asked: Asked, reply: Enqueued) -> Result<Sent, EnqueueError> {
        match reply {
            Enqueued::Accepted => Ok(Sent::Accepted(Receipt::new(asked.id, self.host()))),
            Enqueued::Full { task, capacity } => Ok(Sent::Full(task, capacity)),
            Enqueued::Duplicate(id) => match asked.keyed {
                Some((kind, key)) => Err(EnqueueError::Duplicate { id, kind, key }),
                None => unreachable!("a store refuses a task as a duplicate only by its key"),
            },
        }
    }
}

/// How far an enqueue came at once.
enum Begun {
    /// To its end.
    Over(Result<Receipt, EnqueueError>),
    /// The store takes its time, or has no room.
    Waits(Box<NewTask>),
}

enum Sent {
    Accepted(Receipt),
    Full(Box<NewTask>, usize),
}

/// What was asked for.
struct Asked {
    id: TaskId,
    keyed: Option<(Kind, Key)>,
}

impl Asked {
    fn of(new: &NewTask) -> Self {
        Asked { id: new.id, keyed: new.key.clone().map(|key| (new.kind.clone(), key)) }
    }
}

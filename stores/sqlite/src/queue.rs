//! [`Queue`]: calls on their way to the thread that has the connection.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conveyor_core::store::{StoreError, StoreFuture, StoreResult};
use futures::FutureExt as _;
use futures::channel::oneshot;
use rusqlite::Connection;

use crate::error::{Result, closed};
use crate::step::Step;

/// A call, which gets what it needs of the thread that runs it.
pub(crate) trait Job<C: ?Sized>: Send {
    /// Whether anybody still waits for the reply.
    fn is_wanted(&self) -> bool;

    /// Does what was asked, and keeps the reply.
    fn run(&mut self, context: &mut C) -> Result<()>;

    /// Has the reply be an error, whatever it was.
    fn fail(&mut self, error: StoreError);

    /// Sends the reply.
    fn reply(self: Box<Self>);
}

/// Calls that wait. What comes while a transaction is under way is taken together by the next.
pub(crate) struct Queue<J: ?Sized> {
    state: Mutex<State<J>>,
    news: Condvar,
}

struct State<J: ?Sized> {
    waiting: Vec<Box<J>>,
    look: Look,
    closed: bool,
}

/// When to look whether somebody else changed the file.
///
/// The system tells of a commit when its first bytes are written, before the disk has them and
/// others can see it. So one looks at once, and if there is nothing yet, a few times more.
#[derive(Default)]
struct Look {
    at: Option<Instant>,
    /// How often nothing was found since the last news.
    in_vain: usize,
}

/// How long after a look in vain the next one follows; a disk may be slow. After the last, whoever
/// waits finds it by asking as usual.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(125),
    Duration::from_millis(625),
];

/// What the thread is to do next.
pub(crate) struct Taken<J: ?Sized> {
    pub(crate) jobs: Vec<Box<J>>,
    /// Whether to look what others changed.
    pub(crate) look: bool,
}

impl<J: ?Sized> Default for Queue<J> {
    fn default() -> Self {
        let state = State { waiting: Vec::new(), look: Look::default(), closed: false };
        Queue { state: Mutex::new(state), news: Condvar::new() }
    }
}

impl<J: ?Sized> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; dropped, which is a reply too, if nobody takes it any more.
    fn push(&self, job: Box<J>) {
        let mut state = self.lock();
        if !state.closed {
            state.waiting.push(job);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Says that somebody else may have changed the file.
    pub(crate) fn file_changed(&self) {
        self.lock().look = Look { at: Some(Instant::now()), in_vain: 0 };
        self.news.notify_one();
    }

    /// Says that a look found nothing, so that another one follows.
    pub(crate) fn looked_in_vain(&self) {
        let look = &mut self.lock().look;
        // News that came meanwhile are looked at first.
        if look.at.is_none()
            && let Some(&pause) = PAUSES.get(look.in_vain)
        {
            *look = Look { at: Some(Instant::now() + pause), in_vain: look.in_vain + 1 };
        }
    }

    /// Has the thread end once it did what waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    /// All that waits, up to `most` calls, as soon as there is something; `None` at the end.
    pub(crate) fn take(&self, most: usize) -> Option<Taken<J>> {
        let mut state = self.lock();
        loop {
            let wait = state.look.at.map(|at| at.saturating_duration_since(Instant::now()));
            let look = wait.is_some_and(|wait| wait.is_zero());
            let count = state.waiting.len().min(most);
            if look || count > 0 {
                if look {
                    state.look.at = None;
                }
                let jobs = state.waiting.drain(..count).collect();
                return Some(Taken { jobs, look });
            }
            if state.closed {
                return None;
            }
            state = match wait {
                Some(wait) => {
                    let waited = self.news.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A call with its reply.
struct Call<T, F> {
    call: Option<F>,
    reply: StoreResult<T>,
    to: oneshot::Sender<StoreResult<T>>,
}

impl<C, T, F> Job<C> for Call<T, F>
where
    C: ?Sized,
    T: Send,
    F: FnOnce(&mut C) -> Result<T> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.to.is_canceled()
    }

    fn run(&mut self, context: &mut C) -> Result<()> {
        if let Some(call) = self.call.take() {
            self.reply = Ok(call(context)?);
        }
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.reply = Err(error);
    }

    fn reply(self: Box<Self>) {
        // Nobody waits any more, or somebody does: either is right.
        let _ = self.to.send(self.reply);
    }
}

/// A call that changes the file.
pub(crate) type Write = dyn for<'a> Job<Step<'a>>;

/// A call that only reads it.
pub(crate) type Read = dyn Job<Connection>;

impl Queue<Write> {
    /// Has the thread make a call, and gives its reply.
    pub(crate) fn write<'a, T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Step<'_>) -> Result<T> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let (to, reply) = oneshot::channel();
        let job: Box<Write> = Box::new(Call { call: Some(call), reply: Err(closed()), to });
        self.push(job);
        StoreFuture::later(reply.map(|reply| reply.unwrap_or_else(|_| Err(closed()))))
    }
}

impl Queue<Read> {
    /// Has the thread make a call, and gives its reply.
    pub(crate) fn read<'a, T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let (to, reply) = oneshot::channel();
        let job: Box<Read> = Box::new(Call { call: Some(call), reply: Err(closed()), to });
        self.push(job);
        StoreFuture::later(reply.map(|reply| reply.unwrap_or_else(|_| Err(closed()))))
    }
}

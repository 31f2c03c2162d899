//! [`Queue`]: calls on their way to the thread that has the connection.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    /// Somebody else may have changed the file.
    changed: bool,
    closed: bool,
}

/// What the thread is to do next.
pub(crate) struct Taken<J: ?Sized> {
    pub(crate) jobs: Vec<Box<J>>,
    pub(crate) changed: bool,
}

impl<J: ?Sized> Default for Queue<J> {
    fn default() -> Self {
        let state = State { waiting: Vec::new(), changed: false, closed: false };
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
        self.lock().changed = true;
        self.news.notify_one();
    }

    /// Has the thread end once it did what waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// All that waits, up to `most` calls, as soon as there is something; `None` at the end.
    pub(crate) fn take(&self, most: usize) -> Option<Taken<J>> {
        let mut state = self.lock();
        loop {
            let changed = std::mem::take(&mut state.changed);
            let count = state.waiting.len().min(most);
            if changed || count > 0 {
                let jobs = state.waiting.drain(..count).collect();
                return Some(Taken { jobs, changed });
            }
            if state.closed {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
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

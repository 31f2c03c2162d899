//! [`Inspect`]: which tasks there are, a page at a time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use conveyor_core::state::TaskStateError;
use conveyor_core::store::{Filter, Page, StoreError, TaskInfo};
use conveyor_core::{Key, Kind, NameError, QueueName, TaskId, TaskState, Timestamp};

use crate::engine::Engine;
use crate::manager::Manager;

impl Manager {
    /// Begins to list tasks: all of them, unless it is told which.
    ///
    /// ```
    /// # async fn list(manager: conveyor_runtime::Manager) -> Result<(), conveyor_runtime::InspectError> {
    /// let mut pages = manager.inspect().state("parked").kind("send_email");
    /// while let Some(tasks) = pages.next_page().await? {
    ///     for task in tasks {
    ///         println!("{} {:?}", task.id, task.note);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Tasks come in the order of their ids, which is the order of their making, as far as the
    /// clocks of those who made them agree. A task that comes or goes between two pages moves
    /// nothing: none is told twice, and none is left out that was there all the time.
    pub fn inspect(&self) -> Inspect {
        Inspect {
            engine: Arc::clone(self.engine()),
            filter: Filter::default(),
            invalid: None,
            begun: false,
            over: false,
        }
    }
}

/// Which tasks to list, and how far that went. Begun by [`Manager::inspect`].
///
/// What is said of the tasks must hold of each: a second word on the same thing replaces the first.
#[must_use = "nothing is listed until `page`, `next_page` or `all`"]
pub struct Inspect {
    engine: Arc<Engine>,
    filter: Filter,
    /// The first mistake, told when something is to be listed.
    invalid: Option<InspectError>,
    /// A page was given.
    begun: bool,
    /// The last page was given.
    over: bool,
}

impl Inspect {
    /// Only tasks in that state: `TaskState::Queued` or `"queued"`.
    pub fn state<S: TryInto<TaskState, Error: Into<InspectError>>>(mut self, state: S) -> Self {
        self.filter.state = self.check(state);
        self
    }

    /// Only tasks of that kind.
    pub fn kind<K: TryInto<Kind, Error: Into<NameError>>>(mut self, kind: K) -> Self {
        self.filter.kind = self.check_name(kind);
        self
    }

    /// Only tasks of that queue.
    pub fn queue<Q: TryInto<QueueName, Error: Into<NameError>>>(mut self, queue: Q) -> Self {
        self.filter.queue = self.check_name(queue);
        self
    }

    /// Only tasks with that key.
    pub fn key<K: TryInto<Key, Error: Into<NameError>>>(mut self, key: K) -> Self {
        self.filter.key = self.check_name(key);
        self
    }

    /// Only tasks that were made at that time or later, in whole milliseconds, by the clocks of
    /// those who made them.
    pub fn enqueued_from(mut self, from: impl Into<Timestamp>) -> Self {
        self.filter.enqueued_from = Some(from.into());
        self
    }

    /// Only tasks that were made earlier.
    pub fn enqueued_before(mut self, before: impl Into<Timestamp>) -> Self {
        self.filter.enqueued_before = Some(before.into());
        self
    }

    /// Only tasks that are or were due at that time or later, by the store's clock.
    pub fn due_from(mut self, from: impl Into<Timestamp>) -> Self {
        self.filter.due_from = Some(from.into());
        self
    }

    /// Only tasks that are or were due earlier.
    pub fn due_before(mut self, before: impl Into<Timestamp>) -> Self {
        self.filter.due_before = Some(before.into());
        self
    }

    /// How many tasks a page has at most; 100 unless it is told. 0 is told so too.
    pub fn page_size(mut self, tasks: usize) -> Self {
        self.filter.limit = tasks;
        self
    }

    /// Goes on where a page left off: its [`next`](TaskPage::next), or that as a text.
    pub fn after<C: TryInto<Cursor, Error: Into<InspectError>>>(mut self, cursor: C) -> Self {
        self.filter.after = self.check(cursor).map(|Cursor(id)| id);
        self
    }

    /// Only what a filter leaves that was made elsewhere; it replaces all that was said before.
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    fn check<T, V: TryInto<T, Error: Into<InspectError>>>(&mut self, value: V) -> Option<T> {
        value.try_into().map_err(|error| _ = self.invalid.get_or_insert(error.into())).ok()
    }

    fn check_name<T, N: TryInto<T, Error: Into<NameError>>>(&mut self, name: N) -> Option<T> {
        let mistake = |error: N::Error| InspectError::Name(error.into());
        name.try_into().map_err(|error| _ = self.invalid.get_or_insert(mistake(error))).ok()
    }

    /// A page, and where the next one starts: for who lists one page now and another later, such as
    /// a web page with a link.
    ///
    /// Cancel safe: nothing is lost by dropping the future.
    ///
    /// # Errors
    /// [`InspectError`] if something is wrong with what was asked for, or the store failed.
    pub async fn page(mut self) -> Result<TaskPage, InspectError> {
        let page = self.ask().await?;
        Ok(TaskPage { tasks: page.tasks, next: page.next.map(Cursor) })
    }

    /// The next page, until there is none: for who walks over all of them.
    ///
    /// Cancel safe: dropped, or after an error, it gives the same page the next time.
    ///
    /// # Errors
    /// [`InspectError`] if something is wrong with what was asked for, or the store failed.
    pub async fn next_page(&mut self) -> Result<Option<Vec<TaskInfo>>, InspectError> {
        if self.over {
            return Ok(None);
        }
        let page = self.ask().await?;
        self.over = page.next.is_none();
        self.filter.after = page.next.or(self.filter.after);
        self.begun = true;
        Ok((!page.tasks.is_empty()).then_some(page.tasks))
    }

    /// All of the tasks, over as many pages as there are. They must find room in memory.
    ///
    /// # Errors
    /// [`InspectError`] if something is wrong with what was asked for, or the store failed.
    pub async fn all(mut self) -> Result<Vec<TaskInfo>, InspectError> {
        let mut all = Vec::new();
        while let Some(mut tasks) = self.next_page().await? {
            all.append(&mut tasks);
        }
        Ok(all)
    }

    async fn ask(&mut self) -> Result<Page, InspectError> {
        if let Some(invalid) = &self.invalid {
            return Err(invalid.clone());
        }
        let filter = &self.filter;
        let page = self.engine.door.call("inspect", |store| store.inspect(filter)).await?;
        if page.tasks.is_empty() && !self.begun && filter.after.is_none() {
            self.check_that_names_are_known().await?;
        }
        Ok(page)
    }

    /// Whether nothing was found since a name is not the right one.
    async fn check_that_names_are_known(&self) -> Result<(), InspectError> {
        let Filter { kind, queue, .. } = &self.filter;
        if kind.is_none() && queue.is_none() {
            return Ok(());
        }
        let engine = &self.engine;
        let counters = engine.door.call("counters", |store| store.counters()).await?;
        let workers = engine.registry.workers();
        if let Some(kind) = kind {
            let counted = counters.each.keys().map(|(_, kind)| kind.clone());
            let known: BTreeSet<Kind> =
                workers.iter().map(|worker| worker.kind().clone()).chain(counted).collect();
            if !known.contains(kind) {
                let known = known.into_iter().collect();
                return Err(InspectError::UnknownKind { kind: kind.clone(), known });
            }
        }
        if let Some(queue) = queue {
            let mut known = workers.queues();
            known.extend(counters.each.keys().map(|(queue, _)| queue.clone()));
            for pool in engine.signals.pools() {
                known.extend(pool.queues().iter().cloned());
            }
            if !known.contains(queue) {
                let known = known.into_iter().collect();
                return Err(InspectError::UnknownQueue { queue: queue.clone(), known });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Inspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspect")
            .field("filter", &self.filter)
            .field("invalid", &self.invalid)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

/// A page of tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    /// The tasks, in the order of their ids.
    pub tasks: Vec<TaskInfo>,
    /// Where the next page starts, if there is one: give it to [`Inspect::after`], with the same
    /// words on which tasks to list.
    pub next: Option<Cursor>,
}

/// Where a page starts. As a text it can be handed out and taken back: in a link, or on a command
/// line. What it looks like is nobody's to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(TaskId);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:032x}", self.0.as_u128())
    }
}

/// Tells a cursor from a task's id, which is something else to a reader.
const PREFIX: &str = "after-";

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| {
            digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        digits
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .map(|id| Cursor(TaskId::from_u128(id)))
            .ok_or_else(|| CursorError { text: text.chars().take(64).collect() })
    }
}

impl TryFrom<&str> for Cursor {
    type Error = CursorError;

    fn try_from(text: &str) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

/// Why a text is no cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no cursor; give the text of the `next` that came with a page, or none to begin"
)]
pub struct CursorError {
    text: String,
}

/// Why tasks could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A text is no state.
    #[error(transparent)]
    State(#[from] TaskStateError),
    /// A text is no cursor.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// There never was a task of the kind.
    #[error("there never was a task of the kind {kind:?}, and no worker here is for it; {}", Known(.known))]
    UnknownKind {
        /// The kind.
        kind: Kind,
        /// The kinds that are known.
        known: Vec<Kind>,
    },
    /// There never was a task of the queue.
    #[error("there never was a task of the queue {queue:?}, and no consumer here serves it; {}", Known(.known))]
    UnknownQueue {
        /// The queue.
        queue: QueueName,
        /// The queues that are known.
        known: Vec<QueueName>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Infallible> for InspectError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Names that are known, as the way out of a mistake.
struct Known<'a, N>(&'a [N]);

impl<N: fmt::Display> fmt::Display for Known<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let Some((first, others)) = self.0.split_first() else {
            return f.write_str("none is known");
        };
        write!(f, "known are {first}")?;
        for name in others.iter().take(SHOWN - 1) {
            write!(f, ", {name}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, ", and {more} more"),
        }
    }
}

//! The registry: which kinds this process has the code for.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use conveyor_core::retry::RetryPolicy;
use conveyor_core::store::KindRoom;
use conveyor_core::worker::{KindDefinition, WorkerSettings};
use conveyor_core::{Backoff, Kind, QueueName, Schedule};

use crate::permits::Permits;
use crate::sync::{Mutex, lock};

/// What a worker does not say, the manager's defaults decide.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) queue: QueueName,
    pub(crate) priority: conveyor_core::Priority,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) retry_on_panic: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel_grace: Duration,
    /// The schedule of producers alone.
    pub(crate) schedule: Option<Schedule>,
}

impl Default for Defaults {
    fn default() -> Self {
        let retry = RetryPolicy::default();
        Defaults {
            queue: QueueName::DEFAULT,
            priority: conveyor_core::Priority::NORMAL,
            retries: retry.retries,
            backoff: retry.backoff,
            retry_on_panic: retry.on_panic,
            timeout: None,
            cancel_grace: Duration::from_secs(1),
            schedule: None,
        }
    }
}

/// A kind that this process can run, with every default resolved.
pub(crate) struct Registered {
    pub(crate) definition: KindDefinition,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel_grace: Duration,
    /// How many of its tasks run at a time, if that is limited.
    pub(crate) permits: Option<Permits>,
}

impl Registered {
    pub(crate) fn new(definition: KindDefinition, defaults: &Defaults) -> Self {
        let WorkerSettings {
            retries,
            backoff,
            retry_on_panic,
            timeout,
            cancel_grace,
            concurrency,
            ..
        } = definition.settings.clone();
        Registered {
            retry: RetryPolicy {
                retries: retries.unwrap_or(defaults.retries),
                backoff: backoff.unwrap_or_else(|| defaults.backoff.clone()),
                on_panic: retry_on_panic.unwrap_or(defaults.retry_on_panic),
            },
            timeout: timeout.or(defaults.timeout),
            cancel_grace: cancel_grace.unwrap_or(defaults.cancel_grace),
            permits: concurrency.map(Permits::new),
            definition,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.definition.kind
    }
}

/// The kinds at one time, in the order of their names. A change makes another, so that a consumer
/// can keep one without a lock.
#[derive(Default)]
pub(crate) struct Workers(Vec<Arc<Registered>>);

impl Workers {
    pub(crate) fn get(&self, kind: &Kind) -> Option<&Arc<Registered>> {
        self.position(kind).map(|at| &self.0[at])
    }

    pub(crate) fn position(&self, kind: &Kind) -> Option<usize> {
        self.0.binary_search_by(|worker| worker.kind().cmp(kind)).ok()
    }

    pub(crate) fn at(&self, position: usize) -> &Arc<Registered> {
        &self.0[position]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.0.iter()
    }

    /// The demand of somebody who has no room at all, in the order of [`Workers::iter`].
    pub(crate) fn rooms(&self) -> Vec<KindRoom> {
        self.iter().map(|worker| KindRoom { kind: worker.kind().clone(), room: 0 }).collect()
    }

    /// The queues that the workers put their tasks into.
    pub(crate) fn queues(&self) -> BTreeSet<QueueName> {
        self.iter().filter_map(|worker| worker.definition.settings.queue.clone()).collect()
    }
}

/// The kinds now.
#[derive(Default)]
pub(crate) struct Registry {
    workers: ArcSwap<Workers>,
    /// Held while a change is made.
    changing: Mutex<()>,
    version: AtomicU64,
}

impl Registry {
    /// How often the kinds have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The kinds, to be kept.
    pub(crate) fn workers(&self) -> Arc<Workers> {
        self.workers.load_full()
    }

    /// The kinds, for a glance.
    pub(crate) fn glance(&self) -> impl Deref<Target = Arc<Workers>> {
        self.workers.load()
    }

    /// Adds kinds, all or none.
    ///
    /// # Errors
    /// The first of them that is there already.
    pub(crate) fn add(&self, new: Vec<Registered>) -> Result<(), Kind> {
        self.change(|workers| {
            for worker in new {
                match workers.binary_search_by(|known| known.kind().cmp(worker.kind())) {
                    Ok(_) => return Err(worker.kind().clone()),
                    Err(at) => workers.insert(at, Arc::new(worker)),
                }
            }
            Ok(())
        })
    }

    /// Removes a kind, and tells whether it was there.
    pub(crate) fn remove(&self, kind: &str) -> bool {
        self.change(|workers| {
            let at = workers.iter().position(|known| known.kind().as_str() == kind).ok_or(())?;
            workers.remove(at);
            Ok::<_, ()>(())
        })
        .is_ok()
    }

    fn change<E>(
        &self,
        change: impl FnOnce(&mut Vec<Arc<Registered>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _changing = lock(&self.changing);
        let mut changed = self.workers.load().0.clone();
        change(&mut changed)?;
        self.workers.store(Arc::new(Workers(changed)));
        self.version.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

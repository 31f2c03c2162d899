//! [`BuildError`]: what is wrong with what a builder, or a later registration, was told.

use std::fmt;
use std::time::Duration;

use conveyor_core::{Kind, NameError, QueueName};

/// What is wrong with what a builder was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A name breaks the rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two workers have the same kind.
    #[error("two workers have the kind {kind:?}; give one of them another by `kind = \"…\"`")]
    RepeatedKind {
        /// The kind.
        kind: Kind,
    },
    /// `.state(…)` was called twice for a type.
    #[error("there are two states of type {type_name}; wrap one in a type of its own")]
    RepeatedState {
        /// The type.
        type_name: &'static str,
    },
    /// A worker needs a state that the builder was not given.
    #[error("the worker {kind:?} needs a State<{type_name}>; give the builder one by `.state(…)`")]
    MissingState {
        /// The worker's kind.
        kind: Kind,
        /// The state's type.
        type_name: &'static str,
    },
    /// A worker has a `produce` method, but nothing says when to call it.
    #[error(
        "the producer {kind:?} has no schedule; give it `interval` or `cron`, or the builder a `default_schedule`"
    )]
    NoSchedule {
        /// The producer's kind.
        kind: Kind,
    },
    /// Something is zero that must not be.
    #[error("{what}{} is zero; leave it out for the default", Of(.of))]
    Zero {
        /// What is zero.
        what: &'static str,
        /// Whose, if it is a worker's.
        of: Option<Kind>,
    },
    /// A pool has no consumers.
    #[error("the pool of the queue {queue:?} has no consumers; give it at least one")]
    NoConsumers {
        /// The first of the pool's queues.
        queue: QueueName,
    },
    /// All consumers of a pool are reserved, or more.
    #[error(
        "the pool of the queue {queue:?} has {consumers} consumers, of which {reserved} are reserved; leave at least one for all tasks"
    )]
    TooManyReserved {
        /// The first of the pool's queues.
        queue: QueueName,
        /// How many are reserved.
        reserved: usize,
        /// How many there are.
        consumers: usize,
    },
    /// The lease is too short to be renewed in time.
    #[error("a lease of {lease:?} is too short to be renewed in time; give it at least 100ms")]
    ShortLease {
        /// The lease.
        lease: Duration,
    },
    /// `.capacity(…)` or `.retention(…)` was set for a store that is not the builder's own.
    #[error(
        "`capacity` and `retention` are for the builder's own store; set them on the store that you gave it"
    )]
    ForeignStore,
    /// `build()` was called where there is no runtime.
    #[error(
        "there is no tokio runtime here; call `build()` inside one, or give the builder one by `.runtime(…)`"
    )]
    OutsideRuntime,
    /// No runtime is compiled in.
    #[error(
        "no runtime is compiled in; turn on the feature `tokio` or `smol`, or give the builder one by `.runtime(…)`"
    )]
    NoRuntime,
}

struct Of<'a>(&'a Option<Kind>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(kind) => write!(f, " of {kind:?}"),
            None => Ok(()),
        }
    }
}

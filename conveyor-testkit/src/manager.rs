//! Managers in simulations, one worker on its own, and what tests say of tasks.

use std::sync::Arc;

use conveyor_core::worker::Role;
use conveyor_core::{Definition, End, Payload, State, Task, Worker};
use conveyor_runtime::{Manager, ManagerBuilder, Metrics};

use crate::{Sim, simulate};

impl Sim {
    /// Begins to build a manager that runs in this simulation: in virtual time, and in an order
    /// drawn from the seed. Everything else about it is as in production.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// use conveyor_core::{Context, Definition, Schedule, Timestamp, Worker};
    /// use conveyor_testkit::{Simulation, assert_ran};
    ///
    /// struct Report;
    ///
    /// impl Worker for Report {
    ///     fn define(self: Arc<Self>, definition: &mut Definition) {
    ///         let at_half_past_two =
    ///             Schedule::cron_in("30 2 * * *", "America/New_York").expect("it is valid");
    ///         definition.consume("report", |(): (), _: Context| async {}).schedule(at_half_past_two);
    ///     }
    /// }
    ///
    /// // The night of 8 March 2026, in which New York has no half past two: at 02:00 the clocks go
    /// // to 03:00. The report is made all the same, once.
    /// let midnight: Timestamp = "2026-03-08T05:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
    /// Simulation::new(7).wall(midnight).run(|sim| async move {
    ///     let manager = sim.manager_builder().register(Report).build().unwrap();
    ///     manager.start().await.unwrap();
    ///     sim.advance(Duration::from_secs(24 * 3600)).await;
    ///     sim.run_until_idle().await;
    ///     assert_ran!(manager, "report", 1);
    /// });
    /// ```
    pub fn manager_builder(&self) -> ManagerBuilder {
        Manager::builder().runtime(self.runtime())
    }
}

/// Runs a worker's task as a manager would, to its end: decoding, timeouts, retries, caught panics
/// and all, in no time. For a worker that needs states, see [`Performing`].
///
/// ```
/// use std::sync::Arc;
/// use conveyor_core::{Context, Definition, End, Worker};
/// use conveyor_testkit::perform;
///
/// struct Flaky;
///
/// impl Worker for Flaky {
///     fn define(self: Arc<Self>, definition: &mut Definition) {
///         definition.consume("flaky", |name: String, ctx: Context| async move {
///             if ctx.attempt() == 1 { Err("busy") } else { Ok(println!("hello, {name}")) }
///         });
///     }
/// }
///
/// let performed = perform(Flaky, "Ada".to_owned());
/// assert_eq!(performed.end, End::Succeeded);
/// assert_eq!(performed.metrics.retried, 1);
/// ```
///
/// # Panics
/// If the worker consumes no kind, or cannot be registered.
#[must_use]
pub fn perform<P: Payload>(worker: impl Worker, payload: P) -> Performed {
    Performing::new(worker).payload(payload)
}

/// A worker that is about to be performed, with what it shares.
///
/// ```
/// # use std::sync::Arc;
/// # use conveyor_core::{Context, Definition, Worker};
/// # struct Greet;
/// # impl Worker for Greet {
/// #     fn define(self: Arc<Self>, definition: &mut Definition) {
/// #         definition.consume("greet", |(): (), ctx: Context| async move { ctx.state::<String>(); });
/// #     }
/// # }
/// use conveyor_testkit::Performing;
///
/// let performed = Performing::new(Greet).state(String::from("hello")).payload(());
/// assert!(performed.end.is_success());
/// ```
#[must_use = "nothing is performed before `payload` or `task`"]
pub struct Performing {
    worker: Box<dyn FnOnce(ManagerBuilder) -> ManagerBuilder>,
    kind: Option<String>,
}

impl Performing {
    /// Performs this worker.
    pub fn new(worker: impl Worker) -> Self {
        let worker = Arc::new(worker);
        let mut definition = Definition::new();
        Arc::clone(&worker).define(&mut definition);
        let consumed = definition.into_kinds().into_iter().find(|kind| kind.role == Role::Consumer);
        Performing {
            kind: consumed.map(|kind| kind.kind.to_string()),
            worker: Box::new(|builder| builder.register(Shared(worker))),
        }
    }

    /// Gives the worker something that it shares, as the manager's builder does.
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> Self {
        self.shared_state(State::new(state).0)
    }

    /// Gives the worker something that is shared already, or known by a trait only.
    pub fn shared_state<T: ?Sized + Send + Sync + 'static>(mut self, state: Arc<T>) -> Self {
        let before = self.worker;
        self.worker = Box::new(|builder| before(builder).shared_state(state));
        self
    }

    /// Performs a task of the first kind that the worker consumes.
    ///
    /// # Panics
    /// If it consumes none, or cannot be registered.
    #[must_use]
    pub fn payload<P: Payload>(self, payload: P) -> Performed {
        let kind = self.kind.clone().expect("the worker consumes at least one kind");
        self.task(Task::new(kind, payload))
    }

    /// Performs a task.
    ///
    /// # Panics
    /// If the worker cannot be registered, or the task is invalid.
    #[must_use]
    pub fn task<P: Payload>(self, task: Task<P>) -> Performed {
        let Performing { worker, .. } = self;
        simulate(0, |sim| async move {
            let manager = worker(sim.manager_builder()).build();
            let manager = manager.unwrap_or_else(|error| panic!("{error}"));
            manager.start().await.expect("memory is always there");
            let receipt = manager.enqueue(task).await.unwrap_or_else(|error| panic!("{error}"));
            let end = receipt.wait().await.expect("the manager runs until the task has ended");
            Performed { end, metrics: manager.metrics() }
        })
    }
}

/// How a worker performed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Performed {
    /// How the task ended.
    pub end: End,
    /// What was counted until then; tasks that the handler enqueued among it.
    pub metrics: Metrics,
}

/// A worker behind a pointer, which was asked for its definition before.
struct Shared<W>(Arc<W>);

impl<W: Worker> Worker for Shared<W> {
    fn define(self: Arc<Self>, definition: &mut Definition) {
        Arc::clone(&self.0).define(definition);
    }
}

/// Asserts that tasks of a kind were accepted: at least one, or exactly so many.
///
/// `assert_enqueued!(manager, "send_email")`, `assert_enqueued!(manager, "send_email", 2)`
#[macro_export]
macro_rules! assert_enqueued {
    ($manager:expr, $kind:expr) => {{
        let counts = $manager.metrics().kind($kind);
        assert!(counts.enqueued > 0, "no task of the kind {:?} was enqueued", $kind);
    }};
    ($manager:expr, $kind:expr, $count:expr) => {{
        let counts = $manager.metrics().kind($kind);
        assert_eq!(counts.enqueued, $count, "tasks of the kind {:?} that were enqueued", $kind);
    }};
}

/// Asserts that no task of a kind was accepted.
#[macro_export]
macro_rules! assert_not_enqueued {
    ($manager:expr, $kind:expr) => {
        $crate::assert_enqueued!($manager, $kind, 0)
    };
}

/// Asserts that tasks of a kind ran to success: at least one, or exactly so many.
#[macro_export]
macro_rules! assert_ran {
    ($manager:expr, $kind:expr) => {{
        let counts = $manager.metrics().kind($kind);
        assert!(counts.processed > 0, "no task of the kind {:?} ran to success: {counts:?}", $kind);
    }};
    ($manager:expr, $kind:expr, $count:expr) => {{
        let counts = $manager.metrics().kind($kind);
        assert_eq!(
            counts.processed, $count,
            "tasks of {:?} that ran to success: {counts:?}",
            $kind
        );
    }};
}

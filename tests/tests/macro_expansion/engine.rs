//! Just enough of an engine to run one attempt of a worker.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use conveyor::{
    AnyTask, Context, Definition, End, EnqueueError, Outcome, Receipt, Runtime, State, TaskId,
    Timestamp, WaitError, Worker,
};
use conveyor_core::codec::{CodecError, Codecs};
use conveyor_core::context::Host;
use conveyor_core::outcome::{Failure, OutcomeKind};
use conveyor_core::payload::AnyPayload;
use conveyor_core::runtime::{BoxFuture, Clock, JoinError, JoinHandle, Joinable, StopSignal};
use conveyor_core::states::States;
use conveyor_core::store::{Budgets, Claimed, NewTask, Store};
use conveyor_core::time::Instant;
use conveyor_core::worker::KindDefinition;
use conveyor_core::{Fence, Incarnation, Priority, QueueName};

/// A manager of nothing but states.
#[derive(Default)]
pub(crate) struct FakeHost {
    states: States,
    codecs: Codecs,
    runtime: Option<Arc<dyn Runtime>>,
}

/// A host that shares that state.
pub(crate) fn with_state<T: ?Sized + Send + Sync + 'static>(state: State<T>) -> FakeHost {
    let mut host = FakeHost::default();
    host.states.insert(state);
    host
}

/// The kinds that a worker defines.
pub(crate) fn kinds(worker: impl Worker) -> Vec<KindDefinition> {
    let mut definition = Definition::new();
    Arc::new(worker).define(&mut definition);
    definition.into_kinds()
}

/// The only kind that a worker defines.
pub(crate) fn kind(worker: impl Worker) -> KindDefinition {
    let mut kinds = kinds(worker);
    assert_eq!(kinds.len(), 1);
    kinds.remove(0)
}

/// How an attempt at a task went.
#[derive(Debug)]
pub(crate) enum Ran {
    Parked(CodecError),
    Failed(Failure),
    Ended(OutcomeKind),
}

impl Ran {
    pub(crate) fn succeeded(&self) -> bool {
        matches!(self, Ran::Ended(OutcomeKind::Success))
    }

    pub(crate) fn parked(&self) -> bool {
        matches!(self, Ran::Parked(error) if !error.to_string().is_empty())
    }

    pub(crate) fn failure(self) -> Failure {
        match self {
            Ran::Failed(failure) => failure,
            other => panic!("it did not fail: {other:?}"),
        }
    }

    pub(crate) fn produced(self) -> Vec<AnyTask> {
        match self {
            Ran::Ended(OutcomeKind::Produced(tasks)) => tasks,
            other => panic!("it produced nothing: {other:?}"),
        }
    }
}

/// Runs a task of a memory store.
pub(crate) fn run(kind: &KindDefinition, payload: AnyPayload) -> Ran {
    run_on(FakeHost::default(), kind, payload)
}

/// Runs a task of a memory store, on that host.
pub(crate) fn run_on(mut host: FakeHost, kind: &KindDefinition, payload: AnyPayload) -> Ran {
    host.runtime = Some(Arc::new(ThisThread));
    let claimed = Claimed {
        fence: Fence { task: TaskId::from_u128(7), epoch: 1, incarnation: Incarnation::new(1) },
        ticket: 0,
        kind: kind.kind.clone(),
        queue: QueueName::DEFAULT,
        key: None,
        priority: Priority::NORMAL,
        payload,
        timeout: None,
        retries: None,
        budgets: Budgets::default(),
        cancel: false,
    };
    let context = Context::new(claimed, None, Arc::new(host));
    let mut slot = kind.handler.slot();
    if let Err(error) = slot.start(context) {
        return Ran::Parked(error);
    }
    let attempt = futures::future::poll_fn(|cx| slot.poll(cx));
    match futures::executor::block_on(attempt) {
        Ok(outcome) => Ran::Ended(Outcome::into_kind(outcome)),
        Err(failure) => Ran::Failed(failure),
    }
}

impl Host for FakeHost {
    fn enqueue(&self, _: AnyTask) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        unimplemented!("nothing is enqueued here")
    }

    fn wait(&self, _: TaskId) -> BoxFuture<'_, Result<End, WaitError>> {
        unimplemented!("nothing ends here")
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        self.runtime.as_ref().expect("set before an attempt")
    }

    fn states(&self) -> &States {
        &self.states
    }

    fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    fn store(&self) -> &dyn Store {
        unimplemented!("nothing is stored here")
    }

    fn new_task(&self, _: AnyTask) -> Result<NewTask, EnqueueError> {
        unimplemented!("nothing is stored here")
    }
}

/// A runtime that can do blocking work, on the caller's thread, and nothing else.
struct ThisThread;

struct Done;

impl Joinable for Done {
    fn abort(&self) {}

    fn poll_join(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), JoinError>> {
        Poll::Ready(Ok(()))
    }
}

impl Clock for ThisThread {
    fn now(&self) -> Instant {
        Instant::default()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }
}

impl Runtime for ThisThread {
    fn name(&self) -> &'static str {
        "this thread"
    }

    fn spawn(&self, _: &'static str, _: BoxFuture<'static, ()>) -> JoinHandle {
        unimplemented!("nothing is spawned here")
    }

    fn spawn_dedicated(&self, _: &'static str, _: BoxFuture<'static, ()>) -> JoinHandle {
        unimplemented!("nothing is spawned here")
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle {
        std::thread::spawn(work).join().expect("the work catches its panics");
        JoinHandle::new(Done)
    }

    fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
        unimplemented!("nothing waits here")
    }

    fn random(&self) -> u64 {
        4
    }

    fn stop_signal(&self) -> BoxFuture<'static, std::io::Result<StopSignal>> {
        unimplemented!("nothing stops here")
    }
}

/// That many seconds.
pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

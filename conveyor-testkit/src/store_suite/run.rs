//! Runs a case, and holds what came of it against what the store cannot do.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use conveyor_core::runtime::BoxFuture;
use conveyor_core::store::StoreFuture;
use conveyor_core::{Store, Timestamp};

use super::harness::{StoreHarness, StoreOptions};
use super::list::NAMES;
use super::setup::Setup;

/// A case: what it does with the stores that it opens.
pub type Case = fn(&Suite);

/// A harness, while a case runs.
#[derive(Clone)]
pub struct Suite {
    harness: Arc<dyn StoreHarness>,
    opened: Arc<Mutex<Opened>>,
}

/// What tells whether the store's clock ran by itself.
#[derive(Default)]
struct Opened {
    last: Option<(Arc<dyn Store>, Timestamp)>,
    advanced: Duration,
}

impl Suite {
    fn new(harness: Arc<dyn StoreHarness>) -> Self {
        Suite { harness, opened: Arc::default() }
    }

    /// An empty store.
    pub(super) fn open(&self) -> Setup {
        self.open_with(StoreOptions::default())
    }

    /// An empty store that holds so many live tasks.
    pub(super) fn bounded(&self, capacity: usize) -> Setup {
        self.open_with(StoreOptions { capacity: Some(capacity), retention: None })
    }

    /// An empty store.
    pub(super) fn open_with(&self, options: StoreOptions) -> Setup {
        let store = self.harness.open(options);
        let store = store.unwrap_or_else(|| panic!("the store cannot be opened with {options:?}"));
        let now = self.done(store.now());
        let last = Some((Arc::clone(&store), now));
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) =
            Opened { last, advanced: Duration::ZERO };
        Setup::new(self.clone(), store)
    }

    /// An empty store that has been watched for long enough that dead processes are noticed.
    pub(super) fn watched(&self) -> Setup {
        let setup = self.open();
        setup.keep_watch();
        setup
    }

    /// The store that was opened last, once more.
    pub(super) fn open_again(&self) -> Setup {
        let store = self.harness.open_again().expect("the store can be opened once more");
        Setup::new(self.clone(), store)
    }

    /// Lets go of the store that was opened last, as a process does that ends.
    pub(super) fn close(&self, setup: Setup) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).last = None;
        drop(setup);
    }

    pub(super) fn harness(&self) -> &dyn StoreHarness {
        &*self.harness
    }

    pub(super) fn advance(&self, by: Duration) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).advanced += by;
        self.harness.advance(by);
    }

    /// The reply to a call, which must not fail.
    pub(super) fn done<T: Send>(&self, reply: StoreFuture<'_, T>) -> T {
        let reply = match reply.now_or_later() {
            Ok(reply) => reply,
            Err(later) => {
                let mut came = None;
                let call: BoxFuture<'_, ()> = Box::pin(async { came = Some(later.await) });
                self.harness.block_on(call);
                came.expect("`block_on` runs a call to its end")
            }
        };
        reply.unwrap_or_else(|error| panic!("the store failed: {error}"))
    }

    /// By how much the clock of the store that was opened last went on by itself.
    fn drift(&self) -> Option<Duration> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, at) = opened.last.as_ref()?;
        let now = self.done(store.now());
        Some(now.saturating_since(*at).saturating_sub(opened.advanced))
    }

    /// What to say of a failure if it may be the fault of a slow machine.
    fn excuse(&self) -> Option<String> {
        let (drift, tick) = (self.drift()?, self.harness.tick());
        (drift >= tick).then(|| {
            format!(
                "the store's clock went on by {drift:?} while the case ran, which is more than a \
                 tick of {tick:?}: the machine is too slow for it, or the clock cannot be trusted"
            )
        })
    }
}

/// Runs a case of that name.
///
/// # Panics
/// If the store does not do what the case says, unless it is listed among what it cannot do; then
/// if it does.
pub fn run(harness: Arc<dyn StoreHarness>, name: &'static str, case: Case) {
    #[cfg(conveyor_plant)]
    crate::plant::plant_as_told();
    let reason = cannot(&*harness, name);
    let patience = harness.patience();
    let suite = Suite::new(harness);
    match (run_apart(&suite, name, case, patience), reason) {
        (Ok(()), None) => {}
        (Err(panic), None) => {
            if let Some(excuse) = suite.excuse() {
                eprintln!("{name}: {excuse}");
            }
            resume_unwind(panic)
        }
        (Ok(()), Some(reason)) => panic!(
            "{name} is in the list of what the store cannot do ({reason}), but it does: take it off"
        ),
        (Err(_), Some(reason)) => eprintln!("{name} is not done, as listed: {reason}"),
    }
}

/// On a thread of its own, since a call to a store may hang.
fn run_apart(
    suite: &Suite,
    name: &'static str,
    case: Case,
    patience: Duration,
) -> thread::Result<()> {
    let (done, hears_done) = mpsc::channel::<()>();
    let of_case = suite.clone();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _done = done; // dropped at the end, however it comes
        case(&of_case);
    });
    let thread = thread.expect("a thread can be started");
    match hears_done.recv_timeout(patience) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            std::panic::catch_unwind(|| panic!("{name} is not done after {patience:?}: it hangs"))
        }
        _ => thread.join(),
    }
}

fn cannot(harness: &dyn StoreHarness, name: &str) -> Option<String> {
    let listed = harness.cannot().iter().find(|(listed, _)| *listed == name);
    listed.map(|(_, reason)| (*reason).to_owned())
}

/// Checks the list of what a store cannot do.
///
/// # Panics
/// If a name in it is no case's, or is there twice, or has no reason.
pub fn check_list(harness: &dyn StoreHarness) {
    let listed = harness.cannot();
    for (at, (name, reason)) in listed.iter().enumerate() {
        assert!(NAMES.contains(name), "the store cannot do {name:?}, which is no case's name");
        assert!(!reason.trim().is_empty(), "the store cannot do {name:?}, but nobody says why");
        let twice = listed[..at].iter().any(|(before, _)| before == name);
        assert!(!twice, "the store cannot do {name:?}, and says so twice");
    }
}

//! Kinds: the constants of an `impl` block's methods, and whose say a kind's name and settings are.

use std::marker::PhantomData;

use conveyor_core::task::TaskDefaults;
use conveyor_core::worker::KindDefinition;
use conveyor_core::{Kind, Payload, Task, TaskType};

/// A kind whose tasks have a payload: `Feeds::PAGE`.
#[derive(Debug)]
pub struct KindOf<P: 'static> {
    kind: Kind,
    of_type: Option<&'static TaskDefaults<P>>,
    of_worker: Option<&'static TaskDefaults<P>>,
}

impl<P: 'static> KindOf<P> {
    /// A kind, with what its payload's type and its worker say of its tasks.
    #[must_use]
    pub const fn new(
        kind: Kind,
        of_type: Option<&'static TaskDefaults<P>>,
        of_worker: Option<&'static TaskDefaults<P>>,
    ) -> Self {
        KindOf { kind, of_type, of_worker }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl<P: Payload> KindOf<P> {
    /// A task of this kind.
    #[must_use]
    pub fn task(&self, payload: P) -> Task<P> {
        Task::with_defaults(self.kind.clone(), payload, self.of_type, self.of_worker)
    }
}

/// A kind whose tasks have no payload.
#[derive(Debug)]
pub struct BareKind(KindOf<()>);

impl BareKind {
    /// A kind, with what its worker says of its tasks.
    #[must_use]
    pub const fn new(kind: Kind, of_worker: Option<&'static TaskDefaults<()>>) -> Self {
        BareKind(KindOf::new(kind, None, of_worker))
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        self.0.kind()
    }

    /// A task of this kind.
    #[must_use]
    pub fn task(&self) -> Task<()> {
        self.0.task(())
    }
}

/// The kind's name as the worker has it.
pub trait Named {
    /// The kind.
    const KIND: Kind;
}

/// Asks whether `P` is a [`TaskType`]: if so its own constants are found, and with
/// [`NotATaskType`] in scope that trait's if not.
#[derive(Debug)]
pub struct Probe<P, N>(PhantomData<(P, N)>);

impl<P: TaskType, N> Probe<P, N> {
    /// The kind that the type says.
    pub const KIND: Kind = P::KIND;
    /// What the type says of its tasks.
    pub const DEFAULTS: Option<&'static TaskDefaults<P>> = Some(P::DEFAULTS);

    /// Has what the type says of its tasks override what the worker says.
    pub fn override_settings(kind: &mut KindDefinition) {
        if let Some(queue) = &P::DEFAULTS.queue {
            kind.queue(queue.clone());
        }
        if let Some(priority) = P::DEFAULTS.priority {
            kind.priority(priority);
        }
        if let Some(key) = P::DEFAULTS.key {
            kind.key(key);
        }
    }
}

/// See [`Probe`].
pub trait NotATaskType<P: 'static> {
    /// The kind that the worker says.
    const KIND: Kind;
    /// Nothing.
    const DEFAULTS: Option<&'static TaskDefaults<P>>;

    /// Does nothing.
    fn override_settings(_: &mut KindDefinition) {}
}

impl<P: 'static, N: Named> NotATaskType<P> for Probe<P, N> {
    const KIND: Kind = N::KIND;
    const DEFAULTS: Option<&'static TaskDefaults<P>> = None;
}

/// For where only the settings are asked for.
impl Named for () {
    const KIND: Kind = Kind::from_static("unnamed");
}

/// Whether a kind has that name; for kinds that are part of the program.
#[must_use]
pub const fn is_named(kind: &Kind, name: &str) -> bool {
    let Some(text) = kind.as_static() else {
        return false;
    };
    let (text, name) = (text.as_bytes(), name.as_bytes());
    if text.len() != name.len() {
        return false;
    }
    let mut i = 0;
    while i < text.len() {
        if text[i] != name[i] {
            return false;
        }
        i += 1;
    }
    true
}

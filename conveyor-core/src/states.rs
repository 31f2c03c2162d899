//! What workers share: [`State`], and the [`States`] that a manager keeps.

use std::any::{Any, TypeId};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Something that a manager was given by `.state(…)`, handed to every handler that asks for it.
///
/// ```
/// use conveyor_core::State;
/// struct Smtp { host: &'static str }
/// async fn send(State(smtp): State<Smtp>) -> &'static str { smtp.host }
/// # let _ = send(State::new(Smtp { host: "localhost" }));
/// ```
pub struct State<T: ?Sized>(pub Arc<T>);

impl<T> State<T> {
    /// A state of that value; in tests, a fake.
    pub fn new(value: T) -> Self {
        State(Arc::new(value))
    }
}

impl<T: ?Sized> From<Arc<T>> for State<T> {
    fn from(shared: Arc<T>) -> Self {
        State(shared)
    }
}

impl<T: ?Sized> Clone for State<T> {
    fn clone(&self) -> Self {
        State(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The states of a manager, by type.
#[derive(Default)]
pub struct States {
    by_type:
        hashbrown::HashMap<TypeId, Box<dyn Any + Send + Sync>, BuildHasherDefault<TypeIdHasher>>,
}

impl States {
    /// Adds a state; `false`, and nothing happens, if there is one of its type.
    pub fn insert<T: ?Sized + Send + Sync + 'static>(&mut self, state: State<T>) -> bool {
        let id = TypeId::of::<State<T>>();
        if self.by_type.contains_key(&id) {
            return false;
        }
        self.by_type.insert(id, Box::new(state));
        true
    }

    /// The state of that type.
    #[must_use]
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Option<&State<T>> {
        self.by_type.get(&TypeId::of::<State<T>>())?.downcast_ref()
    }

    /// Whether there is a state that satisfies `required`.
    #[must_use]
    pub fn satisfies(&self, required: &Required) -> bool {
        self.by_type.contains_key(&required.id)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states", self.by_type.len())
    }
}

/// A state that a worker cannot do without, so that `build()` can say that it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Required {
    id: TypeId,
    /// The state's type, as text.
    pub type_name: &'static str,
}

impl Required {
    /// The requirement of a `State<T>`.
    #[must_use]
    pub fn state<T: ?Sized + Send + Sync + 'static>() -> Self {
        Required { id: TypeId::of::<State<T>>(), type_name: std::any::type_name::<T>() }
    }
}

/// A `TypeId` is a hash already.
#[derive(Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Mailer: Send + Sync {
        fn host(&self) -> &'static str;
    }
    struct Local;
    impl Mailer for Local {
        fn host(&self) -> &'static str {
            "localhost"
        }
    }

    #[test]
    fn states_are_found_by_type_also_behind_a_trait() {
        let mut states = States::default();
        assert!(states.insert(State::new(7u32)));
        assert!(!states.insert(State::new(8u32)), "the first of a type stays");
        assert!(states.insert::<dyn Mailer>(State(Arc::new(Local))));
        assert_eq!(**states.get::<u32>().unwrap(), 7);
        assert_eq!(states.get::<dyn Mailer>().unwrap().host(), "localhost");
        assert!(states.satisfies(&Required::state::<dyn Mailer>()));
        assert!(!states.satisfies(&Required::state::<u64>()));
    }
}

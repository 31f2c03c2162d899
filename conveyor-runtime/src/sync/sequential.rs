//! Loom's atomics with what it leaves out: it takes `SeqCst` for `AcqRel`, and would report two
//! threads that each store and then read the other's old value, which no machine lets happen.
//!
//! Its fences are what they should be, so that an access between two of them is as strong as it
//! says.
#![allow(dead_code, reason = "each type has what any of them needs")]

pub(crate) use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;

fn between_fences<T>(ordering: Ordering, access: impl FnOnce() -> T) -> T {
    if ordering != Ordering::SeqCst {
        return access();
    }
    fence(Ordering::SeqCst);
    let value = access();
    fence(Ordering::SeqCst);
    value
}

macro_rules! atomic {
    ($name:ident of $value:ty $(, $extra:ident)*) => {
        #[derive(Debug)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                between_fences(ordering, || self.0.load(ordering))
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                between_fences(ordering, || self.0.store(value, ordering));
            }

            pub(crate) fn swap(&self, value: $value, ordering: Ordering) -> $value {
                between_fences(ordering, || self.0.swap(value, ordering))
            }

            pub(crate) fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                between_fences(set, || self.0.fetch_update(set, fetch, update))
            }

            $(
                pub(crate) fn $extra(&self, value: $value, ordering: Ordering) -> $value {
                    between_fences(ordering, || self.0.$extra(value, ordering))
                }
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }
    };
}

atomic!(AtomicBool of bool);
atomic!(AtomicI64 of i64);
atomic!(AtomicU8 of u8, fetch_max);
atomic!(AtomicU32 of u32, fetch_add, fetch_sub);
atomic!(AtomicU64 of u64, fetch_add, fetch_sub);
atomic!(AtomicUsize of usize, fetch_add, fetch_sub);

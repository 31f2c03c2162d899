//! The cases, grouped by what they are about. [`store_suite!`](crate::store_suite!) lists them.

pub mod attempts;
pub mod budgets;
pub mod cancel;
pub mod claim;
pub mod counters;
pub mod crowd;
pub mod delay;
pub mod dropped;
pub mod durability;
pub mod ends;
pub mod enqueue;
pub mod extremes;
pub mod fence;
pub mod inspect;
pub mod key;
pub use super::model;
pub mod order;
pub mod pause;
pub mod payload;
pub mod renew;
pub mod rescue;
pub mod schedule;
pub mod settle;
pub mod transaction;
pub mod wake;

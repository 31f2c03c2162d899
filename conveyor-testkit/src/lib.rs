//! A deterministic simulator and test tools for Conveyor, and for workers written with it.
//!
//! - [`simulate`] runs a test, and everything that it spawns, on one thread in virtual time. The
//!   order in which ready tasks run is drawn from a seed: another seed gives another interleaving,
//!   the same seed exactly the same run. A day of schedules takes milliseconds.
//! - [`for_seeds`] does so for many seeds, and prints the one that fails.
//! - [`Sim::manager_builder`] begins a real manager in the simulation, and [`assert_enqueued!`],
//!   [`assert_not_enqueued!`] and [`assert_ran!`] say what should have become of its tasks.
//! - [`perform`] runs one worker as a manager would, to its end.
//! - [`Sim::process`] starts a process in the simulation, which can be killed, stopped and given a
//!   wrong clock.
//! - [`FaultyStore`] puts any store behind a wire that loses, delays and doubles.
//! - [`runtime_suite!`] is what every [`Runtime`](conveyor_core::Runtime) must pass.
//! - [`store_suite!`] is what every [`Store`](conveyor_core::Store) must pass.
//! - [`context()`] makes a [`Context`](conveyor_core::Context) for the unit test of a handler.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use conveyor_testkit::{for_seeds, simulate};
//!
//! for_seeds(0..20, |seed| {
//!     simulate(seed, |sim| async move {
//!         let ticks = Arc::new(AtomicU32::new(0));
//!         let ticker = sim.spawn("ticker", {
//!             let (sim, ticks) = (sim.clone(), Arc::clone(&ticks));
//!             async move {
//!                 loop {
//!                     sim.advance(Duration::from_secs(60)).await;
//!                     ticks.fetch_add(1, Ordering::Relaxed);
//!                 }
//!             }
//!         });
//!         sim.advance(Duration::from_secs(24 * 60 * 60)).await;
//!         sim.run_until_idle().await; // the tick of this very instant too
//!         assert_eq!(ticks.load(Ordering::Relaxed), 24 * 60);
//!         ticker.abort();
//!         sim.run_until_idle().await;
//!         assert_eq!((sim.live_tasks(), sim.live_timers()), (0, 0));
//!     });
//! });
//! ```
//!
//! # What the simulator does not do
//!
//! - It intercepts nothing. Code under test must take time, tasks and chance from its
//!   [`Runtime`](conveyor_core::Runtime); what reads `std::time`, starts a thread, or lets a
//!   `HashMap`'s order decide does not repeat. [`Sim::fingerprint`] finds that out.
//! - It waits for no other thread. A task that only another thread can wake is a deadlock to it.
//! - Time stands still while a task runs, however long its step computes.
//! - It switches tasks only where they wait, so it shows orders of tasks, not races of memory.
#![forbid(unsafe_code)]

mod context;
mod faults;
mod inline;
mod manager;
#[cfg(conveyor_plant)]
mod plant;
pub mod runtime_suite;
mod seeds;
mod sim;
pub mod store_suite;

pub use context::{ContextBuilder, Recorded, context};
pub use faults::{FaultPlan, FaultyStore, Injected};
pub use manager::{Performed, Performing, perform};
pub use seeds::for_seeds;
pub use sim::{Process, Random, Sim, SimRuntime, Simulation, TaskPanic, simulate};

//! The runtimes that the engine runs on in production, each behind a feature of its name.
//!
//! Tasks fare the same on each. What differs is around them: how fine timers are, how many threads
//! there are for blocking work, and whether the end of `main` waits for it, as tokio's does and
//! smol's does not. The page `docs/writing_a_runtime.md` has all of it.

#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "smol")]
pub use self::smol::SmolRuntime;
#[cfg(feature = "tokio")]
pub use self::tokio::TokioRuntime;

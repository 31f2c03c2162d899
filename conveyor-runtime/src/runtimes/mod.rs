//! The runtimes that the engine runs on in production, each behind a feature of its name.

#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use self::tokio::TokioRuntime;

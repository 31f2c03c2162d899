//! How a command ends when it does not end well.

use std::fmt;
use std::process::ExitStatus;

/// The result of a command, a step or a check.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command, a step or a check failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments made no sense.
    Usage(String),
    /// A program that was run said no; it has already printed why.
    Program { line: String, status: ExitStatus },
    /// Something that a check needs was not to be had.
    Broken(String),
    /// A check of our own found faults, each with its place.
    Faults { check: &'static str, faults: Vec<String> },
    /// A step of `cargo xtask test` failed.
    Step { name: &'static str, seconds: f64, cause: Box<Failure> },
}

impl Failure {
    /// Whether the user's arguments are to blame, not the project.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Failure::Usage(_))
    }
}

/// Fails with what `check` found, if it found anything.
pub(crate) fn none(check: &'static str, faults: Vec<String>) -> Result {
    if faults.is_empty() { Ok(()) } else { Err(Failure::Faults { check, faults }) }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(what) | Failure::Broken(what) => f.write_str(what),
            Failure::Program { line, status } => {
                write!(f, "a command failed ({status})\n  command: {line}")
            }
            Failure::Faults { check, faults } => {
                write!(f, "{check}")?;
                faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
            Failure::Step { name, seconds, cause } => {
                write!(
                    f,
                    "step `{name}` failed after {seconds:.1} s: {cause}\n  \
                     the step alone: cargo xtask test --only {name}"
                )
            }
        }
    }
}

//! Running the programs that do the work: cargo, mostly.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};

/// Variables that every command gets; they are left out when a command is shown, because whoever
/// runs it by hand has a terminal and a choice of their own.
const AMBIENT: &[&str] = &["CARGO_INCREMENTAL", "CARGO_TERM_COLOR"];

/// Cargo with these arguments, in the root of the workspace, without standard input.
pub(crate) fn cargo<S: AsRef<OsStr>>(
    root: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = program("cargo", root, arguments);
    if is_ci() {
        // Nothing is built twice there, so incremental state is only written, never read.
        command.env("CARGO_INCREMENTAL", "0");
    }
    if std::env::var_os("CARGO_TERM_COLOR").is_none() && !std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "never");
    }
    command
}

/// Any program, in a directory, without standard input: nothing here may wait for an answer.
pub(crate) fn program<S: AsRef<OsStr>>(
    name: &str,
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command
}

/// Adds to a variable that holds flags, after what the environment already has in it.
pub(crate) fn add_flags(command: &mut Command, variable: &str, flags: &str) {
    let before = std::env::var(variable).unwrap_or_default();
    command.env(variable, format!("{before} {flags}").trim());
}

/// Shows the command, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().map_err(|error| cannot_start(&line, &error))?;
    if status.success() { Ok(()) } else { Err(Failure::Program { line, status }) }
}

/// Runs the command and gives what it printed; its errors go to ours.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(&line, &error))?;
    if !output.status.success() {
        return Err(Failure::Program { line, status: output.status });
    }
    String::from_utf8(output.stdout)
        .map_err(|error| Failure::Broken(format!("`{line}` printed what is not UTF-8: {error}")))
}

/// Runs the command in silence and tells whether it succeeded; `None` if there is no such program.
pub(crate) fn succeeds(command: &mut Command) -> Option<bool> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.ok().map(|status| status.success())
}

/// Whether this runs for a build server and not for a person.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&ci.as_str()))
}

fn cannot_start(line: &str, error: &std::io::Error) -> Failure {
    Failure::Broken(format!("cannot start `{line}`: {error}"))
}

/// The command as one would type it in the root of the workspace.
fn line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let name = name.to_str()?;
        let value = quoted(value?);
        (!AMBIENT.contains(&name)).then(|| format!("{name}={value}"))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '"', '$', '*']) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = program("cargo", Path::new("."), ["doc", "--no-deps"]);
        command.env("RUSTDOCFLAGS", "-D warnings").env("CARGO_TERM_COLOR", "never");
        assert_eq!(line(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_program_that_fails_fails_the_step_and_is_named() {
        let mut fails = program("cargo", Path::new("."), ["no-such-command"]);
        let failure = run(fails.stderr(Stdio::null())).unwrap_err();
        assert!(failure.to_string().contains("cargo no-such-command"), "{failure}");
        let failure = run(&mut program("no-such-program", Path::new("."), [""; 0])).unwrap_err();
        assert!(failure.to_string().contains("cannot start `no-such-program`"), "{failure}");
    }
}

//! The project's own commands: `cargo xtask help` lists them.
//!
//! Each command is a row of [`COMMANDS`] and a function in a module of its name. There is nothing
//! here that users of Conveyor need, and nothing but `fuzz` needs more than a stable toolchain.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod bench;
mod command;
mod failure;
mod fuzz;
mod layers;
mod papers;
mod plants;
mod servers;
mod sim;
mod test;
mod torture;
mod workspace;

use failure::{Failure, Result};

/// One command: its name, what the help says of it, and the function that gets the arguments
/// after the name.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        about: "check everything: the command to run before a change is proposed, and all of CI",
        run: test::run,
    },
    Command {
        name: "layers",
        about: "check only which crate may use what: edges, foreign types, clocks, unsafe code",
        run: layers::run,
    },
    Command {
        name: "papers",
        about: "check only the documents: the README's program, links, the index of decisions",
        run: papers::run,
    },
    Command {
        name: "sim",
        about: "make simulated worlds by their seeds, and check them",
        run: sim::run,
    },
    Command {
        name: "torture",
        about: "kill and stop real processes on a store, and check what they did",
        run: torture::run,
    },
    Command { name: "bench", about: "measure: `cargo xtask bench` lists what", run: bench::run },
    Command { name: "fuzz", about: "fuzz: `cargo xtask fuzz` lists what", run: fuzz::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(if failure.is_usage() { 2 } else { 1 })
        }
    }
}

fn dispatch(arguments: &[String]) -> Result {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return Ok(());
    };
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        print!("{}", help());
        return Ok(());
    }
    let command = COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| {
        Failure::Usage(format!("no command `{name}`; `cargo xtask help` lists what there is"))
    })?;
    (command.run)(rest)
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <COMMAND> [OPTIONS]\n\nCommands:\n");
    for Command { name, about, .. } in COMMANDS {
        text += &format!("  {name:<8} {about}\n");
    }
    text += "  help     print this\n\n`cargo xtask <COMMAND> --help` tells more of a command.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_a_usage_error_that_names_it() {
        let failure = dispatch(&["tset".to_owned()]).unwrap_err();
        assert!(failure.is_usage());
        assert!(failure.to_string().contains("`tset`"));
    }

    #[test]
    fn help_lists_every_command() {
        for command in COMMANDS {
            assert!(help().contains(command.name));
        }
    }
}

//! What the command line says.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::place::Place;

/// The text of `--help`.
pub(crate) const HELP: &str = "\
Indexes the files of a directory: language, lines, words, bytes and a hash of each.

Usage: indexer [OPTIONS] [DIR]

  DIR                 the directory [default: the current one]
  --store <STORE>     where the tasks and the index are kept [default: memory]: memory,
                      sqlite:FILE, or postgres://USER:PASSWORD@HOST:PORT/DATABASE
  --interval <TIME>   time between two scans, such as 500ms or 2s [default: 2s]
  --watch             keep going when everything is indexed, until Ctrl-C or SIGTERM
  --consumers <N>     how many files are read at a time [default: 2 for each processor]
  -h, --help          print this

Each regular file is read once, and once more whenever its size or its times change; small files
come first. A line ends with a line feed, as for `wc`; words are what white space separates. A file
that changes while it is read is read again until it rests. One that cannot be read is tried three
times within a second, and then reported.

Skipped, and counted as such:
  symbolic links      what they point to is indexed where it is, and a link may close a circle
  special files       FIFOs, sockets and devices: reading them may wait for ever
  .git, .hg, .svn, .jj, .bzr   what is in them belongs to the version control system
  caches              directories with a CACHEDIR.TAG, such as cargo's target, can be made again
Skipped without a word is the file of --store.
";

/// What to index, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The directory.
    pub(crate) root: PathBuf,
    /// Where the tasks and the index are kept.
    pub(crate) store: Place,
    /// The time between two scans.
    pub(crate) interval: Duration,
    /// Whether to keep going when everything is indexed.
    pub(crate) watch: bool,
    /// How many files are read at a time.
    pub(crate) consumers: Option<usize>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// To index a directory.
    Index(Options),
    /// To tell how it is used.
    Help,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see `--help`", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut arguments = arguments.into_iter();
    let mut root: Option<PathBuf> = None;
    let mut options = Options {
        root: PathBuf::from("."),
        store: Place::Memory,
        interval: Duration::from_secs(2),
        watch: false,
        consumers: None,
    };
    let mut only_names = false;
    while let Some(argument) = arguments.next() {
        // A name need not be UTF-8, but an option is.
        let text = argument.to_str().unwrap_or_default();
        if only_names || !text.starts_with('-') {
            if let Some(first) = &root {
                return Err(UsageError(format!("two directories: {first:?} and {argument:?}")));
            }
            root = Some(argument.into());
            continue;
        }
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let mut value = || {
            let next = attached.clone().or_else(|| arguments.next()?.into_string().ok());
            next.ok_or_else(|| UsageError(format!("{name} needs a value")))
        };
        match name {
            "--store" => options.store = value()?.parse().map_err(UsageError)?,
            "--interval" => options.interval = interval(&value()?)?,
            "--consumers" => options.consumers = Some(consumers(&value()?)?),
            "--watch" | "--help" | "-h" | "--" if attached.is_some() => {
                return Err(UsageError(format!("{name} takes no value, but was given {text:?}")));
            }
            "--watch" => options.watch = true,
            "--help" | "-h" => return Ok(Command::Help),
            "--" => only_names = true,
            _ => return Err(UsageError(format!("unknown option {text:?}"))),
        }
    }
    options.root = root.unwrap_or(options.root);
    Ok(Command::Index(options))
}

fn interval(text: &str) -> Result<Duration, UsageError> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= Duration::from_millis(1) => Ok(interval),
        Ok(_) => Err(UsageError(format!("an interval of {text} is too short; the least is 1ms"))),
        Err(error) => {
            Err(UsageError(format!("{text:?} is no interval such as 500ms or 2s: {error}")))
        }
    }
}

fn consumers(text: &str) -> Result<usize, UsageError> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err(UsageError(format!("{text:?} is no number of consumers from 1 to 1024"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(arguments: &[&str]) -> Result<Command, UsageError> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn options_come_in_any_order_and_form() {
        let expected = Options {
            root: "src".into(),
            store: Place::Sqlite("index.db".into()),
            interval: Duration::from_millis(500),
            watch: true,
            consumers: Some(3),
        };
        let given = [
            "--interval=500ms",
            "src",
            "--consumers",
            "3",
            "--store",
            "sqlite:index.db",
            "--watch",
        ];
        assert_eq!(parse_all(&given), Ok(Command::Index(expected)));
    }

    #[test]
    fn a_mistake_is_named() {
        for (given, told) in [
            (&["--interval", "soon"][..], "\"soon\""),
            (&["--interval", "0s"], "too short"),
            (&["--interval"], "needs a value"),
            (&["--consumers", "0"], "\"0\""),
            (
                &["--store", "mysql://here"],
                "\"mysql://here\" is no store; there are memory, sqlite:",
            ),
            (&["--store=sqlite:"], "\"sqlite:\""),
            (&["--watch=yes"], "takes no value"),
            (&["--fast"], "\"--fast\""),
            (&["a", "b"], "two directories"),
        ] {
            let error = parse_all(given).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}

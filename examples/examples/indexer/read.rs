//! One file: what it is written in, how much of it there is, and its hash.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::scan::Stamp;

/// At most so much of a file is in memory at a time.
const CHUNK: usize = 256 * 1024;

/// What a file contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) language: Cow<'static, str>,
    pub(crate) lines: u64,
    pub(crate) words: u64,
    pub(crate) bytes: u64,
    /// BLAKE3, in hexadecimal.
    pub(crate) hash: String,
}

/// How an attempt at a file went.
#[derive(Debug)]
pub(crate) enum Reading {
    /// All of it was read, and it was the same file from first to last.
    Whole(Stamp, Contents),
    /// It changed meanwhile: what was read may never have been its contents.
    Changed,
    /// It was told to stop.
    Stopped,
}

/// Reads a file from end to end, unless `stop` says to stop.
///
/// # Errors
/// What the system says of the file.
pub(crate) fn read(path: &Path, stop: impl Fn() -> bool) -> io::Result<Reading> {
    let mut file = open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::other("not a regular file any more"));
    }
    let before = Stamp::of(&before);

    let mut counter = Counter::default();
    // One byte more than it has: most files are read to their end at once.
    let size = usize::try_from(before.len).unwrap_or(CHUNK).saturating_add(1).clamp(512, CHUNK);
    let mut chunk = vec![0; size];
    let mut language = None;
    loop {
        let length = match file.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = &chunk[..length];
        // Of an empty file too.
        language.get_or_insert_with(|| language_of(path, chunk));
        if length == 0 {
            break;
        }
        counter.add(chunk);
        if stop() {
            return Ok(Reading::Stopped);
        }
    }
    // The name may stand for another file by now, so it is the name that is asked.
    if std::fs::symlink_metadata(path).map(|after| Stamp::of(&after))? != before {
        return Ok(Reading::Changed);
    }
    Ok(Reading::Whole(before, counter.finish(language.unwrap_or("other"))))
}

/// Opens a file that may have become something else since it was found: neither a FIFO that has
/// no writer nor a link holds anything up.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_NOCTTY);
    }
    options.open(path)
}

/// Counts and hashes what it is given, chunk by chunk.
#[derive(Default)]
struct Counter {
    hasher: blake3::Hasher,
    lines: u64,
    words: u64,
    bytes: u64,
    /// Whether the last byte was part of a word.
    in_word: bool,
}

impl Counter {
    fn add(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.bytes += chunk.len() as u64;
        let mut before = self.in_word;
        // So few at a time that a byte holds the counts: the compiler vectorizes that.
        for bytes in chunk.chunks(255) {
            let lines = bytes.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
            let first = u8::from(is_word(bytes[0]) && !before);
            let others = bytes.windows(2).map(|two| u8::from(is_word(two[1]) & !is_word(two[0])));
            self.lines += u64::from(lines);
            self.words += u64::from(first + others.sum::<u8>());
            before = is_word(bytes[bytes.len() - 1]);
        }
        self.in_word = before;
    }

    fn finish(self, language: &'static str) -> Contents {
        let Counter { hasher, lines, words, bytes, .. } = self;
        let hash = hasher.finalize().to_string();
        Contents { language: language.into(), lines, words, bytes, hash }
    }
}

/// Whether a byte belongs to a word: everything does that is not ASCII white space.
fn is_word(byte: u8) -> bool {
    (byte != b' ') & !(b'\t'..=b'\r').contains(&byte)
}

/// What a file is written in, by its name, else by how it begins.
fn language_of(path: &Path, start: &[u8]) -> &'static str {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if let "Makefile" | "makefile" | "GNUmakefile" = name {
        return "Make";
    }
    if let "Dockerfile" = name {
        return "Dockerfile";
    }
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    if let Some(language) = by_extension(&extension.to_ascii_lowercase()) {
        return language;
    }
    match start.strip_prefix(b"#!") {
        Some(command) => by_command(command),
        None if start.contains(&0) => "binary",
        None => "other text",
    }
}

/// The language of a script that begins with `#!` and this.
fn by_command(command: &[u8]) -> &'static str {
    let line = command.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| word.rsplit(|&byte| byte == b'/').next().unwrap_or_default());
    let mut program = words.next().unwrap_or_default();
    if program == b"env" {
        // What follows may be options and variables.
        let is_program = |word: &&[u8]| !word.starts_with(b"-") && !word.contains(&b'=');
        program = words.find(is_program).unwrap_or_default();
    }
    // python3.12 is python.
    let end = program.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(program.len());
    match &program[..end] {
        b"sh" | b"bash" | b"dash" | b"zsh" | b"ksh" => "Shell",
        b"python" | b"pypy" => "Python",
        b"perl" => "Perl",
        b"ruby" => "Ruby",
        b"node" | b"deno" | b"bun" => "JavaScript",
        b"lua" | b"luajit" => "Lua",
        b"awk" | b"gawk" | b"mawk" => "Awk",
        b"make" => "Make",
        _ => "other script",
    }
}

fn by_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "rs" => "Rust",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "hh" | "hpp" | "hxx" => "C++",
        "go" => "Go",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "py" | "pyi" => "Python",
        "rb" => "Ruby",
        "pl" | "pm" => "Perl",
        "sh" | "bash" | "zsh" => "Shell",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "mts" | "cts" | "tsx" => "TypeScript",
        "lua" => "Lua",
        "awk" => "Awk",
        "el" | "lisp" => "Lisp",
        "ex" | "exs" => "Elixir",
        "sql" => "SQL",
        "vim" => "Vim script",
        "tcl" => "Tcl",
        "mk" => "Make",
        "html" | "htm" => "HTML",
        "css" | "scss" => "CSS",
        "xml" | "xsd" | "xsl" | "svg" => "XML",
        "json" => "JSON",
        "toml" => "TOML",
        "yaml" | "yml" => "YAML",
        "md" | "markdown" => "Markdown",
        "rst" => "reStructuredText",
        "tex" | "sty" => "TeX",
        "txt" => "plain text",
        "csv" | "tsv" => "tables",
        "po" | "pot" => "gettext",
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "ico" => "image",
        "gz" | "xz" | "zst" | "bz2" | "zip" | "tar" | "jar" => "archive",
        "so" | "o" | "a" | "rlib" | "rmeta" | "mo" | "gmo" | "pyc" | "class" => "binary",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(chunks: &[&[u8]]) -> (u64, u64, u64) {
        let mut counter = Counter::default();
        chunks.iter().for_each(|chunk| counter.add(chunk));
        (counter.lines, counter.words, counter.bytes)
    }

    #[test]
    fn a_word_is_counted_once_wherever_it_is_cut() {
        let text = b"one  two\tthree\r\nfour \xff\x80 five".repeat(40);
        let whole = count(&[&text]);
        assert_eq!(whole, (40, 6 * 40 - 39, text.len() as u64));
        for at in 1..text.len() {
            assert_eq!(count(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_script_is_known_by_its_first_line() {
        for (start, language) in [
            (&b"#!/bin/sh -e\n"[..], "Shell"),
            (b"#!/usr/bin/env -S FOO=1 python3.12 -u\n", "Python"),
            (b"#! /opt/x/bin/thing", "other script"),
            (b"\x7fELF\0", "binary"),
            (b"", "other text"),
        ] {
            assert_eq!(language_of(Path::new("tool"), start), language);
        }
        assert_eq!(language_of(Path::new("a.RS"), b"#!/bin/sh"), "Rust");
    }
}

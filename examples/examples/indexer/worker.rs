//! The worker: a producer that looks for new and changed files, and a consumer that reads them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

use conveyor::prelude::*;
use serde::{Deserialize, Serialize};

use crate::index::{Entry, Index};
use crate::read::{Reading, read};
use crate::scan::{Stamp, Tree};

/// How often a file that cannot be read is tried again. Said of each task, and not by the
/// attribute, since `consume` has to know which attempt is the last.
const RETRIES: u32 = 2;

/// How long a file that is being written to is left alone.
const WRITTEN_TO: Duration = Duration::from_millis(200);

/// So many files are offered by one scan if the store writes each down: those that wait are offered
/// again by the next, and to refuse them costs it something too.
const AT_ONCE: usize = 5_000;

/// How long a file waits whose entry could not be written: the server may be away for a moment.
const STORE_AWAY: Duration = Duration::from_secs(1);

/// Indexes the files below a directory.
pub(crate) struct Indexer {
    pub(crate) tree: Tree,
}

/// A file, by its path below the root. An `OsString`, unlike a `PathBuf`, can be encoded whatever
/// bytes it is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct File {
    path: OsString,
}

#[conveyor::worker(queue = "files", key = |file| key(&file.path), backoff = "100ms..500ms")]
impl Indexer {
    /// Makes a task for each file that is not known as it is on disk. Those that have a task
    /// already are refused by their keys, so nobody has to remember which these are: not even a
    /// process that takes the place of one that was killed.
    async fn produce(
        &self,
        index: State<Index>,
        ctx: Context,
    ) -> conveyor::Result<Vec<Task<File>>> {
        let (tree, asked) = (self.tree.clone(), ctx.clone());
        let scan = ctx.spawn_blocking(move || tree.scan(|| asked.is_cancelled())).await?;
        let mut due = index.compare(&scan).await?;
        if index.is_kept() && due.len() > AT_ONCE {
            due.sort_unstable_by_key(|(_, len)| *len);
            due.truncate(AT_ONCE);
        }
        let task =
            |(path, len)| Self::task(File { path }).priority(smaller_first(len)).retries(RETRIES);
        Ok(due.into_iter().map(task).collect())
    }

    /// Reads a file, on a thread where that may block, and notes what is in it.
    async fn consume(
        &self,
        file: &File,
        index: State<Index>,
        ctx: Context,
    ) -> conveyor::Result<Outcome> {
        let path = self.tree.root.join(&file.path);
        let (name, known, asked) = (file.path.clone(), index.clone(), ctx.clone());
        let look = move || {
            let stamp = std::fs::symlink_metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
            let is_known = stamp.is_some_and(|stamp| known.is_current(&name, &stamp));
            (stamp, (!is_known).then(|| read(&path, || asked.is_cancelled())))
        };
        let (stamp, reading) = ctx.spawn_blocking(look).await;
        let Some(reading) = reading else {
            // It was read after the scan that missed it, and before this task was made.
            return Ok(Outcome::cancel("the file is known as it is"));
        };
        let entry = match reading {
            Ok(Reading::Whole(stamp, contents)) => {
                Entry { stamp: Some(stamp), contents: Ok(contents) }
            }
            // It keeps its key, so it is not queued a second time meanwhile.
            Ok(Reading::Changed) => return Ok(Outcome::snooze(WRITTEN_TO)),
            // An error after a stop hands the task back, at no cost.
            Ok(Reading::Stopped) => return Err("told to stop".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Outcome::cancel("the file is gone"));
            }
            Err(error) if ctx.attempt() <= RETRIES => return Err(error.into()),
            // That it cannot be read is worth an entry too.
            Err(error) => Entry { stamp, contents: Err(error.to_string()) },
        };
        match index.record(&ctx, &file.path, entry).await {
            Ok(()) => Ok(Outcome::success()),
            // Not the file's fault, so it costs the file no retry.
            Err(error) => {
                eprintln!("indexer: {:?} is not in the index yet: {error}", file.path);
                Ok(Outcome::snooze(STORE_AWAY))
            }
        }
    }
}

/// A level lower each time that the length doubles.
fn smaller_first(len: u64) -> Priority {
    let doublings = u64::BITS - len.leading_zeros();
    Priority::new(-i16::try_from(doublings).unwrap_or(i16::MAX))
}

/// A key for a path. A key is text without control characters, and not endless; a path need not
/// be: what is not printable ASCII is percent-encoded, and what is too long then is hashed.
fn key(path: &OsStr) -> String {
    let bytes = path.as_encoded_bytes();
    let mut key = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'%' => key.push(char::from(byte)),
            _ => key.push_str(&format!("%{byte:02x}")),
        }
    }
    if key.len() <= conveyor::Key::MAX_LEN {
        return key;
    }
    // No path begins so: a percent sign of its own would have been encoded.
    format!("%blake3:{}", blake3::hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_key_of_its_own() {
        let long = "x/".repeat(2000);
        let paths = ["a b", "a%20b", "a\nb", "a%0ab", "é", "\u{85}", &long, &long[2..]];
        let keys: std::collections::BTreeSet<_> =
            paths.iter().map(|path| key(OsStr::new(path))).collect();
        assert_eq!(keys.len(), paths.len());
        for key in keys {
            conveyor::Key::new(key).unwrap();
        }
    }

    #[test]
    fn smaller_files_come_first() {
        assert!(smaller_first(0) > smaller_first(1));
        assert!(smaller_first(4_000) > smaller_first(10_000));
        assert!(smaller_first(10_000) > smaller_first(u64::MAX));
    }
}

//! The index: what is known of each file, shared by the workers and the report.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::read::Contents;
use crate::scan::{Scan, Stamp};

/// What is known of each file.
#[derive(Debug, Default)]
pub(crate) struct Index(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    files: HashMap<OsString, Entry>,
    on_disk: usize,
    bytes: u64,
    replaced: Replaced,
}

/// What a file was when it was last read, or could not be.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) contents: Result<Contents, String>,
}

/// How many entries another has taken the place of, or were forgotten with their files: with
/// those that are there, that is one for each task that ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replaced {
    pub(crate) indexed: u64,
    pub(crate) unreadable: u64,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) known: usize,
    pub(crate) on_disk: usize,
    pub(crate) bytes: u64,
}

/// The index at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: HashMap<OsString, Entry>,
    pub(crate) replaced: Replaced,
    /// How many files the last scan found.
    pub(crate) on_disk: usize,
}

impl Index {
    /// Compares with what is on disk: forgets the files that are gone, and returns those that are
    /// new or have changed, with their lengths.
    pub(crate) fn compare(&self, scan: &Scan) -> Vec<(OsString, u64)> {
        let mut known = self.lock();
        let Known { files, on_disk, replaced, .. } = &mut *known;
        *on_disk = scan.files.len();
        files.retain(|path, entry| {
            let stays = scan.files.contains_key(path);
            if !stays {
                replaced.note(entry);
            }
            stays
        });
        let stale = scan.files.iter().filter(|(path, stamp)| !is_current(files, path, stamp));
        stale.map(|(path, stamp)| (path.clone(), stamp.len)).collect()
    }

    /// Whether a file is known as it is on disk.
    pub(crate) fn is_current(&self, path: &OsStr, stamp: &Stamp) -> bool {
        is_current(&self.lock().files, path, stamp)
    }

    /// Notes what a file contains, or why it cannot be read.
    pub(crate) fn record(
        &self,
        path: &OsStr,
        stamp: Option<Stamp>,
        contents: Result<Contents, String>,
    ) {
        let mut known = self.lock();
        known.bytes += contents.as_ref().map_or(0, |contents| contents.bytes);
        if let Some(old) = known.files.insert(path.to_owned(), Entry { stamp, contents }) {
            known.replaced.note(&old);
        }
    }

    /// How far the work is.
    pub(crate) fn progress(&self) -> Progress {
        let known = self.lock();
        Progress { known: known.files.len(), on_disk: known.on_disk, bytes: known.bytes }
    }

    /// Everything that is known.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let known = self.lock();
        let Known { files, replaced, on_disk, .. } = &*known;
        Snapshot { files: files.clone(), replaced: *replaced, on_disk: *on_disk }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_current(files: &HashMap<OsString, Entry>, path: &OsStr, stamp: &Stamp) -> bool {
    files.get(path).is_some_and(|entry| entry.stamp.as_ref() == Some(stamp))
}

impl Replaced {
    fn note(&mut self, entry: &Entry) {
        match entry.contents {
            Ok(_) => self.indexed += 1,
            Err(_) => self.unreadable += 1,
        }
    }
}

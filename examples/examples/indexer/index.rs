//! The index: what is known of each file, shared by the workers and the report.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use conveyor::Context;
use serde::{Deserialize, Serialize};

use crate::read::Contents;
use crate::scan::{Scan, Stamp};
use crate::table::Table;

/// What is known of each file: in memory, and in a table if it is to outlive the process.
#[derive(Default)]
pub(crate) struct Index {
    known: Mutex<Known>,
    table: Option<Table>,
}

#[derive(Default)]
struct Known {
    files: HashMap<OsString, File>,
    progress: Progress,
}

#[derive(Default)]
struct File {
    /// How many tasks have ended with a word on it. It only grows, so the larger is the newer.
    tasks: u64,
    /// The last word, until the file is gone.
    entry: Option<Entry>,
}

/// What a file was when it was last read, or could not be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) stamp: Option<Stamp>,
    pub(crate) contents: Result<Contents, String>,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Files that something is known of.
    pub(crate) known: usize,
    /// Those of them that cannot be read.
    pub(crate) unreadable: usize,
    /// Files on disk, once there was a scan.
    pub(crate) on_disk: Option<usize>,
    /// Bytes that this process has read.
    pub(crate) bytes: u64,
}

/// The index at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: HashMap<OsString, Entry>,
    /// How many tasks have ended with a word on a file, also on those that are gone.
    pub(crate) tasks: u64,
    pub(crate) progress: Progress,
}

impl Index {
    /// The index of a directory that is kept in a table.
    ///
    /// # Errors
    /// What the database says, or that it is the index of another directory.
    pub(crate) async fn kept(table: Table, root: &Path) -> conveyor::Result<Self> {
        let of = table.root_or_set(root.as_os_str()).await?;
        if of != root {
            return Err(format!(
                "that store has the index of {of:?}, not of {root:?}; give another --store"
            )
            .into());
        }
        let index = Index { table: Some(table), ..Index::default() };
        index.look_at_table().await?;
        Ok(index)
    }

    /// Whether it outlives the process.
    pub(crate) fn is_kept(&self) -> bool {
        self.table.is_some()
    }

    /// Compares with what is on disk: forgets the files that are gone, and returns those that are
    /// new or have changed, with their lengths.
    pub(crate) async fn compare(&self, scan: &Scan) -> conveyor::Result<Vec<(OsString, u64)>> {
        self.look_at_table().await?;
        self.forget(self.gone(scan)).await?;
        let mut known = self.lock();
        known.progress.on_disk = Some(scan.files.len());
        let stale = scan.files.iter().filter(|(path, stamp)| !known.is_current(path, stamp));
        Ok(stale.map(|(path, stamp)| (path.clone(), stamp.len)).collect())
    }

    /// Takes in what the table knows better: from a run before, or another process beside this.
    async fn look_at_table(&self) -> conveyor::Result<()> {
        if let Some(table) = &self.table {
            let rows = table.all().await?;
            let mut known = self.lock();
            for (path, tasks, entry) in rows {
                known.note(path, tasks, entry);
            }
        }
        Ok(())
    }

    fn gone(&self, scan: &Scan) -> Vec<(OsString, u64)> {
        let known = self.lock();
        let there = known.files.iter().filter(|(_, file)| file.entry.is_some());
        let gone = there.filter(|(path, _)| !scan.files.contains_key(*path));
        gone.map(|(path, file)| (path.clone(), file.tasks)).collect()
    }

    async fn forget(&self, gone: Vec<(OsString, u64)>) -> conveyor::Result<()> {
        for (path, tasks) in gone {
            if let Some(table) = &self.table {
                table.forget(&path, tasks).await?;
            }
            self.lock().forget(&path, tasks);
        }
        Ok(())
    }

    /// Whether a file is known as it is on disk.
    pub(crate) fn is_current(&self, path: &OsStr, stamp: &Stamp) -> bool {
        self.lock().is_current(path, stamp)
    }

    /// Notes what a file contains, or why it cannot be read. If there is a table, the attempt of
    /// `ctx` ends with that as succeeded.
    ///
    /// # Errors
    /// What the database says; then nothing is noted, and the attempt goes on.
    pub(crate) async fn record(
        &self,
        ctx: &Context,
        path: &OsStr,
        entry: Entry,
    ) -> conveyor::Result<()> {
        let tasks = match &self.table {
            Some(table) => table.record(ctx, path, &entry).await?,
            None => self.lock().files.get(path).map_or(0, |file| file.tasks) + 1,
        };
        let mut known = self.lock();
        known.progress.bytes += entry.contents.as_ref().map_or(0, |contents| contents.bytes);
        known.note(path.to_owned(), tasks, Some(entry));
        Ok(())
    }

    /// How far the work is.
    pub(crate) fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// Everything that is known.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let known = self.lock();
        let entries = known.files.iter().filter_map(|(path, file)| {
            file.entry.as_ref().map(|entry| (path.clone(), entry.clone()))
        });
        Snapshot {
            files: entries.collect(),
            tasks: known.files.values().map(|file| file.tasks).sum(),
            progress: known.progress,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_current(&self, path: &OsStr, stamp: &Stamp) -> bool {
        let entry = self.files.get(path).and_then(|file| file.entry.as_ref());
        entry.is_some_and(|entry| entry.stamp.as_ref() == Some(stamp))
    }

    /// Notes the word of so many tasks, unless a later one is known.
    fn note(&mut self, path: OsString, tasks: u64, entry: Option<Entry>) {
        let file = self.files.entry(path).or_default();
        if tasks > file.tasks {
            self.progress.count(file.entry.as_ref(), entry.as_ref());
            *file = File { tasks, entry };
        }
    }

    /// Forgets what so many tasks said of a file, unless there is a later word.
    fn forget(&mut self, path: &OsStr, tasks: u64) {
        if let Some(file) = self.files.get_mut(path).filter(|file| file.tasks == tasks) {
            self.progress.count(file.entry.as_ref(), None);
            file.entry = None;
        }
    }
}

impl Progress {
    /// Counts one entry in another's place.
    fn count(&mut self, old: Option<&Entry>, new: Option<&Entry>) {
        let unreadable =
            |entry: Option<&Entry>| usize::from(entry.is_some_and(|it| it.contents.is_err()));
        self.known = self.known + usize::from(new.is_some()) - usize::from(old.is_some());
        self.unreadable = self.unreadable + unreadable(new) - unreadable(old);
    }
}

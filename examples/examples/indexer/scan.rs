//! What is on disk: the regular files below a directory, and what was left out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::{DirEntry, WalkDir};

/// Directories of version control systems.
const VERSION_CONTROL: [&str; 5] = [".git", ".hg", ".svn", ".jj", ".bzr"];

/// What marks a directory as a cache, such as cargo's `target`.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What tells that a file is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) len: u64,
    modified: Since1970,
    /// The inode's own time, which also tells of new permissions, and cannot be set back.
    changed: Since1970,
}

/// Seconds, and nanoseconds.
type Since1970 = (i64, i64);

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let (modified, changed) = {
            use std::os::unix::fs::MetadataExt;
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            (modified, (metadata.ctime(), metadata.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (modified, changed) = {
            let modified = metadata.modified().ok();
            let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            let since = since.unwrap_or_default();
            ((since.as_secs().cast_signed(), since.subsec_nanos().into()), (0, 0))
        };
        Stamp { len: metadata.len(), modified, changed }
    }
}

/// The directory to look at.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    left_out: Option<PathBuf>,
}

/// What one look at the tree found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The regular files, by their paths below the root.
    pub(crate) files: HashMap<OsString, Stamp>,
    /// Directories and entries that could not be looked at, and why.
    pub(crate) closed: Vec<(PathBuf, String)>,
    /// What was left out on purpose.
    pub(crate) skipped: Skipped,
}

/// How much was left out on purpose; `--help` says why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) links: u64,
    pub(crate) special_files: u64,
    pub(crate) version_control: u64,
    pub(crate) caches: u64,
}

impl Tree {
    /// The tree below a directory.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        std::fs::read_dir(&root)?;
        Ok(Tree { root, left_out: None })
    }

    /// Leaves out the file that the index is in, and those that SQLite has beside it: they change
    /// with each file that is indexed, so there would be no end.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn leave_out(&mut self, file: &Path) -> io::Result<()> {
        self.left_out = Some(file.canonicalize()?);
        Ok(())
    }

    /// Looks at everything there is, unless `stop` says to stop.
    ///
    /// # Errors
    /// If the root itself cannot be listed, or it was told to stop.
    pub(crate) fn scan(&self, stop: impl Fn() -> bool) -> io::Result<Scan> {
        let root = &self.root;
        // The walk reports a closed directory and goes on; without the root there is nothing to go
        // on with, and an index that forgets everything would be worse than an error.
        std::fs::read_dir(root)?;
        let mut scan = Scan::default();
        let mut entries = WalkDir::new(root).min_depth(1).into_iter();
        while let Some(entry) = entries.next() {
            if stop() {
                return Err(io::Error::other("the scan was told to stop"));
            }
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {
                    if VERSION_CONTROL.iter().any(|name| entry.file_name() == *name) {
                        scan.skipped.version_control += 1;
                        entries.skip_current_dir();
                    } else if entry.depth() > 0 && entry.path().join(CACHE_TAG).is_file() {
                        scan.skipped.caches += 1;
                        entries.skip_current_dir();
                    }
                }
                Ok(entry) if entry.file_type().is_symlink() => scan.skipped.links += 1,
                Ok(entry) if self.leaves_out(entry.path()) => {}
                Ok(entry) if entry.file_type().is_file() => scan.add(root, &entry),
                Ok(_) => scan.skipped.special_files += 1,
                Err(error) => scan.add_closed(root, &error),
            }
        }
        Ok(scan)
    }

    fn leaves_out(&self, path: &Path) -> bool {
        let Some(file) = &self.left_out else { return false };
        let (path, file) = (path.as_os_str().as_encoded_bytes(), file.as_os_str());
        let rest = path.strip_prefix(file.as_encoded_bytes());
        rest.is_some_and(|rest| matches!(rest, b"" | b"-wal" | b"-shm" | b"-journal"))
    }
}

impl Scan {
    fn add(&mut self, root: &Path, entry: &DirEntry) {
        match entry.metadata() {
            Ok(metadata) => {
                self.files.insert(below(root, entry.path()).into(), Stamp::of(&metadata));
            }
            Err(error) => self.add_closed(root, &error),
        }
    }

    fn add_closed(&mut self, root: &Path, error: &walkdir::Error) {
        let why = error.io_error();
        if why.is_some_and(|why| why.kind() == io::ErrorKind::NotFound) {
            return; // It went away while it was looked at.
        }
        let path = below(root, error.path().unwrap_or(root));
        let why = why.map_or_else(|| error.to_string(), ToString::to_string);
        self.closed.push((path.to_owned(), why));
    }
}

fn below<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

//! A disk: what was synced is on it; of what was not, a loss of power leaves anything.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use conveyor_testkit::Random;

use super::vfs::Event;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

/// How much of what was not synced is on the disk after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    Nothing,
    All,
    /// Some of the writes, and of some of these only some sectors; by a seed.
    Some(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A file's contents, whether it has a name or not.
#[derive(Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

/// What becomes of a name.
enum Entry {
    Create(PathBuf, usize),
    Delete(PathBuf),
}

/// A disk, told of one event after the other.
#[derive(Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    /// As the running process sees it.
    names: HashMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<Entry>,
}

impl Disk {
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Create(path) => {
                self.files.push(File::default());
                let file = self.files.len() - 1;
                self.names.insert(path.clone(), file);
                self.unsynced_names.push(Entry::Create(path.clone(), file));
            }
            Event::Write(path, at, bytes) => {
                self.file(path).unsynced.push(Change::Write(*at, bytes.clone()));
            }
            Event::Truncate(path, len) => self.file(path).unsynced.push(Change::Truncate(*len)),
            Event::Sync(path) => {
                let File { synced, unsynced } = self.file(path);
                unsynced.drain(..).for_each(|change| apply(synced, &change));
            }
            Event::SyncFolder => {
                for entry in self.unsynced_names.drain(..) {
                    rename(&mut self.synced_names, &entry);
                }
            }
            Event::Delete(path) => {
                self.names.remove(path);
                self.unsynced_names.push(Entry::Delete(path.clone()));
            }
            Event::Note(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> &mut File {
        &mut self.files[self.names[path]]
    }

    /// The files that a loss of power may leave.
    pub(crate) fn after_loss(&self, unsynced: Unsynced) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut chance = Chance::of(unsynced);
        let mut names = self.synced_names.clone();
        for entry in &self.unsynced_names {
            if chance.one_of(2) == 1 {
                rename(&mut names, entry);
            }
        }
        let mut contents = |file: usize| {
            let File { synced, unsynced } = &self.files[file];
            let mut contents = synced.clone();
            for change in unsynced {
                match (chance.one_of(3), change) {
                    (0, _) => {}
                    (1, Change::Write(at, bytes)) => {
                        for sector in sectors(*at, bytes) {
                            if chance.one_of(2) == 1 {
                                apply(&mut contents, &sector);
                            }
                        }
                    }
                    _ => apply(&mut contents, change),
                }
            }
            contents
        };
        names.into_iter().map(|(name, file)| (name, contents(file))).collect()
    }

    /// Whether everything was synced, so that there is one state only.
    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced_names.is_empty() && self.files.iter().all(|file| file.unsynced.is_empty())
    }
}

/// What happens to each of the things that were not synced.
enum Chance {
    None,
    All,
    Random(Random),
}

impl Chance {
    fn of(unsynced: Unsynced) -> Self {
        match unsynced {
            Unsynced::Nothing => Chance::None,
            Unsynced::All => Chance::All,
            Unsynced::Some(seed) => Chance::Random(Random::new(seed)),
        }
    }

    /// A number below `count`: 0 is not at all, the last is as a whole.
    fn one_of(&mut self, count: u64) -> u64 {
        match self {
            Chance::None => 0,
            Chance::All => count - 1,
            Chance::Random(random) => random.next_u64() % count,
        }
    }
}

/// A write in the parts that a disk writes one by one.
fn sectors(at: usize, bytes: &[u8]) -> Vec<Change> {
    let mut parts = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
        parts.push(Change::Write(at + from, bytes[from..to].to_vec()));
        from = to;
    }
    parts
}

fn apply(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, bytes) => {
            let end = at + bytes.len();
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[*at..end].copy_from_slice(bytes);
        }
        Change::Truncate(len) => contents.truncate(*len),
    }
}

fn rename(names: &mut BTreeMap<PathBuf, usize>, entry: &Entry) {
    match entry {
        Entry::Create(path, file) => _ = names.insert(path.clone(), *file),
        Entry::Delete(path) => _ = names.remove(path),
    }
}

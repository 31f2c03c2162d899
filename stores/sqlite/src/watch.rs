//! Watch: the operating system says when another process changed the file, so nobody asks all the
//! time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::queue::{Queue, Write};

/// Watches for as long as it lives.
pub(crate) struct Watch {
    _watcher: RecommendedWatcher,
}

/// Has the queue told of changes of the file. They go to the log beside it first.
///
/// `None` if the file cannot be watched, on a disk that does not tell, say: then what others do is
/// found by the engine's own looks, as it is whenever a hint is lost.
pub(crate) fn watch(path: &Path, queue: &Arc<Queue<Write>>) -> Option<Watch> {
    let queue = Arc::clone(queue);
    let changed = move |event: notify::Result<Event>| {
        // Reading and closing the file are events too, and ours.
        if event
            .is_ok_and(|event| matches!(event.kind, EventKind::Modify(_) | EventKind::Create(_)))
        {
            queue.file_changed();
        }
    };
    let watcher = notify::recommended_watcher(changed).and_then(|mut watcher| {
        watcher.watch(&log_of(path), RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(Watch { _watcher: watcher }),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot watch the file for changes");
            None
        }
    }
}

/// Where commits are written first.
fn log_of(path: &Path) -> PathBuf {
    let mut log = OsString::from(path);
    log.push("-wal");
    log.into()
}

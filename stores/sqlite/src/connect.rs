//! Opening the file.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::error::{Failure, Result};
use crate::options::{SqliteOptions, Synchronous};

/// How many statements a connection keeps ready: more than there are.
const STATEMENTS: usize = 128;

/// For how long a statement itself waits for another process's lock, before its caller looks
/// whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that writes; `make` says whether the file may be made.
pub(crate) fn to_write(options: &SqliteOptions, make: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, make);
    let sql = open(&options.path, flags)?;
    // SQLite opens what it may not write to all the same, and begins transactions on it.
    if sql.is_readonly(rusqlite::MAIN_DB)? {
        let read_only = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        let what = Some("attempt to write a readonly database".to_owned());
        return Err(rusqlite::Error::SqliteFailure(read_only, what).into());
    }
    let mode: String =
        until_free(|| Ok(sql.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?))?;
    if mode != "wal" {
        return Err(Failure::Unreadable(format!(
            "the file is in journal mode {mode:?}, and cannot be put into WAL mode; is it in \
             memory, or on a network's disk?"
        )));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    sql.pragma_update(None, "synchronous", synchronous)?;
    Ok(sql)
}

/// A connection that only reads.
pub(crate) fn to_read(path: &Path) -> Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let sql = Connection::open_with_flags(path, flags)?;
    sql.busy_handler(Some(wait_for_lock))?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(sql)
}

/// Called for the `tries`th time while another has the lock. Its transactions are short as a rule,
/// so the first waits are; the sum of all is [`PATIENCE`].
fn wait_for_lock(tries: i32) -> bool {
    const LONGEST: Duration = Duration::from_millis(5);
    let short = Duration::from_micros(100).saturating_mul(1 << tries.clamp(0, 6));
    std::thread::sleep(short.min(LONGEST));
    Duration::from_millis(5).saturating_mul(tries.unsigned_abs()) < PATIENCE
}

/// Does what another's lock may hold up, until it is done; for opening.
pub(crate) fn until_free<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    const LONGEST: Duration = Duration::from_secs(30);
    let start = Instant::now();
    loop {
        match attempt() {
            Err(failure) if failure.is_busy() && start.elapsed() < LONGEST => {
                // Not everything calls the handler: a change of the journal mode does not.
                std::thread::sleep(Duration::from_millis(2));
            }
            done => return done,
        }
    }
}

/// Which file is at a path, so that one is noticed that was taken away under an open connection.
#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// An open file cannot be taken away here.
#[cfg(not(unix))]
pub(crate) fn identity(_: &Path) -> Option<(u64, u64)> {
    Some((0, 0))
}

//! The way of SQLite to its files, with a log of what the disk was told and in which order.
//!
//! It goes between SQLite and its own way (a "VFS"), as the default of this process. What happens in
//! a folder that is recorded is logged; the rest only passes through. Nothing waits for the disk:
//! what a sync is for is known from the log.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

/// What the disk was told, or what a caller was.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A file that was not there came to be.
    Create(PathBuf),
    Write(PathBuf, usize, Vec<u8>),
    Truncate(PathBuf, usize),
    /// All that was written to the file is to be on the disk; told when it is.
    Sync(PathBuf),
    /// All files that came and went are to be.
    SyncFolder,
    Delete(PathBuf),
    /// What the test notes.
    Note(super::Note),
}

/// What happened in each folder that is recorded.
fn recordings() -> MutexGuard<'static, HashMap<PathBuf, Vec<Event>>> {
    static RECORDINGS: OnceLock<Mutex<HashMap<PathBuf, Vec<Event>>>> = OnceLock::new();
    RECORDINGS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on what happens in the folder is logged.
pub(crate) fn record(folder: &Path) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    recordings().insert(folder.to_owned(), Vec::new());
}

/// Ends the record of a folder, and gives it.
pub(crate) fn recorded(folder: &Path) -> Vec<Event> {
    recordings().remove(folder).expect("it is recorded")
}

/// Adds to the record of a folder.
pub(crate) fn note(folder: &Path, note: super::Note) {
    recordings().get_mut(folder).expect("it is recorded").push(Event::Note(note));
}

/// Logs what happened to a file, if its folder is recorded.
fn log(path: &Path, event: impl FnOnce(PathBuf) -> Event) {
    if let Some(folder) = path.parent()
        && let Some(log) = recordings().get_mut(folder)
    {
        log.push(event(path.to_owned()));
    }
}

/// The way that SQLite has by itself.
fn real() -> *mut sqlite3_vfs {
    static REAL: OnceLock<usize> = OnceLock::new();
    // SAFETY: without a name it gives the default, which SQLite keeps for as long as it lives. It
    // is asked once, before ours becomes the default.
    let real = REAL.get_or_init(|| unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) } as usize);
    *real as *mut sqlite3_vfs
}

/// An open file of ours; the real one lies behind it, in the room that SQLite gives for both.
#[repr(C)]
struct Logged {
    base: sqlite3_file,
    /// Its name; temporary files have none. Owned, and freed when the file is closed.
    path: *mut PathBuf,
    /// Whether its first sync is one of the folder too, as SQLite does it for its journals.
    syncs_folder: bool,
}

/// The real file of one of ours.
fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // The room is for one of ours and a real one, which begins where ours ends: at a multiple of
    // eight bytes, as ours holds a pointer.
    file.cast::<Logged>().wrapping_add(1).cast()
}

fn register() {
    let mut vfs = {
        // SAFETY: it is the default VFS, valid and never changed. The other methods are taken over
        // as they are: those of the Unix VFS read nothing of the VFS but fields that are copied.
        unsafe { *real() }
    };
    vfs.szOsFile += c_int::try_from(size_of::<Logged>()).expect("it is small");
    vfs.pNext = std::ptr::null_mut();
    vfs.zName = c"logged".as_ptr();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    let vfs = Box::leak(Box::new(vfs));
    // SAFETY: the VFS is valid and lives as long as the process.
    let registered = unsafe { ffi::sqlite3_vfs_register(vfs, 1) };
    assert_eq!(registered, ffi::SQLITE_OK);
}

/// The path that SQLite names.
///
/// # Safety
/// `name` is null or a string that ends with a zero.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: by the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name that ends with a zero, or none.
    let path = unsafe { path_of(name) };
    let is_new = path.as_ref().is_some_and(|path| !path.exists());
    // SAFETY: the real VFS gets the arguments that were meant for it, and room for its file.
    let result = unsafe {
        let open = (*real()).xOpen.expect("a VFS opens");
        open(real(), name, behind(file), flags, out_flags)
    };
    // SAFETY: SQLite gives room for one of ours, and reads nothing of it before this returns.
    unsafe { (*file).pMethods = std::ptr::null() };
    if result != ffi::SQLITE_OK {
        // SAFETY: the real VFS has set the methods to null if there is nothing to be closed.
        unsafe {
            if let Some(methods) = (*behind(file)).pMethods.as_ref() {
                methods.xClose.expect("a file closes")(behind(file));
            }
        }
        return result;
    }
    if let Some(path) = path.as_ref().filter(|_| is_new) {
        log(path, Event::Create);
    }
    let journals = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;
    let syncs_folder = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journals != 0;
    let path = path.map_or(std::ptr::null_mut(), |path| Box::into_raw(Box::new(path)));
    let base = sqlite3_file { pMethods: &raw const METHODS };
    // SAFETY: the room is ours, aligned as SQLite aligns all it allocates.
    unsafe { file.cast::<Logged>().write(Logged { base, path, syncs_folder }) };
    result
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are as SQLite gave them; only the sync is left out.
    let result = unsafe { (*real()).xDelete.expect("a VFS deletes")(real(), name, 0) };
    // SAFETY: SQLite gives a name that ends with a zero.
    if let Some(path) = unsafe { path_of(name) }.filter(|_| result == ffi::SQLITE_OK) {
        log(&path, Event::Delete);
        if sync != 0 {
            log(&path, |_| Event::SyncFolder);
        }
    }
    result
}

/// The name of a file of ours, if it has one.
///
/// # Safety
/// `file` is one that [`open`] made, and is not closed yet.
unsafe fn name_of<'a>(file: *mut sqlite3_file) -> Option<&'a Path> {
    // SAFETY: by the caller's promise; the name is freed when the file is closed.
    unsafe { (*file.cast::<Logged>()).path.as_ref().map(PathBuf::as_path) }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file that `open` made, once; so is the name freed once.
    unsafe {
        let path = (*file.cast::<Logged>()).path;
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
        (*(*behind(file)).pMethods).xClose.expect("a file closes")(behind(file))
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    len: c_int,
    at: i64,
) -> c_int {
    // SAFETY: SQLite gives an open file, and as many bytes as it says.
    unsafe {
        let methods = &*(*behind(file)).pMethods;
        let result = methods.xWrite.expect("a file is written")(behind(file), data, len, at);
        if let Some(path) = name_of(file).filter(|_| result == ffi::SQLITE_OK) {
            let len = usize::try_from(len).expect("a length");
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), len).to_vec();
            log(path, |path| Event::Write(path, usize::try_from(at).expect("a place"), bytes));
        }
        result
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, len: i64) -> c_int {
    // SAFETY: SQLite gives an open file.
    unsafe {
        let methods = &*(*behind(file)).pMethods;
        let result = methods.xTruncate.expect("a file is truncated")(behind(file), len);
        if let Some(path) = name_of(file).filter(|_| result == ffi::SQLITE_OK) {
            log(path, |path| Event::Truncate(path, usize::try_from(len).expect("a length")));
        }
        result
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file, which no other thread uses meanwhile.
    unsafe {
        if let Some(path) = name_of(file) {
            log(path, Event::Sync);
            if std::mem::take(&mut (*file.cast::<Logged>()).syncs_folder) {
                log(path, |_| Event::SyncFolder);
            }
        }
    }
    ffi::SQLITE_OK
}

/// Methods that only pass a call on.
macro_rules! passed_on {
    ($($name:ident is $method:ident($($value:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $value: $type)*) $(-> $result)? {
            // SAFETY: SQLite gives an open file; the arguments are for the real one.
            unsafe {
                let methods = &*(*behind(file)).pMethods;
                methods.$method.expect("the Unix VFS has it")(behind(file) $(, $value)*)
            }
        })*
    };
}
passed_on! {
    read is xRead(data: *mut c_void, len: c_int, at: i64) -> c_int;
    file_size is xFileSize(size: *mut i64) -> c_int;
    lock is xLock(level: c_int) -> c_int;
    unlock is xUnlock(level: c_int) -> c_int;
    check_lock is xCheckReservedLock(result: *mut c_int) -> c_int;
    control is xFileControl(what: c_int, value: *mut c_void) -> c_int;
    sector_size is xSectorSize() -> c_int;
    characteristics is xDeviceCharacteristics() -> c_int;
    shm_map is xShmMap(page: c_int, size: c_int, extend: c_int, at: *mut *mut c_void) -> c_int;
    shm_lock is xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier is xShmBarrier();
    shm_unmap is xShmUnmap(delete: c_int) -> c_int;
}

/// Of the version that knows no reading by mapping the database, which would pass us by.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

//! Places to put a file: small, read-only, or one where this process has no rights.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Says to a process that it has mounts of its own.
const OWN_MOUNTS: &str = "CONVEYOR_TEST_OWN_MOUNTS";

/// Whether this process may mount what it likes, seen by nobody else.
///
/// If not, the test of that name runs once more in a process that may, and passes as that does.
/// Where no process may, it says so, and `otherwise` is run instead.
pub(crate) fn has_own_mounts(test: &str, otherwise: impl FnOnce()) -> bool {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    // As root, or as the root of a namespace that anybody may make.
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let may = |way: &&[&str]| {
        let mount = ["mount", "-t", "tmpfs", "x", "/mnt"];
        let tried = Command::new("unshare").args(*way).args(mount).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    match ways.into_iter().find(may) {
        Some(way) => {
            let status = Command::new("unshare")
                .args(way)
                .arg(std::env::current_exe().expect("it has a name"))
                .args([test, "--exact", "--nocapture"])
                .env(OWN_MOUNTS, "1")
                .status();
            assert!(status.is_ok_and(|status| status.success()), "{test} fails; see above");
        }
        None => {
            println!("{test}: nothing can be mounted here, so something else is tried instead");
            otherwise();
        }
    }
    false
}

pub(crate) fn run(command: &str, arguments: &[&str]) {
    let done = Command::new(command).args(arguments).output().expect("it can be run");
    assert!(done.status.success(), "{command} {arguments:?}: {done:?}");
}

/// Makes a folder a disk of so many bytes.
pub(crate) fn mount_small(folder: &Path, bytes: usize) {
    let size = format!("size={bytes}");
    run("mount", &["-t", "tmpfs", "-o", &size, "small", folder.to_str().expect("a plain name")]);
}

/// Makes what is mounted there read-only, or not any more.
pub(crate) fn remount(folder: &Path, mode: &str) {
    let mode = format!("remount,{mode}");
    run("mount", &["-o", &mode, folder.to_str().expect("a plain name")]);
}

/// Leaves no room on a disk.
pub(crate) fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).expect("there is room for a name");
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

/// Does something with no more rights to files than anybody has, whoever this process is.
pub(crate) fn as_nobody(call: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: they only change whose files this thread and those that it starts may use;
            // it ends with this function. Who is not root already has no more rights.
            unsafe {
                libc::setfsgid(NOBODY);
                libc::setfsuid(NOBODY);
            }
            call();
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

const NOBODY: u32 = 65_534;

/// Gives a file or folder away, so that its bits bind.
pub(crate) fn give_to_nobody(path: &Path) {
    // Who is not root keeps it, and has no more rights than the bits give.
    let _ = std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY));
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

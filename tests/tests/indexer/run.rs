//! A process of the example, and a tree for it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No run takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The example, built once.
pub(crate) fn indexer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This test is at <target>/<profile>/deps/indexer-…, an example at <profile>/examples.
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let target = profile.parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "conveyor-examples", "--example", "indexer"]);
        build.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        build.arg("--target-dir").arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        profile.join("examples").join("indexer")
    })
}

/// A directory that is gone at the end of the test.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("conveyor-indexer-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Tree(path)
    }

    pub(crate) fn write(&self, name: impl AsRef<OsStr>, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(Path::new(name.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A run of the example, killed if the test fails.
pub(crate) struct Run(Option<Child>, Receiver<String>);

impl Run {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                eprintln!("{line}");
                // The test may have heard enough.
                let _ = tell.send(line);
            }
        });
        Run(Some(child), told)
    }

    /// Waits for a line of progress that starts like this.
    pub(crate) fn wait_for(&self, start: &str) {
        self.line_that(|line| line.starts_with(start).then_some(()));
    }

    /// Waits for a line that something can be made of.
    pub(crate) fn line_that<T>(&self, read: impl Fn(&str) -> Option<T>) -> T {
        loop {
            if let Some(read) = read(&self.1.recv_timeout(LIMIT).unwrap()) {
                return read;
            }
        }
    }

    pub(crate) fn of(tree: &Tree, options: &[&str]) -> Self {
        let mut command = Command::new(indexer());
        command.args(options).arg(&tree.0);
        Run::start(command)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// What it printed. Summaries are short: they fit into a pipe.
    pub(crate) fn end(mut self) -> (Output, String) {
        let begun = Instant::now();
        while self.0.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < LIMIT, "it hangs");
            sleep(Duration::from_millis(10));
        }
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        eprintln!("{said}");
        (output, said)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The numbers of a row of the table: files, lines, words, bytes.
pub(crate) fn row(said: &str, language: &str) -> Vec<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(language));
    let line = line.unwrap_or_else(|| panic!("no row of {language}"));
    line.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

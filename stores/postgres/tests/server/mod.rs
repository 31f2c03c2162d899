//! A private PostgreSQL server: a direct child, on a free port of the loopback, with a data folder of
//! its own. PostgreSQL does not run as root, so root's child becomes another user.
#![allow(dead_code)] // each test uses a part

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";

/// Whom root's servers run as.
const USER: &str = "postgres";

pub(crate) struct Server {
    data: PathBuf,
    port: u16,
    settings: &'static [&'static str],
    child: Option<Child>,
}

/// What a server for tests of the semantics need not do.
pub(crate) const FAST: &[&str] = &["fsync=off"];

/// The server that the tests of this process share; it ends with the process.
pub(crate) fn shared() -> &'static Server {
    static SHARED: LazyLock<&'static Server> = LazyLock::new(|| {
        let (started, hears) = mpsc::channel();
        // A child that is to die with its parent dies with the thread that made it.
        thread::spawn(move || {
            let server: &'static Server = Box::leak(Box::new(Server::start(FAST)));
            _ = started.send(server);
            loop {
                thread::park();
            }
        });
        hears.recv().expect("the server starts")
    });
    *SHARED
}

fn is_root() -> bool {
    // SAFETY: it has no conditions.
    unsafe { libc::geteuid() == 0 }
}

/// A command of PostgreSQL's, as a user that it runs as.
fn command(name: &str) -> Command {
    let binary = Path::new(BINARIES).join(name);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
        command
    } else {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
        command
    };
    command.stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Server {
    /// Starts a new server with these settings.
    pub(crate) fn start(settings: &'static [&'static str]) -> Server {
        let port = free_port();
        let data = std::env::temp_dir().join(format!("conveyor-pg-{}-{port}", std::process::id()));
        forget_the_dead(&std::env::temp_dir());
        fs::create_dir_all(&data).expect("a folder can be made");
        if is_root() {
            let owned = Command::new("chown").arg(USER).arg(&data).status().expect("chown runs");
            assert!(owned.success());
        }
        let made = command("initdb")
            .args(["--auth=trust", "--username=test", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .expect("initdb runs: PostgreSQL 15 is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Server { data, port, settings, child: None };
        server.launch();
        server
    }

    fn launch(&mut self) {
        self.child = Some(self.spawn());
        self.wait_until_it_answers();
    }

    fn spawn(&self) -> Child {
        let mut server = command("postgres");
        server.arg("-D").arg(&self.data);
        let settings = [
            &format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "shared_buffers=128MB",
        ];
        for setting in settings.into_iter().chain(self.settings.iter().copied()) {
            server.args(["-c", setting]);
        }
        let log = fs::File::options().create(true).append(true).open(self.data.join("log"));
        let log = log.expect("a log can be written");
        server.stdout(log.try_clone().expect("a file")).stderr(log).process_group(0);
        server.spawn().expect("the server starts")
    }

    fn wait_until_it_answers(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && child.try_wait().expect("it can be asked").is_some()
            {
                // The one before left children, which still go.
                thread::sleep(Duration::from_millis(50));
                self.child = Some(self.spawn());
            }
            let ready = command("pg_isready")
                .args([
                    "-q",
                    "-U",
                    "test",
                    "-d",
                    "postgres",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &self.port.to_string(),
                ])
                .status()
                .expect("pg_isready runs");
            if ready.success() && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            let log = || fs::read_to_string(self.data.join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "it does not answer: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a loss of the machine's power does to a process, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it is gone");
        }
    }

    /// Starts it again after a [`kill`](Server::kill).
    pub(crate) fn restart(&mut self) {
        self.launch();
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        _ = fs::remove_dir_all(&self.data);
    }
}

/// Removes the folders of servers whose process is gone.
fn forget_the_dead(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("conveyor-pg-"));
        let process = process.and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            _ = fs::remove_dir_all(entry.path());
        }
    }
}

//! [`Postgres`]: a server of a test's own, in a folder that goes with it.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{
    Signal, below, dies_with_us, dies_with_us_as, is_gone_within, is_root, signal,
};

/// How long a server may take to start, to stop, or to die.
const LIMIT: Duration = Duration::from_secs(60);

/// What a server is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
}

impl Options {
    /// A server as Debian sets it up.
    #[must_use]
    pub fn new() -> Self {
        Options::default()
    }

    /// Sets one of PostgreSQL's settings, such as `synchronous_commit` to `off`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A PostgreSQL server on a port of its own, with everything it stores in a folder of its own.
///
/// It is our direct child, and is killed if we are. It is stopped, and its folder removed, when it
/// is dropped; what another test left behind by dying is removed when the next server starts.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    user: Option<&'static str>,
    folder: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    running: Option<Running>,
}

/// The server's first process, and the thread with which it would die.
#[derive(Debug)]
struct Running {
    process: u32,
    child: Child,
    /// Its parent thread ends when this is dropped.
    _parent: Sender<()>,
}

impl Postgres {
    /// Makes a server, starts it, and waits until it accepts connections.
    ///
    /// # Errors
    /// If there is no PostgreSQL here, or it does not start: with what it says.
    pub fn start(options: Options) -> io::Result<Self> {
        let programs = programs()?;
        remove_what_the_dead_left();
        // PostgreSQL refuses to be root.
        let user = is_root().then(unprivileged).transpose()?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let settings = options.settings;
        let mut server = Postgres { programs, user, folder, port, settings, running: None };
        server.initialize()?;
        server.restart()?;
        Ok(server)
    }

    /// The server that the tests of this process share, in schemas or databases of their own. It ends
    /// with the process, and writes nothing through: a test of what outlives a crash needs another.
    ///
    /// # Panics
    /// If there is no PostgreSQL here, or it does not start: with what it says.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| {
            let options = Options::new().set("fsync", "off").set("max_connections", "300");
            Postgres::start(options).unwrap_or_else(|error| panic!("no server to share: {error}"))
        });
        &SHARED
    }

    /// Where to connect, as whom, and to which database: all may do everything.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The same, for another database.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database, and tells its URL.
    ///
    /// # Errors
    /// What the server says.
    pub fn create_database(&self, name: &str) -> io::Result<String> {
        self.query(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// What the server answers to a statement, by its own client.
    ///
    /// # Errors
    /// What the server says.
    pub fn query(&self, statement: &str) -> io::Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        run(psql.arg("--command").arg(statement).arg(self.url()))
    }

    /// Kills it and all of its processes, as a loss of power would, and waits until they are gone.
    ///
    /// # Errors
    /// If they are not gone in time.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(Running { process, mut child, .. }) = self.running.take() else { return Ok(()) };
        let mut all = below(process);
        signal(process, Signal::Kill)?;
        child.wait()?;
        // What it started between the look and its death notices by itself, and says so in its folder.
        all.iter().try_for_each(|one| signal(*one, Signal::Kill))?;
        all.push(process);
        match all.into_iter().find(|one| !is_gone_within(*one, LIMIT)) {
            Some(left) => Err(io::Error::other(format!("process {left} does not die"))),
            None => Ok(()),
        }
    }

    /// Stops it in an orderly way; its clients are cut off.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(Running { process, mut child, .. }) = self.running.take() else { return Ok(()) };
        signal(process, Signal::Interrupt)?;
        if !is_gone_within(process, LIMIT) {
            return Err(io::Error::other("PostgreSQL does not stop"));
        }
        child.wait().map(|_| ())
    }

    /// Starts it again, on the same port and with what it stored, and waits until it accepts
    /// connections. One that runs is stopped first.
    ///
    /// # Errors
    /// If it does not start: with what it says.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        let began = Instant::now();
        loop {
            let (running, log) = self.spawn()?;
            self.running = Some(running);
            let Err(error) = self.wait_until_ready(&log, began) else { return Ok(()) };
            self.kill()?;
            // A process of the server that was killed may need a moment to see it.
            let in_use = error.to_string().contains("still in use");
            if !in_use || began.elapsed() > LIMIT {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match self.user {
            Some(user) => dies_with_us_as(user, program),
            None => dies_with_us(program),
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn initialize(&self) -> io::Result<()> {
        // Others may look in, so that the server's user can.
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(self.data())?;
        if let Some(user) = self.user {
            run(Command::new("chown").arg(user).arg(self.data()))?;
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--no-sync", "--no-instructions", "--pgdata"]).arg(self.data());
        run(&mut initdb).map(|_| ())
    }

    fn spawn(&self) -> io::Result<(Running, PathBuf)> {
        let log = self.folder.path().join("log");
        let out = fs::File::create(&log)?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(out);
        let port = self.port.to_string();
        let always = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
            // Files in its own folder, so that nothing of a killed server stays in the machine.
            ("dynamic_shared_memory_type", "mmap"),
        ];
        let chosen = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in always.into_iter().chain(chosen) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // The child dies with the thread that started it, which must not be a test's own: others may
        // use the server.
        let (parent, until) = channel::<()>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let _ = tell.send(command.spawn());
            let _ = until.recv();
        });
        let child = told.recv().map_err(io::Error::other)??;
        Ok((Running { process: child.id(), child, _parent: parent }, log))
    }

    fn wait_until_ready(&mut self, log: &Path, began: Instant) -> io::Result<()> {
        loop {
            let running = self.running.as_mut().map(|running| running.child.try_wait());
            let ended = running.transpose()?.flatten();
            let said = || fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = ended {
                let what = format!("PostgreSQL ended ({status}) at its start:\n{}", said());
                return Err(io::Error::other(what));
            }
            if said().contains("ready to accept connections")
                && TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
            {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                let what = format!("PostgreSQL does not accept connections:\n{}", said());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Quicker than an orderly stop, and it leaves nothing in the machine's memory, as a kill would.
        if let Some(running) = &self.running {
            let _ = signal(running.process, Signal::Quit);
            let _ = is_gone_within(running.process, LIMIT);
        }
        let _ = self.kill();
    }
}

/// What the names of the folders begin with; the id of the test's process follows.
const PREFIX: &str = "conveyor-postgres-";

/// Removes the folders of tests that were killed, whose servers died with them.
fn remove_what_the_dead_left() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if owner.is_some_and(|(owner, _)| !Path::new("/proc").join(owner).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Where the newest PostgreSQL's programs are.
fn programs() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_all = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).exists())
    };
    if let Some(folder) = std::env::split_paths(&path).find(has_all) {
        return Ok(folder);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| has_all(folder))
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "there is no PostgreSQL here, neither in PATH nor in /usr/lib/postgresql: \
             apt-get install postgresql",
        )
    })
}

/// Somebody whom root can be instead.
pub(crate) fn unprivileged() -> io::Result<&'static str> {
    let known = |name: &&str| {
        let id = Command::new("id").arg(name).stdout(Stdio::null()).stderr(Stdio::null()).status();
        id.is_ok_and(|status| status.success())
    };
    ["postgres", "nobody"].into_iter().find(known).ok_or_else(|| {
        io::Error::other("PostgreSQL refuses to run as root, and there is no user `postgres` here")
    })
}

/// Runs a command to its end; what it printed, or an error with what it complained of.
fn run(command: &mut Command) -> io::Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().map_err(|error| {
        let program = command.get_program();
        io::Error::new(error.kind(), format!("cannot start {program:?}: {error}"))
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{command:?}: {}: {said}", output.status)));
    }
    let mut text = String::new();
    output.stdout.as_slice().read_to_string(&mut text)?;
    Ok(text.trim_end().to_owned())
}

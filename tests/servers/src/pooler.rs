//! [`Pooler`]: `PgBouncer` before a server, giving out its connections by the transaction.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::{Postgres, unprivileged};
use crate::process::{dies_with_us, dies_with_us_as, is_root};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// A pooler on a port of its own, with few connections to the server, so that a client has another
/// one in nearly every transaction.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Pooler {
    /// Starts one, and waits until it accepts connections. It is killed when it is dropped.
    ///
    /// # Errors
    /// If there is no `pgbouncer` here, or it does not start.
    pub fn start(server: &Postgres) -> io::Result<Self> {
        let user = is_root().then(unprivileged).transpose()?;
        let folder = tempfile::Builder::new().prefix("conveyor-pooler-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let settings = folder.path().join("pgbouncer.ini");
        let server = server.port();
        let text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = 3\n\
             server_round_robin = 1\n\
             ignore_startup_parameters = extra_float_digits\n\
             unix_socket_dir =\n"
        );
        fs::write(&settings, text)?;
        // Others may look in, so that the pooler's user can.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        // Where Debian has it, which is not in everybody's path.
        let debians = Path::new("/usr/sbin/pgbouncer");
        let program = if debians.exists() { debians } else { Path::new("pgbouncer") };
        let mut command = match user {
            Some(user) => dies_with_us_as(user, program),
            None => dies_with_us(program),
        };
        command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pooler = Pooler { child: command.spawn()?, port, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = pooler.child.try_wait()? {
                return Err(io::Error::other(format!("pgbouncer ended ({status}) at its start")));
            }
            if began.elapsed() > LIMIT {
                return Err(io::Error::other("pgbouncer does not accept connections"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(pooler)
    }

    /// Where to connect through it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

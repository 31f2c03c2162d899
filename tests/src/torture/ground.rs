//! [`Ground`]: what the processes stand on, and what can happen to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use conveyor_test_servers::{Fault, Options, Postgres, Proxy};
use conveyor_testkit::Random;

use super::line::What;
use super::recorder::Recorder;

/// How long a server stays down at most, beside what it takes to start.
const LONGEST_DOWN: usize = 1_000;

/// A place for tasks.
pub enum Ground {
    /// A file: nothing happens to it.
    File {
        /// Where it is.
        url: String,
    },
    /// A server of our own, and the wire to it.
    Server(Box<Server>),
}

/// A server that is killed at times, behind a wire that is not to be relied on.
pub struct Server {
    server: Postgres,
    wire: Proxy,
    /// Until when something is wrong with the wire.
    wrong_until: Option<Instant>,
}

impl Ground {
    /// The ground for the store of that name, with its files in that folder.
    ///
    /// # Errors
    /// If there is none of that name, or no server to be had.
    pub fn new(store: &str, folder: &Path, seed: u64) -> conveyor::Result<Self> {
        match store {
            "sqlite" => {
                let url = format!("sqlite:{}", folder.join("tasks.db").display());
                Ok(Ground::File { url })
            }
            "postgres" => {
                // Its processes die here, but no power is lost: what they have written is written.
                let server = Postgres::start(Options::new().set("fsync", "off"))?;
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
                let wire = Proxy::start(address, seed)?;
                Ok(Ground::Server(Box::new(Server { server, wire, wrong_until: None })))
            }
            other => Err(format!("there is no store {other:?}; there are sqlite, postgres").into()),
        }
    }

    /// Where processes find it.
    pub(super) fn url(&self) -> String {
        match self {
            Ground::File { url } => url.clone(),
            Ground::Server(server) => {
                let port = server.wire.address().port();
                format!("postgres://postgres@127.0.0.1:{port}/postgres")
            }
        }
    }

    /// Where it is found even if something is wrong with the wire.
    pub(super) fn sure_url(&self) -> String {
        match self {
            Ground::File { url } => url.clone(),
            Ground::Server(server) => server.server.url(),
        }
    }

    /// Whether calls may fail.
    pub(super) fn may_fail(&self) -> bool {
        matches!(self, Ground::Server(_))
    }

    /// Does something to it, if there is something that can be done.
    pub(super) fn disturb(
        &mut self,
        random: &mut Random,
        lease: Duration,
        recorder: &Recorder,
    ) -> conveyor::Result<()> {
        let Ground::Server(ground) = self else { return Ok(()) };
        if random.below(4) == 0 {
            recorder.note(What::ServerKill);
            ground.server.kill()?;
            thread::sleep(Duration::from_millis(random.below(LONGEST_DOWN) as u64));
            ground.server.restart()?;
            recorder.note(What::ServerUp);
        } else if ground.wrong_until.is_none() {
            let most = lease.as_millis() as usize / 4 + 50;
            // Now and then for longer than any lease.
            let time = if random.below(8) == 0 { most * 6 } else { random.below(most) };
            let fault = match random.below(4) {
                0 => Fault::Delay(Duration::from_millis(random.below(300) as u64)),
                1 => Fault::LoseReplies,
                2 => Fault::HalfOpen,
                _ => Fault::Cut,
            };
            recorder.note(What::Wire(format!("{fault:?}")));
            ground.wire.set(fault);
            ground.wrong_until = Some(Instant::now() + Duration::from_millis(time as u64));
        }
        Ok(())
    }

    /// Has all be well again whose time has come, or everything.
    pub(super) fn mend(&mut self, all: bool, recorder: &Recorder) {
        let Ground::Server(ground) = self else { return };
        if ground.wrong_until.is_some_and(|until| all || until <= Instant::now()) {
            ground.wrong_until = None;
            ground.wire.set(Fault::None);
            recorder.note(What::Wire("None".to_owned()));
        }
    }
}

//! [`Proxy`]: the wire between a client and a server, at a test's mercy.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a thread that waits for bytes looks whether the wire is still what it was.
const LOOK: Duration = Duration::from_millis(20);

/// What is wrong with the wire, for every connection that there is or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// What is sent arrives late, by up to that much, either way.
    Delay(Duration),
    /// What a client sends arrives, but of what the server answers nothing does, and then the
    /// connection is lost.
    LoseReplies,
    /// Nothing arrives, either way, and nobody is told. What a client sends meanwhile is lost, so its
    /// connection does not outlive the fault.
    HalfOpen,
    /// Connections are refused: closed as soon as they are made, and so are those that there are.
    Cut,
}

/// A wire to a server, and what is wrong with it: nothing, at first.
///
/// It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    state: Mutex<State>,
    seed: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    connections: Vec<TcpStream>,
}

impl Proxy {
    /// A wire to `server`. The seed decides how late things are.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(server: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = Mutex::new(State { fault: Fault::None, connections: Vec::new() });
        let wire = Arc::new(Wire {
            state,
            seed: AtomicU64::new(seed),
            lost: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let accepts = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepts.ended.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(client) = client {
                    // A client of a server that is down sees its connection closed.
                    let _ = accepts.connect(client, server);
                }
            }
        });
        Ok(Proxy { address, wire })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, this is wrong with it.
    pub fn set(&self, fault: Fault) {
        let mut state = self.wire.lock();
        let was = std::mem::replace(&mut state.fault, fault);
        // What a half-open connection swallowed is missing in it, and a lost reply too.
        let broken = fault != was && matches!(was, Fault::HalfOpen | Fault::LoseReplies);
        if broken || fault == Fault::Cut {
            state.cut();
        }
    }

    /// Cuts the connections that there are.
    pub fn cut(&self) {
        self.wire.lock().cut();
    }

    /// How many connections were lost with a reply on them.
    #[must_use]
    pub fn replies_lost(&self) -> u64 {
        self.wire.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.ended.store(true, Ordering::Relaxed);
        self.cut();
        // Has it look up from its waiting.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for connection in self.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream, server: SocketAddr) -> io::Result<()> {
        if self.lock().fault == Fault::Cut {
            return Ok(());
        }
        let server = TcpStream::connect(server)?;
        for side in [&client, &server] {
            side.set_nodelay(true)?;
            side.set_read_timeout(Some(LOOK))?;
        }
        {
            let mut state = self.lock();
            // What is closed already cannot be cut any more.
            state.connections.retain(|one| one.peer_addr().is_ok());
            state.connections.extend([client.try_clone()?, server.try_clone()?]);
        }
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        let wire = Arc::clone(self);
        thread::spawn(move || wire.carry(Way::ToServer, from, to));
        let wire = Arc::clone(self);
        thread::spawn(move || wire.carry(Way::ToClient, server, client));
        Ok(())
    }

    /// Carries bytes one way until the connection ends, and ends it for both.
    fn carry(&self, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let length = match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if is_only_late(&error) => continue,
                Err(_) => break,
            };
            // Copied, so that nobody waits for the lock meanwhile.
            let fault = self.lock().fault;
            match fault {
                Fault::HalfOpen => continue,
                Fault::Cut => break,
                Fault::LoseReplies if way == Way::ToClient => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Fault::Delay(most) => thread::sleep(most.mul_f64(self.draw())),
                Fault::None | Fault::LoseReplies => {}
            }
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// A number from 0 to 1, by `SplitMix64`.
    fn draw(&self) -> f64 {
        let mut z = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn is_only_late(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Instant;

    use super::*;

    /// A server that says what it hears to its clients and to the test.
    fn echo() -> (SocketAddr, Receiver<Vec<u8>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, tell) = (client.unwrap(), tell.clone());
                thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(length @ 1..) = client.read(&mut bytes) {
                        let _ = tell.send(bytes[..length].to_vec());
                        if client.write_all(&bytes[..length]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, told)
    }

    fn wire() -> (Proxy, Receiver<Vec<u8>>) {
        let (address, told) = echo();
        (Proxy::start(address, 7).unwrap(), told)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    }

    fn ask(mut client: &TcpStream, what: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(what)?;
        let mut bytes = vec![0; what.len()];
        client.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn without_a_fault_all_arrives() {
        let (proxy, told) = wire();
        let client = connect(&proxy);
        for what in [&b"one"[..], b"two"] {
            assert_eq!(ask(&client, what).unwrap(), what);
            assert_eq!(told.recv().unwrap(), what);
        }
    }

    #[test]
    fn a_delay_is_only_a_delay() {
        let (proxy, _told) = wire();
        let client = connect(&proxy);
        proxy.set(Fault::Delay(Duration::from_millis(40)));
        let began = Instant::now();
        for _ in 0..10 {
            assert_eq!(ask(&client, b"late").unwrap(), b"late");
        }
        // 20 times 20 ms, on average, and never nothing.
        assert!(began.elapsed() > Duration::from_millis(40), "{:?}", began.elapsed());
    }

    #[test]
    fn a_lost_reply_was_a_request_that_arrived() {
        let (proxy, told) = wire();
        let client = connect(&proxy);
        assert_eq!(ask(&client, b"before").unwrap(), b"before");
        proxy.set(Fault::LoseReplies);
        assert!(ask(&client, b"lost").is_err());
        assert_eq!(told.iter().take(2).collect::<Vec<_>>(), [&b"before"[..], b"lost"]);
        assert_eq!(proxy.replies_lost(), 1);
        proxy.set(Fault::None);
        assert_eq!(ask(&connect(&proxy), b"after").unwrap(), b"after");
    }

    #[test]
    fn a_half_open_wire_swallows_all_and_does_not_come_back() {
        let (proxy, told) = wire();
        let client = connect(&proxy);
        proxy.set(Fault::HalfOpen);
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let error = ask(&client, b"swallowed").unwrap_err();
        assert!(is_only_late(&error), "nobody was told: {error}");
        assert!(told.try_recv().is_err());
        proxy.set(Fault::None);
        assert!(!is_only_late(&ask(&client, b"more").unwrap_err()), "there is a gap in it");
        assert_eq!(ask(&connect(&proxy), b"anew").unwrap(), b"anew");
    }

    #[test]
    fn a_cut_ends_what_is_there_and_refuses_what_comes() {
        let (proxy, _told) = wire();
        let client = connect(&proxy);
        assert_eq!(ask(&client, b"before").unwrap(), b"before");
        proxy.cut();
        assert!(ask(&client, b"cut").is_err());
        let client = connect(&proxy);
        assert_eq!(ask(&client, b"again").unwrap(), b"again", "only once");
        proxy.set(Fault::Cut);
        assert!(ask(&client, b"cut").is_err());
        assert!(ask(&connect(&proxy), b"refused").is_err());
    }
}

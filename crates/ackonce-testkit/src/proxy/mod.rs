//! A TCP proxy that loses, delays and cuts, between a client and a real server.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

use pump::Shared;

mod mode;
mod pump;

pub use mode::{ProxyCounts, ProxyMode, Traffic};

/// The time limit of [`Proxy::wait_for`].
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy on a port of 127.0.0.1 of its own, in front of one upstream. Ends, with its connections, when dropped.
///
/// The modes of both directions can be changed at any time, for present and future connections.
/// [`counts`](Self::counts) counts the faults, so that a test can prove that its own happened.
///
/// | to test | do |
/// |---|---|
/// | applied, reply lost | `set_replies(ProxyMode::Cut { nth: 1 })` |
/// | request lost | `set_requests(ProxyMode::Cut { nth: 1 })` |
/// | no answer at all | `set(ProxyMode::Blackhole)` |
/// | applied after the client gave up | `set_requests(ProxyMode::Hold)`, later `set_requests(ProxyMode::Pass)` |
/// | a slow network | `set(ProxyMode::Delay(…))`, `set(ProxyMode::Drip { … })` |
/// | a server that is down, and comes back | [`refuse`](Self::refuse), [`cut_all`](Self::cut_all); [`accept`](Self::accept) |
///
/// ```
/// use ackonce_testkit::proxy::{ProxyMode, Proxy};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let server = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = Proxy::start(server.local_addr()?).await?;
/// proxy.set_replies(ProxyMode::Cut { nth: 1 });
///
/// let mut client = TcpStream::connect(proxy.addr()).await?;
/// let (mut peer, _) = server.accept().await?;
/// client.write_all(b"charge").await?;
/// peer.read_exact(&mut [0; 6]).await?; // it is applied,
/// peer.write_all(b"charged").await?;
/// assert_eq!(client.read(&mut [0; 7]).await.unwrap_or(0), 0); // and the client never hears of it
/// assert_eq!(proxy.counts().replies.cut, 1);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    /// Bound and never listening, so that no other program gets the port while connections are refused.
    _port: TcpSocket,
}

impl Proxy {
    /// A proxy in front of `upstream`, such as `127.0.0.1:6379`, which is resolved and connected to again for
    /// each connection.
    ///
    /// # Errors
    /// No port is free to listen on.
    pub async fn start(upstream: impl ToString) -> io::Result<Self> {
        let (port, address) = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let proxy = Self {
            address,
            shared: Arc::new(Shared::new(upstream.to_string())),
            connections: Arc::default(),
            accepting: tokio::sync::Mutex::default(),
            _port: port,
        };
        proxy.accept().await?;
        Ok(proxy)
    }

    /// A proxy in front of the server of a URL such as `postgres://user:password@127.0.0.1:5432/db`, and the
    /// URL that leads through it. A URL that names several servers is an error.
    ///
    /// # Errors
    /// The URL does not name one host and its port, or no port is free to listen on.
    pub async fn in_front_of(url: &str) -> io::Result<(Self, String)> {
        let place = server(url).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the URL must name one host and its port")
        })?;
        let proxy = Self::start(&url[place.clone()]).await?;
        let through = format!("{}{}{}", &url[..place.start], proxy.address, &url[place.end..]);
        Ok((proxy, through))
    }

    /// The address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Changes both directions.
    pub fn set(&self, mode: ProxyMode) {
        self.set_requests(mode);
        self.set_replies(mode);
    }

    /// Changes the mode of the direction from clients to the upstream.
    pub fn set_requests(&self, mode: ProxyMode) {
        self.shared.requests.send_replace(mode);
    }

    /// Changes the mode of the direction from the upstream to clients.
    pub fn set_replies(&self, mode: ProxyMode) {
        self.shared.replies.send_replace(mode);
    }

    /// Refuses new connections from now on, like a port without a listener.
    pub async fn refuse(&self) {
        if let Some(accepting) = self.accepting.lock().await.take() {
            accepting.abort();
            // When it has ended, its listener is closed.
            let _ = accepting.await;
        }
    }

    /// Takes new connections again after a [`refuse`](Self::refuse).
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn accept(&self) -> io::Result<()> {
        let mut accepting = self.accepting.lock().await;
        if accepting.is_none() {
            let listener = bind(self.address)?.0.listen(1024)?;
            let (shared, connections) = (Arc::clone(&self.shared), Arc::clone(&self.connections));
            *accepting = Some(tokio::spawn(accept(listener, shared, connections)));
        }
        Ok(())
    }

    /// Closes every connection accepted so far; those to come are served.
    pub async fn cut_all(&self) {
        let mut connections =
            mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner));
        connections.shutdown().await;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> ProxyCounts {
        *self.shared.counts.borrow()
    }

    /// Waits until `is_enough` is true of the counts, and returns them.
    ///
    /// # Panics
    /// It is not true within a minute.
    pub async fn wait_for(&self, is_enough: impl Fn(&ProxyCounts) -> bool) -> ProxyCounts {
        let mut counts = self.shared.counts.subscribe();
        let enough = tokio::time::timeout(PATIENCE, counts.wait_for(is_enough)).await;
        match enough {
            Ok(Ok(counts)) => *counts,
            _ => self.give_up(),
        }
    }

    #[allow(clippy::panic, reason = "a test that waits in vain should panic")]
    fn give_up(&self) -> ! {
        panic!("the proxy has waited for {PATIENCE:?} in vain: {:?}", self.counts())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().take() {
            accepting.abort();
        }
        // Those that are being accepted now end with the task.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The position of the one `host:port` in a URL.
fn server(url: &str) -> Option<Range<usize>> {
    let authority = url.find("://")? + 3;
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let start = url[authority..end].rfind('@').map_or(authority, |at| authority + at + 1);
    let (host, port) = url[start..end].rsplit_once(':')?;
    let is_one = !host.is_empty() && !host.contains(',') && port.parse::<u16>().is_ok();
    is_one.then_some(start..end)
}

fn bind(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, connections: Arc<Mutex<JoinSet<()>>>) {
    loop {
        // The errors of accept are about one connection, or pass (too many open files).
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.counts.send_modify(|counts| counts.connections += 1);
        let shared = Arc::clone(&shared);
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        connections.spawn(async move { pump::serve(client, &shared).await });
    }
}

//! The mode of a direction, and its counts.

use std::time::Duration;

/// The treatment of the bytes in one direction.
///
/// The proxy knows no protocol. It works on *pieces*, the bytes that one read gives, and on *turns*: a request
/// begins where a client sends after the server sent last (or first of all), a reply where the server does so.
/// A reply in several pieces is one reply; requests that do not wait for each other may be one request.
///
/// ```
/// use std::time::Duration;
/// use ackonce_testkit::proxy::{Proxy, ProxyMode};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let proxy = Proxy::start("127.0.0.1:6379").await?;
/// proxy.set_requests(ProxyMode::Delay(Duration::from_millis(20)));
/// proxy.set_replies(ProxyMode::Drip { bytes: 1, gap: Duration::from_millis(5) });
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProxyMode {
    /// Passed on at once.
    #[default]
    Pass,
    /// Read and thrown away, the end of the connection included: the peer waits until it gives up.
    ///
    /// A connection that lost bytes stays a black hole in that direction when the mode changes.
    Blackhole,
    /// Kept back until the mode changes, the end of the connection included, and passed on even if the peer
    /// gave up meanwhile: a request that is applied late.
    Hold,
    /// Each piece is passed on that much later.
    Delay(Duration),
    /// Passed on in parts of that many bytes, each this much later than the one before.
    Drip {
        /// The size of a part; 0 is taken for 1.
        bytes: usize,
        /// The wait before each part.
        gap: Duration,
    },
    /// The connection is closed instead of passing on the `nth` request or reply from now, 1 being the next;
    /// after that, [`Pass`](Self::Pass). Cut a reply, and the request has been applied.
    Cut {
        /// Counted over all connections.
        nth: u32,
    },
    /// As [`Cut`](Self::Cut), by a TCP reset of both sides.
    Reset {
        /// Counted over all connections.
        nth: u32,
    },
}

/// The way in which a connection is ended in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Close,
    Reset,
}

impl ProxyMode {
    /// Counts one more request or reply; returns the ending if it is the one that ends its connection.
    pub(super) fn strike(&mut self) -> Option<Ending> {
        let (nth, ending) = match self {
            Self::Cut { nth } => (nth, Ending::Close),
            Self::Reset { nth } => (nth, Ending::Reset),
            _ => return None,
        };
        *nth = nth.saturating_sub(1);
        (*nth == 0).then(|| {
            *self = Self::Pass;
            ending
        })
    }
}

/// The counts of a [`Proxy`](super::Proxy) so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyCounts {
    /// Connections accepted.
    pub connections: u64,
    /// Those of them for which the upstream could not be reached.
    pub unreachable: u64,
    /// From clients to the upstream.
    pub requests: Traffic,
    /// From the upstream to clients.
    pub replies: Traffic,
}

/// The counts of one direction so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests or replies that have begun to arrive, passed on or not.
    pub turns: u64,
    /// Bytes passed on.
    pub bytes: u64,
    /// Bytes thrown away by [`ProxyMode::Blackhole`].
    pub swallowed: u64,
    /// Pieces kept back by [`ProxyMode::Hold`], those passed on since included.
    pub held: u64,
    /// Connections ended by [`ProxyMode::Cut`] or [`ProxyMode::Reset`].
    pub cut: u64,
}

//! One connection: two pumps, each of which obeys the mode of its direction.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::mode::{Ending, ProxyCounts, ProxyMode, Traffic};

/// The state that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: String,
    pub(super) requests: watch::Sender<ProxyMode>,
    pub(super) replies: watch::Sender<ProxyMode>,
    pub(super) counts: watch::Sender<ProxyCounts>,
}

impl Shared {
    pub(super) fn new(upstream: String) -> Self {
        Self {
            upstream,
            requests: watch::Sender::default(),
            replies: watch::Sender::default(),
            counts: watch::Sender::default(),
        }
    }
}

/// Serves one connection until both directions have ended, or one was cut.
pub(super) async fn serve(mut client: TcpStream, shared: &Shared) {
    let Ok(mut server) = TcpStream::connect(&shared.upstream).await else {
        shared.counts.send_modify(|counts| counts.unreachable += 1);
        return;
    };
    for side in [&client, &server] {
        // At worst, small pieces are late.
        let _ = side.set_nodelay(true);
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let spoke_last = AtomicU8::new(0);
    let requests =
        Pump { side: 1, modes: &shared.requests, of: |c| &mut c.requests, shared, spoke_last: &spoke_last };
    let replies =
        Pump { side: 2, modes: &shared.replies, of: |c| &mut c.replies, shared, spoke_last: &spoke_last };
    let ended =
        futures_util::try_join!(requests.run(from_client, to_server), replies.run(from_server, to_client));
    if ended == Err(Ending::Reset) {
        for side in [&client, &server] {
            let _ = side.set_zero_linger();
        }
    }
}

/// One direction of one connection.
struct Pump<'a> {
    side: u8,
    modes: &'a watch::Sender<ProxyMode>,
    of: fn(&mut ProxyCounts) -> &mut Traffic,
    shared: &'a Shared,
    spoke_last: &'a AtomicU8,
}

/// The state of a direction. Once bytes were lost or cannot be written, the rest is worthless.
#[derive(PartialEq, Eq)]
enum Flow {
    Open,
    Lost,
}

impl Pump<'_> {
    async fn run(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Ending> {
        let mut mode = self.modes.subscribe();
        let mut state = Flow::Open;
        let mut buffer = vec![0; 64 << 10];
        loop {
            // A broken connection ends like a closed one, so that the peer still reads the bytes passed on before.
            let size = from.read(&mut buffer).await.unwrap_or(0);
            if size == 0 {
                // No sender is gone while the pump runs.
                let _ = mode.wait_for(|mode| !matches!(mode, ProxyMode::Blackhole | ProxyMode::Hold)).await;
                let _ = to.shutdown().await;
                return Ok(());
            }
            // Before it is passed on: the other side cannot answer earlier than this.
            let is_turn = self.spoke_last.swap(self.side, Ordering::SeqCst) != self.side;
            self.count(|traffic| traffic.turns += u64::from(is_turn));
            if state == Flow::Open {
                state = self.pass(&buffer[..size], is_turn, &mut mode, &mut to).await?;
            }
        }
    }

    /// One piece.
    async fn pass(
        &self,
        piece: &[u8],
        mut is_turn: bool,
        mode: &mut watch::Receiver<ProxyMode>,
        to: &mut WriteHalf<'_>,
    ) -> Result<Flow, Ending> {
        let mut left = piece;
        let mut was_held = false;
        while !left.is_empty() {
            let now = *mode.borrow_and_update();
            let part = match now {
                ProxyMode::Pass => left.len(),
                ProxyMode::Delay(by) => {
                    tokio::time::sleep(by).await;
                    left.len()
                }
                ProxyMode::Drip { bytes, gap } => {
                    tokio::time::sleep(gap).await;
                    left.len().min(bytes.max(1))
                }
                ProxyMode::Blackhole => {
                    self.count(|traffic| traffic.swallowed += left.len() as u64);
                    return Ok(Flow::Lost);
                }
                ProxyMode::Hold => {
                    self.count(|traffic| traffic.held += u64::from(!was_held));
                    was_held = true;
                    let _ = mode.changed().await;
                    continue;
                }
                ProxyMode::Cut { .. } | ProxyMode::Reset { .. } => {
                    if is_turn && let Some(ending) = self.strike() {
                        self.count(|traffic| traffic.cut += 1);
                        return Err(ending);
                    }
                    left.len()
                }
            };
            is_turn = false;
            if to.write_all(&left[..part]).await.is_err() {
                return Ok(Flow::Lost);
            }
            self.count(|traffic| traffic.bytes += part as u64);
            left = &left[part..];
        }
        Ok(Flow::Open)
    }

    fn strike(&self) -> Option<Ending> {
        let mut ending = None;
        self.modes.send_modify(|mode| ending = mode.strike());
        ending
    }

    fn count(&self, add: impl FnOnce(&mut Traffic)) {
        self.shared.counts.send_modify(|counts| add((self.of)(counts)));
    }
}

//! The server in front: it accepts, bounds and drains connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::args::ProxyArgs;
use super::front::Front;
use super::idle::{Activity, Watched};

/// The interval of questions on a silent HTTP/2 connection, and the longest wait for an answer to one.
const PING: Duration = Duration::from_secs(20);
/// The most requests at once on one HTTP/2 connection.
const STREAMS: u32 = 250;
/// The wait after an accept that failed, for lack of file descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Server {
    http: auto::Builder<TokioExecutor>,
    front: Front,
    header_timeout: Duration,
    idle_timeout: Duration,
    room: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Server {
    pub(super) fn new(args: &ProxyArgs, front: Front) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(args.header_timeout);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS);
        Self {
            http,
            front,
            header_timeout: args.header_timeout,
            idle_timeout: args.idle_timeout,
            room: Arc::new(Semaphore::new(usize::try_from(args.max_connections).unwrap_or(usize::MAX))),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Accepts until it is stopped. A connection beyond the limit waits in the system's queue.
    pub(super) async fn accept(&self, listener: TcpListener, stop: &CancellationToken) {
        loop {
            let accepted = async {
                let place = self.room.clone().acquire_owned().await.ok()?;
                match listener.accept().await {
                    Ok((connection, peer)) => Some((connection, peer, place)),
                    Err(error) => {
                        tracing::debug!(target: "ackonce", %error, "a connection could not be accepted");
                        tokio::time::sleep(PAUSE).await;
                        None
                    }
                }
            };
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = accepted => accepted,
            };
            if let Some((connection, peer, place)) = accepted {
                tokio::spawn(self.serve(connection, peer, place));
            }
        }
    }

    fn serve(
        &self,
        connection: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send + use<> {
        // An answer is written as a whole; waiting for more only delays it.
        let _ = connection.set_nodelay(true);
        let (http, front, watcher) = (self.http.clone(), self.front.clone(), self.graceful.watcher());
        let (header_timeout, idle_timeout) = (self.header_timeout, self.idle_timeout);
        async move {
            let activity = Activity::new();
            let io = TokioIo::new(Watched::new(connection, activity.clone(), place));
            let asked = activity.clone();
            let service = service_fn(move |request| {
                front.clone().answer(request, peer.ip().to_canonical(), asked.clone())
            });
            let connection = watched(watcher, http.serve_connection_with_upgrades(io, service));
            // A request that has begun outlives its connection.
            tokio::select! {
                () = connection => {}
                () = activity.over(header_timeout, idle_timeout) => {}
            }
        }
    }

    /// Lets the requests under way finish for so long, then drops their connections.
    pub(super) async fn drain(self, limit: Duration) {
        let left = self.graceful.count();
        if tokio::time::timeout(limit, self.graceful.shutdown()).await.is_err() {
            tracing::warn!(target: "ackonce", connections = left, "--drain is over: connections with requests under way \
                are closed");
        }
    }
}

async fn watched(watcher: Watcher, connection: impl hyper_util::server::graceful::GracefulConnection) {
    // A client that breaks off is its own affair.
    let _ = watcher.watch(connection).await;
}

//! A small HTTP/1.1 server that slow and idle clients cannot hold up.
//!
//! `axum::serve` sets no timer, so its time-out for headers never fires, and any number of clients may open a
//! connection and send a byte a minute. This accept loop can be exposed without a proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ackonce::CancellationToken;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// Connections at once; more wait in the kernel's queue until one ends.
const CONNECTIONS: usize = 1024;
/// The longest a request's head may take to arrive, and so the longest a connection may idle.
const HEAD: Duration = Duration::from_secs(10);
/// The longest gap within a request's body.
const BODY_GAP: Duration = Duration::from_secs(10);
/// The most that hyper reads ahead of a connection, and so the longest head. Its default of 400 KiB is not for a thousand
/// connections that upload.
const READ_AHEAD: usize = 64 << 10;
/// The time limit for open connections after shutdown began.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until shutdown, then lets running requests end.
///
/// # Errors
/// The listener has no address, or is not usable any more.
pub async fn serve(listener: TcpListener, app: Router, shutdown: CancellationToken) -> io::Result<()> {
    eprintln!("listening on http://{}", listener.local_addr()?);
    // The state last, so that the layered routes are made once and not for each request.
    let app = app.layer(RequestBodyTimeoutLayer::new(BODY_GAP)).with_state(());
    let (room, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), GracefulShutdown::new());
    loop {
        let next = async { (room.clone().acquire_owned().await, accept(&listener).await) };
        let (permit, stream) = tokio::select! {
            () = shutdown.cancelled() => break,
            (permit, accepted) = next => (permit, accepted?),
        };
        let connection = connection(stream, app.clone(), connections.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        eprintln!("connections are still open after {DRAIN:?}");
    }
    Ok(())
}

/// The next connection. A client that is gone already and a full file table are no reason to end.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router, watcher: Watcher) {
    // Answers are small and whole: waiting to fill a packet only makes them late.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(READ_AHEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "connection");
    }
}

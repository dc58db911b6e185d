//! Connections on which nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ackonce_http::edge::{RequestUnderWay, Requests};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// When a connection last moved, and its requests. Cloning is cheap; clones are of the same connection.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    moves: Arc<Moves>,
    requests: Requests,
}

#[derive(Debug)]
struct Moves {
    began: Instant,
    /// Milliseconds from `began` to the last byte, in either direction.
    last: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        let moves = Moves { began: Instant::now(), last: AtomicU64::new(0) };
        Self { moves: Arc::new(moves), requests: Requests::new() }
    }

    /// A request has come. It is under way until the end of its answer.
    pub(super) fn asked(&self) -> RequestUnderWay {
        self.requests.begin()
    }

    fn moved(&self) {
        let now = u64::try_from(self.moves.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moves.last.store(now, Ordering::Relaxed);
    }

    /// Ready once nothing has moved for so long.
    pub(super) async fn silent(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.moves.last.load(Ordering::Relaxed));
            match limit.checked_sub(self.moves.began.elapsed().saturating_sub(last)) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    }

    /// Ready if there is no request after `first`, or once nothing has moved for `idle` or no request has been under way: pings
    /// of HTTP/2 move bytes for ever.
    pub(super) async fn over(&self, first: Duration, idle: Duration) {
        tokio::select! {
            () = self.silent(idle) => {}
            () = self.requests.missing(first, idle) => {}
        }
    }
}

/// A connection that notes when it moves, and holds its place among all until it is closed, as a tunnel too.
pub(super) struct Watched<T> {
    io: T,
    activity: Activity,
    _place: OwnedSemaphorePermit,
}

impl<T> Watched<T> {
    pub(super) fn new(io: T, activity: Activity, place: OwnedSemaphorePermit) -> Self {
        Self { io, activity, _place: place }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.activity.moved();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.activity.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.activity.moved();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

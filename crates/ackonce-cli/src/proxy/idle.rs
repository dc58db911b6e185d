//! Connections on which nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// When a connection last moved. Cloning is cheap; clones are of the same connection.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Moves>);

#[derive(Debug)]
struct Moves {
    began: Instant,
    /// Milliseconds from `began` to the last byte, in either direction.
    last: AtomicU64,
    asked: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Self {
        let (last, asked) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Moves { began: Instant::now(), last, asked }))
    }

    /// A request has come.
    pub(super) fn asked(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    fn moved(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
    }

    /// Ready once nothing has moved for so long.
    pub(super) async fn silent(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
            match limit.checked_sub(self.0.began.elapsed().saturating_sub(last)) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    }

    /// Ready if there is no request after so long.
    pub(super) async fn never_asked(&self, limit: Duration) {
        tokio::time::sleep(limit).await;
        if self.0.asked.load(Ordering::Relaxed) {
            std::future::pending().await
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

//! Requests over connections that are kept alive, one after another on each.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::Round;

pub(super) struct Load {
    /// Writes the request of that number.
    pub(super) request: fn(u64) -> String,
    /// The end of an answer's body: a hand-made client need not understand more of it.
    pub(super) end: &'static [u8],
    next: AtomicU64,
}

impl Load {
    pub(super) fn new(request: fn(u64) -> String, end: &'static [u8]) -> Self {
        Self { request, end, next: AtomicU64::new(0) }
    }

    pub(super) async fn run(
        &self,
        at: SocketAddr,
        connections: usize,
        length: Duration,
    ) -> anyhow::Result<Round> {
        let (began, answered) = (Instant::now(), AtomicUsize::new(0));
        let connection = || async {
            let mut stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            while began.elapsed() < length {
                self.one(&mut stream).await?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        try_join_all((0..connections).map(|_| connection())).await?;
        Ok(Round::of(answered.into_inner(), Some(began)))
    }

    async fn one(&self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let request = (self.request)(self.next.fetch_add(1, Ordering::Relaxed));
        stream.write_all(request.as_bytes()).await?;
        let (mut buffer, mut len) = ([0; 2048], 0);
        while !buffer[..len].ends_with(self.end) {
            let read = stream.read(&mut buffer[len..]).await?;
            ensure!(read > 0, "the server hung up after {}", String::from_utf8_lossy(&buffer[..len]));
            len += read;
        }
        ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..len]));
        Ok(())
    }
}

//! A relay in front of the server that counts round trips and loses replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Default)]
pub struct Relay {
    trips: Arc<AtomicUsize>,
    /// Replies until one is lost; zero for none.
    cut: Arc<AtomicUsize>,
}

impl Relay {
    /// Starts one, and the URL that leads through it.
    pub async fn start(url: &str) -> (Self, String) {
        let server = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = url.replacen(&server, &listener.local_addr().unwrap().to_string(), 1);
        let relay = Self::default();
        let running = relay.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (requests, replies) = (running.clone(), running.clone());
                tokio::spawn(async move { requests.requests(from_client, to_server).await });
                tokio::spawn(async move { replies.replies(from_server, to_client).await });
            }
        });
        (relay, through)
    }

    /// How many times the client has waited for the server so far: messages Sync and Query of the protocol.
    pub fn trips(&self) -> usize {
        self.trips.load(Ordering::SeqCst)
    }

    /// The n-th reply from now is lost, with its connection; the first is 1.
    pub fn cut(&self, n: usize) {
        self.cut.store(n, Ordering::SeqCst);
    }

    async fn requests(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Option<()> {
        // The first message has no type.
        let size = from.read_u32().await.ok()?;
        let mut message = size.to_be_bytes().to_vec();
        message.resize(size as usize, 0);
        from.read_exact(&mut message[4..]).await.ok()?;
        to.write_all(&message).await.ok()?;
        loop {
            let (kind, size) = (from.read_u8().await.ok()?, from.read_u32().await.ok()?);
            let mut message = [&[kind][..], &size.to_be_bytes()].concat();
            message.resize(size as usize + 1, 0);
            from.read_exact(&mut message[5..]).await.ok()?;
            if kind == b'S' || kind == b'Q' {
                self.trips.fetch_add(1, Ordering::SeqCst);
            }
            to.write_all(&message).await.ok()?;
        }
    }

    async fn replies(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Option<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let size = from.read(&mut buffer).await.ok().filter(|size| *size > 0)?;
            // The server has answered, so what was asked is committed.
            let left = self.cut.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if left == Ok(1) {
                return None;
            }
            to.write_all(&buffer[..size]).await.ok()?;
        }
    }
}

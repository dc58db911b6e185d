//! Between a consumer and the broker: passes frames on, and slips others in between.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ackonce_amqp::lapin::uri::AMQPUri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const METHOD: u8 = 1;
const FRAME_END: u8 = 0xce;

/// Knows frames, as `ackonce_testkit::proxy` does not. Ends when dropped.
#[derive(Debug)]
pub struct Interposer {
    uri: AMQPUri,
    state: Arc<Mutex<State>>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the latest connection: frames for the broker, and for the client.
    to_broker: Option<mpsc::UnboundedSender<Vec<u8>>>,
    to_client: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Channel and tag of the latest consumer.
    consumer: Option<(u16, Vec<u8>)>,
    /// The bytes to overwrite in frames for the broker, and their replacement.
    written_over: Option<(Vec<u8>, Vec<u8>)>,
    passing: Vec<tokio::task::JoinHandle<()>>,
}

impl Interposer {
    /// One in front of the broker at `url`.
    pub async fn start(url: &str) -> Self {
        let mut uri: AMQPUri = url.parse().unwrap();
        let broker = format!("{}:{}", uri.authority.host, uri.authority.port);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        uri.authority.host = address.ip().to_string();
        uri.authority.port = address.port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&broker).await {
                    connect(client, server, &shared);
                }
            }
        });
        Self { uri, state, accepting }
    }

    /// Its listening address.
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// Ends all connections, and takes no more.
    pub fn cut(self) {
        let mut state = self.state.lock().unwrap();
        state.passing.drain(..).for_each(|passing| passing.abort());
    }

    /// Acknowledges a tag on the consumer's channel behind its back.
    pub fn foreign_ack(&self, tag: u64) {
        let state = self.state.lock().unwrap();
        let (channel, _) = state.consumer.clone().unwrap();
        let mut ack = vec![0, 60, 0, 80];
        ack.extend(tag.to_be_bytes());
        ack.push(0);
        state.to_broker.as_ref().unwrap().send(frame(channel, &ack)).unwrap();
    }

    /// Writes other bytes over these, where they are in a frame for the broker: a client's library may refuse to send
    /// them.
    ///
    /// # Panics
    /// The two are not of one length.
    pub fn write_over(&self, bytes: &[u8], with: &[u8]) {
        assert_eq!(bytes.len(), with.len());
        self.state.lock().unwrap().written_over = Some((bytes.to_vec(), with.to_vec()));
    }

    /// Tells the client that the broker has cancelled its consumer. The broker knows nothing of it.
    pub fn cancel(&self) {
        let state = self.state.lock().unwrap();
        let (channel, tag) = state.consumer.clone().unwrap();
        let mut cancel = vec![0, 60, 0, 30, u8::try_from(tag.len()).unwrap()];
        cancel.extend(tag);
        cancel.push(1); // nowait: the broker expects no answer
        state.to_client.as_ref().unwrap().send(frame(channel, &cancel)).unwrap();
    }
}

impl Drop for Interposer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn frame(channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![METHOD];
    frame.extend(channel.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.push(FRAME_END);
    frame
}

fn connect(client: TcpStream, broker: TcpStream, state: &Arc<Mutex<State>>) {
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let (to_broker_tx, to_broker_rx) = mpsc::unbounded_channel();
    let (to_client_tx, to_client_rx) = mpsc::unbounded_channel();
    let mut now = state.lock().unwrap();
    now.to_broker = Some(to_broker_tx.clone());
    now.to_client = Some(to_client_tx.clone());
    now.passing.push(tokio::spawn(write(to_broker_rx, to_broker)));
    now.passing.push(tokio::spawn(write(to_client_rx, to_client)));
    // A client begins with eight bytes that are no frame.
    let shared = state.clone();
    let from_client = tokio::spawn(pass(from_client, to_broker_tx, 8, move |frame| {
        let Some((bytes, with)) = shared.lock().unwrap().written_over.clone() else { return };
        if let Some(at) = frame.windows(bytes.len()).position(|window| window == bytes) {
            frame[at..at + with.len()].copy_from_slice(&with);
        }
    }));
    let state = state.clone();
    let from_broker = tokio::spawn(pass(from_broker, to_client_tx, 0, move |frame| {
        // basic.consume-ok
        if frame[0] == METHOD && frame[7..11] == [0, 60, 0, 21] {
            let channel = u16::from_be_bytes([frame[1], frame[2]]);
            let tag = frame[12..12 + usize::from(frame[11])].to_vec();
            state.lock().unwrap().consumer = Some((channel, tag));
        }
    }));
    now.passing.extend([from_client, from_broker]);
}

async fn pass(
    mut from: OwnedReadHalf,
    to: mpsc::UnboundedSender<Vec<u8>>,
    greeting: usize,
    look: impl Fn(&mut [u8]) + Send,
) {
    let mut bytes = vec![0; greeting];
    if from.read_exact(&mut bytes).await.is_err() || to.send(bytes).is_err() {
        return;
    }
    loop {
        let mut frame = vec![0; 7];
        if from.read_exact(&mut frame).await.is_err() {
            return;
        }
        let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
        frame.resize(7 + size + 1, 0);
        if from.read_exact(&mut frame[7..]).await.is_err() {
            return;
        }
        look(&mut frame);
        if to.send(frame).is_err() {
            return;
        }
    }
}

async fn write(mut frames: mpsc::UnboundedReceiver<Vec<u8>>, mut to: OwnedWriteHalf) {
    while let Some(frame) = frames.recv().await {
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

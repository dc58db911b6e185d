//! Every mode of the proxy does as documented, in front of a server that answers each line with its number.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ackonce_testkit::proxy::{Proxy, ProxyMode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Waited out where nothing may come; everything that must come has no limit but the run's.
const MOMENT: Duration = Duration::from_millis(50);

/// Applies each line it gets, and answers with the number of those applied so far.
struct Server {
    address: SocketAddr,
    applied: Arc<AtomicU64>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), applied: Arc::default() };
        let applied = server.applied.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(client, applied.clone()));
            }
        });
        server
    }

    fn applied(&self) -> u64 {
        self.applied.load(Ordering::SeqCst)
    }
}

async fn answer(mut client: TcpStream, applied: Arc<AtomicU64>) {
    let (from, mut to) = client.split();
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let n = applied.fetch_add(1, Ordering::SeqCst) + 1;
        if to.write_all(format!("{line} is {n}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.addr()).await.unwrap()))
    }

    async fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next reply; `None` at the end of the connection, however it ends.
    async fn reply(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok().filter(|size| *size > 0).map(|_| line.trim().to_owned())
    }

    async fn ask(&mut self, line: &str) -> Option<String> {
        self.send(line).await;
        self.reply().await
    }
}

#[tokio::test]
async fn passes_on_and_counts() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    assert_eq!(client.ask("a").await.unwrap(), "a is 1");
    assert_eq!(client.ask("b").await.unwrap(), "b is 2");
    let counts = proxy.wait_for(|counts| counts.replies.bytes == 14).await;
    assert_eq!((counts.connections, counts.requests.turns, counts.requests.bytes), (1, 2, 4));
    assert_eq!((counts.replies.turns, counts.replies.cut), (2, 0));
    drop(proxy);
    assert_eq!(client.reply().await, None, "it ends with its connections");
}

#[tokio::test]
async fn a_cut_reply_is_applied_and_its_neighbours_live() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let (mut a, mut b) = (Client::connect(&proxy).await, Client::connect(&proxy).await);
    assert_eq!(b.ask("before").await.unwrap(), "before is 1");
    proxy.set_replies(ProxyMode::Cut { nth: 2 });
    assert_eq!(a.ask("first").await.unwrap(), "first is 2");
    assert_eq!(a.ask("second").await, None);
    assert_eq!(server.applied(), 3, "the request was passed on");
    assert_eq!(b.ask("after").await.unwrap(), "after is 4", "one is cut, once");
    assert_eq!(proxy.counts().replies.cut, 1);
}

#[tokio::test]
async fn a_cut_request_is_not_applied() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    proxy.set_requests(ProxyMode::Cut { nth: 1 });
    assert_eq!(client.ask("lost").await, None);
    assert_eq!((server.applied(), proxy.counts().requests.cut), (0, 1));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    proxy.set_replies(ProxyMode::Reset { nth: 1 });
    client.send("a").await;
    let error = client.0.read_u8().await.unwrap_err();
    assert_eq!((error.kind(), proxy.counts().replies.cut), (ErrorKind::ConnectionReset, 1));
}

#[tokio::test]
async fn a_black_hole_answers_nothing_and_stays_one() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    proxy.set(ProxyMode::Blackhole);
    client.send("lost").await;
    assert_eq!(proxy.wait_for(|counts| counts.requests.swallowed > 0).await.requests.bytes, 0);
    assert!(timeout(MOMENT, client.reply()).await.is_err(), "it is kept open");
    proxy.set(ProxyMode::Pass);
    client.send("the rest of something").await;
    proxy.wait_for(|counts| counts.requests.turns == 1).await;
    assert!(timeout(MOMENT, client.reply()).await.is_err(), "a stream with a hole in it is never passed on");
    assert_eq!(Client::connect(&proxy).await.ask("new").await.unwrap(), "new is 1");
}

#[tokio::test]
async fn a_swallowed_reply_was_applied() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    proxy.set_replies(ProxyMode::Blackhole);
    let mut client = Client::connect(&proxy).await;
    client.send("applied").await;
    proxy.wait_for(|counts| counts.replies.swallowed > 0).await;
    assert_eq!(server.applied(), 1);
}

#[tokio::test]
async fn a_held_request_is_applied_after_its_client_is_gone() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    proxy.set_requests(ProxyMode::Hold);
    client.send("late").await;
    proxy.wait_for(|counts| counts.requests.held == 1).await;
    drop(client);
    assert_eq!(server.applied(), 0);
    proxy.set_requests(ProxyMode::Pass);
    proxy.wait_for(|counts| counts.replies.turns == 1).await;
    assert_eq!(server.applied(), 1);
}

#[tokio::test]
async fn a_held_reply_arrives_when_it_is_released() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    proxy.set_replies(ProxyMode::Hold);
    client.send("a").await;
    proxy.wait_for(|counts| counts.replies.held == 1).await;
    assert_eq!(proxy.counts().replies.bytes, 0);
    proxy.set_replies(ProxyMode::Pass);
    assert_eq!(client.reply().await.unwrap(), "a is 1");
}

#[tokio::test(start_paused = true)]
async fn delay_and_drip_take_their_time_and_change_nothing() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let minute = Duration::from_secs(60);
    for (mode, least) in [
        (ProxyMode::Delay(minute), 2 * minute),
        (ProxyMode::Drip { bytes: 2, gap: minute }, 7 * minute), // 5 bytes there, 8 back
        (ProxyMode::Drip { bytes: 0, gap: minute }, 13 * minute),
    ] {
        proxy.set(mode);
        let mut client = Client::connect(&proxy).await;
        let began = tokio::time::Instant::now();
        let reply = client.ask("four").await.unwrap();
        assert_eq!(reply, format!("four is {}", server.applied()));
        assert!(began.elapsed() >= least, "{mode:?} took {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn refuses_cuts_and_comes_back_at_the_same_address() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    assert!(client.ask("a").await.is_some());
    proxy.refuse().await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(client.ask("b").await.is_some(), "the connections there are stay");
    proxy.cut_all().await;
    assert_eq!(client.reply().await, None);
    proxy.accept().await.unwrap();
    assert_eq!(Client::connect(&proxy).await.ask("c").await.unwrap(), "c is 3");
}

#[tokio::test]
async fn an_upstream_that_is_down_closes_the_connection() {
    let upstream = Proxy::start("127.0.0.1:1").await.unwrap();
    upstream.refuse().await;
    let proxy = Proxy::start(upstream.addr()).await.unwrap();
    assert_eq!(Client::connect(&proxy).await.reply().await, None);
    assert_eq!(proxy.counts().unreachable, 1);
}

#[tokio::test]
async fn a_url_leads_through_it() {
    let server = Server::start().await;
    let url = format!("postgres://me:p%40ss@word@{}/db?a=b@c:1", server.address);
    let (proxy, through) = Proxy::in_front_of(&url).await.unwrap();
    assert_eq!(through, url.replace(&server.address.to_string(), &proxy.addr().to_string()));
    assert_eq!(Client::connect(&proxy).await.ask("a").await.unwrap(), "a is 1");
    for bad in ["redis://", "redis://host", "redis://:1", "redis://host:port", "redis://a:1,b:2", "sqlite:x"]
    {
        assert_eq!(Proxy::in_front_of(bad).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
}

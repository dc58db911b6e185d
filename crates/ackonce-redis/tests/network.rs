//! The suite for stores on a server: a wire that loses, delays and cuts. And replies to other questions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::store::{Attempt, Claimed, DeduplicatorExt, Repeat as R, Settle, Settled, Settlement};
use ackonce::{Deduplicator, ErrorKind as K, Result};
use ackonce_redis::{RedisConfig, RedisStore};
use ackonce_testkit::network;
use ackonce_testkit::proxy::{Proxy, ProxyMode};
use async_trait::async_trait;
use common::{HOUR, Server, acquire, complete, done, error, request, request_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Opened {
    url: String,
    prefix: String,
}

#[async_trait]
impl network::Fixture for Opened {
    fn server(&self) -> String {
        self.url.trim_start_matches("redis://").trim_end_matches('/').to_owned()
    }

    async fn open(&self, address: &str) -> Result<Arc<dyn Deduplicator>> {
        let config = RedisConfig::new(format!("redis://{address}/")).with_prefix(&self.prefix);
        // The answer of INFO and the text of a script take two or three seconds at 7 bytes a millisecond.
        let timeout = Duration::from_secs(5);
        Ok(Arc::new(config.with_connect_timeout(timeout).with_response_timeout(timeout).connect().await?))
    }
}

ackonce_testkit::network!(redis, Opened { url: or_return!(common::url()), prefix: common::name() });

/// Every settlement, applied and its reply lost, is answered as before when it is repeated.
#[tokio::test]
async fn a_settlement_whose_reply_is_lost_is_answered_as_before() {
    let server = or_return!(Server::start(&[]).await);
    let (proxy, url) = Proxy::in_front_of(&server.url()).await.unwrap();
    let store = RedisStore::connect(url).await.unwrap();
    let direct = server.config().connect().await.unwrap();
    // So that the script is known, and its call the next turn on the wire.
    complete(&store, &acquire(&store, request("first")).await).await;
    let actions = [
        Settle::Complete { window: HOUR, outcome: None },
        Settle::Complete { window: HOUR, outcome: Some("x".into()) },
        Settle::Bury { window: HOUR, reason: "no".into() },
        Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: HOUR },
        Settle::Release { attempt: Attempt::Refunded, window: HOUR, not_before: Duration::ZERO },
        Settle::Extend { lease: HOUR, window: HOUR },
    ];
    for (n, action) in actions.into_iter().enumerate() {
        let lease = acquire(&store, request(n)).await;
        let settlement = Settlement::new(&lease, action);
        proxy.set_replies(ProxyMode::Cut { nth: 1 });
        assert_eq!(error(store.settle_one(settlement.clone()).await), (K::Unavailable, R::Unknown));
        for store in [&direct, &store] {
            assert_eq!(store.settle_one(settlement.clone()).await.unwrap(), Settled::Yes);
        }
    }
    assert_eq!(proxy.counts().replies.cut, 6);
}

/// A release that comes late does not free the successor's lease.
#[tokio::test]
async fn a_release_applied_late_is_fenced_off() {
    let server = or_return!(Server::start(&[]).await);
    let (proxy, url) = Proxy::in_front_of(&server.url()).await.unwrap();
    let config = RedisConfig::new(url).with_response_timeout(Duration::from_millis(300));
    let store = config.connect().await.unwrap();
    let direct = server.config().connect().await.unwrap();
    let lease = acquire(&store, request("release")).await;
    let release = Settlement::new(
        &lease,
        Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: Duration::ZERO },
    );
    proxy.set_requests(ProxyMode::Hold);
    assert_eq!(error(store.settle_one(release.clone()).await), (K::Timeout, R::Unknown));
    assert_eq!(direct.settle_one(release.clone()).await.unwrap(), Settled::Yes);
    let next = acquire(&direct, request_for(&lease.key)).await;
    let passed = proxy.counts().requests.bytes;
    proxy.set_requests(ProxyMode::Pass);
    proxy.wait_for(|counts| counts.requests.bytes > passed).await;
    assert_eq!(store.settle_one(release).await.unwrap(), Settled::Lost);
    let rival = direct.claim_one(request_for(&lease.key)).await.unwrap();
    assert!(matches!(rival, Claimed::Busy { .. }), "{rival:?}");
    complete(&direct, &next).await;
}

/// Passes everything on, but where `swap` is set answers with an earlier reply instead of the one that came.
async fn mixing_up(upstream: String, swap: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (swap, mut server) = (swap.clone(), TcpStream::connect(&upstream).await.unwrap());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let replies = async {
                    let (mut buffer, mut last) = (vec![0; 1 << 16], Vec::new());
                    while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                        let reply = if swap.swap(false, Ordering::SeqCst) { &last } else { &buffer[..n] };
                        if to_client.write_all(reply).await.is_err() {
                            break;
                        }
                        last = buffer[..n].to_vec();
                    }
                };
                let requests = tokio::io::copy(&mut from_client, &mut to_server);
                tokio::select! { () = replies => {} _ = requests => {} }
            });
        }
    });
    url
}

#[tokio::test]
async fn the_answer_to_another_question_decides_nothing() {
    let server = or_return!(Server::start(&[]).await);
    let swap = Arc::new(AtomicBool::new(false));
    let url = mixing_up(format!("127.0.0.1:{}", server.port), swap.clone()).await;
    let store = RedisStore::connect(url).await.unwrap();
    let lease = acquire(&store, request("old")).await;
    complete(&store, &lease).await;
    assert!(common::is_done(&store, "old").await);

    // "Done", says the last reply; but it was not to this.
    swap.store(true, Ordering::SeqCst);
    let claim = request("new");
    assert_eq!(error(store.claim_one(claim.clone()).await), (K::Protocol, R::Unknown));
    let lease = acquire(&store, claim).await;
    assert_eq!(lease.attempt, 1);

    // "Yes", says the one before; but the settlement of another lease did.
    let other = acquire(&store, request("other")).await;
    complete(&store, &other).await;
    swap.store(true, Ordering::SeqCst);
    assert_eq!(error(store.settle_one(done(&lease)).await), (K::Protocol, R::Unknown));
    assert_eq!(store.settle_one(done(&lease)).await.unwrap(), Settled::Yes);
}

//! The helpers that the tests share.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod server;

use std::time::Duration;

use ackonce::store::{
    ClaimRequest, Claimed, DeduplicatorExt, Lease, Repeat, Settle, Settled, Settlement, Token,
};
use ackonce::{Deduplicator, ErrorKind, Key, Scope};
use ackonce_redis::{RedisConfig, RedisStore};
pub use server::{Server, free_port, until};

pub const HOUR: Duration = Duration::from_secs(3600);

/// Ends the test where there is no server, which was said loudly.
#[macro_export]
macro_rules! or_return {
    ($place:expr) => {
        match $place {
            Some(place) => place,
            None => return,
        }
    };
}

/// The URL of the server the tests were given.
pub fn url() -> Option<String> {
    ackonce_testkit::servers::address("ACKONCE_TEST_REDIS")
}

/// A place in that server that no other test and no earlier run uses.
pub fn config() -> Option<RedisConfig> {
    Some(RedisConfig::new(url()?).with_prefix(name()))
}

/// A prefix that nobody else has.
pub fn name() -> String {
    format!("test-{:032x}", u128::from_be_bytes(Token::random().0))
}

pub async fn store() -> Option<RedisStore> {
    Some(config()?.connect().await.unwrap())
}

/// A connection that waits for answers as long as it takes.
pub async fn patient(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await
}

pub fn key(id: impl std::fmt::Display) -> Key {
    Scope::new("orders/charge").unwrap().key(id.to_string()).unwrap()
}

/// So many keys of one tag, at most 450: the first 14 bits of their digests are the same. Their IDs are the first
/// numbers of which that is so.
pub fn crowd(count: usize) -> Vec<Key> {
    let tag = |key: &Key| u16::from_be_bytes([key.digest()[0], key.digest()[1]]) >> 2;
    let keys: Vec<_> = include_str!("crowd.txt").split_whitespace().map(key).take(count).collect();
    assert!(keys.len() == count && keys.iter().all(|key| tag(key) == tag(&keys[0])));
    keys
}

pub fn request(id: impl std::fmt::Display) -> ClaimRequest {
    request_for(&key(id))
}

pub fn request_for(key: &Key) -> ClaimRequest {
    ClaimRequest { key: key.clone(), token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None }
}

pub async fn acquire(store: &dyn Deduplicator, request: ClaimRequest) -> Lease {
    acquired(store.claim_one(request).await.unwrap())
}

pub fn acquired(answer: Claimed) -> Lease {
    match answer {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

pub fn done(lease: &Lease) -> Settlement {
    Settlement::new(lease, Settle::Complete { window: HOUR, outcome: None })
}

pub async fn complete(store: &dyn Deduplicator, lease: &Lease) {
    assert_eq!(store.settle_one(done(lease)).await.unwrap(), Settled::Yes);
}

pub async fn is_done(store: &dyn Deduplicator, id: impl std::fmt::Display) -> bool {
    matches!(store.claim_one(request(id)).await.unwrap(), Claimed::Done(_))
}

/// The kind of an error, and the repeat it allows.
pub fn error<T: std::fmt::Debug>(answer: ackonce::Result<T>) -> (ErrorKind, Repeat) {
    let error = answer.unwrap_err();
    println!("{error}");
    (error.kind(), error.repeat())
}

/// A client of those records, behind a proxy.
pub async fn wire(url: &str, prefix: &str) -> Box<dyn ackonce_testkit::conformance::Breakable> {
    let (proxy, url) = ackonce_testkit::proxy::Proxy::in_front_of(url).await.unwrap();
    let timeout = Duration::from_secs(2);
    let config = RedisConfig::new(url).with_prefix(prefix).with_connect_timeout(timeout);
    let client = std::sync::Arc::new(config.with_response_timeout(timeout).connect().await.unwrap());
    Box::new(ackonce_testkit::conformance::Wire { proxy, client })
}

/// An outcome beyond the store's limit.
pub fn impossible() -> Settle {
    Settle::Complete { window: HOUR, outcome: Some(vec![0; ackonce_redis::MAX_VALUE_LEN + 1].into()) }
}

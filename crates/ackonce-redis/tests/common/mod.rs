//! What the tests share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use ackonce::{
    ClaimRequest, Claimed, Deduplicator, DeduplicatorExt, Key, Lease, Scope, Settle, Settled, Settlement,
    Token,
};
use ackonce_redis::{RedisConfig, RedisStore};

pub const HOUR: Duration = Duration::from_secs(3600);

/// The server the tests were given, or `None`, said loudly.
pub fn server() -> Option<String> {
    if let Ok(url) = std::env::var("ACKONCE_TEST_REDIS") {
        return Some(url);
    }
    assert!(
        std::env::var_os("ACKONCE_REQUIRE_SERVERS").is_none_or(|v| v != "1"),
        "ACKONCE_TEST_REDIS is not set: run this through scripts/test"
    );
    eprintln!("NOT TESTED: redis (ACKONCE_TEST_REDIS is not set; run scripts/test)");
    None
}

/// A place in that server that no other test and no earlier run uses.
pub fn config() -> Option<RedisConfig> {
    server().map(|url| RedisConfig::new(url).with_prefix(format!("test-{:032x}", rand())))
}

pub fn rand() -> u128 {
    u128::from_be_bytes(Token::random().0)
}

pub async fn store() -> Option<RedisStore> {
    Some(config()?.connect().await.unwrap())
}

/// A connection beside the store's.
pub async fn beside() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(server().unwrap()).unwrap();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

/// One command, in words.
pub async fn say<T: redis::FromRedisValue>(words: &[&str]) -> redis::RedisResult<T> {
    let mut cmd = redis::Cmd::new();
    words.iter().for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(&mut beside().await).await
}

pub fn key(id: impl std::fmt::Display) -> Key {
    Scope::new("orders/charge").unwrap().key(id.to_string()).unwrap()
}

pub fn request(id: impl std::fmt::Display) -> ClaimRequest {
    ClaimRequest { key: key(id), token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None }
}

pub async fn acquire(store: &dyn Deduplicator, request: ClaimRequest) -> Lease {
    match store.claim_one(request).await.unwrap() {
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

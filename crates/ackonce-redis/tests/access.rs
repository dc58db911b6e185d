//! Users, passwords, databases, TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::path::Path;

use ackonce::{Deduplicator, DeduplicatorExt, ErrorKind as K, Inspect, Repeat as R};
use ackonce_redis::{RedisConfig, RedisStore};
use common::{Server, acquire, complete, error, is_done, key, request, until};
use tempfile::TempDir;

/// What the README says the user needs.
const RIGHTS: &str = "resetchannels ~ackonce:* +eval +evalsha +time +hmget +hget +hset +hsetnx +hlen +hdel +hgetall \
                      +get +set +del +exists +pexpireat +ping +info +config|get +memory|usage";

#[tokio::test]
async fn a_user_with_the_rights_of_the_readme_can_do_everything() {
    let readme = include_str!("../README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        readme.contains(&RIGHTS.split_whitespace().collect::<Vec<_>>().join(" ")),
        "the README says otherwise"
    );
    let server = or_return!(Server::start(&[]).await);
    server.say::<()>(&format!("ACL SETUSER app on >p@ss:w/rd {}", RIGHTS.replace("  ", ""))).await.unwrap();
    let url = |password| format!("redis://app:{password}@127.0.0.1:{}", server.port);
    let store = RedisStore::connect(url("p%40ss%3Aw%2Frd")).await.unwrap();
    assert_eq!(store.describe().weaknesses, Vec::<String>::new());
    let keys = common::crowd(130);
    let requests: Vec<_> = keys.iter().map(common::request_for).collect();
    for answer in store.claim(&requests).await.unwrap() {
        complete(&store, &common::acquired(answer)).await;
    }
    let lease = acquire(&store, request("with an outcome")).await;
    let outcome = ackonce::Settle::Complete { window: common::HOUR, outcome: Some("paid".into()) };
    store.settle_one(ackonce::Settlement::new(&lease, outcome)).await.unwrap();
    assert_eq!(store.get(&lease.key).await.unwrap().unwrap().outcome.unwrap(), "paid");
    let stats = store.stats().await.unwrap();
    assert!(stats.done == 131 && stats.bytes.is_some(), "{stats:?}");
    store.sweep().await.unwrap();

    let refused = RedisStore::connect(url("s3cret")).await;
    assert!(!format!("{:?}", refused.as_ref().unwrap_err()).contains("s3cret"));
    assert_eq!(error(refused), (K::Config, R::Never));
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let server = or_return!(Server::start(&[]).await);
    server.say::<()>(&format!("ACL SETUSER app on >pw {} -hset", RIGHTS.replace("  ", ""))).await.unwrap();
    let store = RedisStore::connect(format!("redis://app:pw@127.0.0.1:{}", server.port)).await.unwrap();
    assert_eq!(error(store.claim_one(request(1)).await), (K::Config, R::Never));
    server.say::<()>("ACL SETUSER app -info -config|get +hset").await.unwrap();
    let store = RedisStore::connect(format!("redis://app:pw@127.0.0.1:{}", server.port)).await.unwrap();
    assert!(store.describe().weaknesses[0].contains("INFO is forbidden"), "{:?}", store.describe());
    server.say::<()>("ACL SETUSER app resetkeys ~other:*").await.unwrap();
    assert_eq!(error(store.claim_one(request(1)).await), (K::Config, R::Never));
}

#[tokio::test]
async fn a_password_alone_is_enough() {
    let server = or_return!(Server::start(&["--requirepass", "pa$$"]).await);
    let store = RedisStore::connect(format!("redis://:pa$$@127.0.0.1:{}", server.port)).await.unwrap();
    acquire(&store, request(1)).await;
    assert!(!format!("{store:?} {:?}", store.describe()).contains("pa$$"));
    assert_eq!(error(RedisStore::connect(server.url()).await), (K::Config, R::Never));
}

#[tokio::test]
async fn databases_and_prefixes_share_nothing() {
    let server = or_return!(Server::start(&[]).await);
    let at = |database: &str| RedisConfig::new(format!("{}{database}", server.url()));
    let stores = [at(""), at("3"), at("3").with_prefix("billing")];
    for (n, config) in stores.iter().enumerate() {
        let store = config.clone().connect().await.unwrap();
        let lease = acquire(&store, request(1)).await;
        complete(&store, &lease).await;
        assert!(is_done(&config.clone().connect().await.unwrap(), 1).await, "store {n}");
    }
    assert!(stores[1].clone().connect().await.unwrap().describe().name.ends_with("/3"));
    assert_eq!(error(at("99").connect().await), (K::Config, R::Never));
}

/// A certificate authority, a server's certificate and a client's, as files.
struct Certificates {
    dir: TempDir,
    authority: String,
    client: (String, String),
}

fn certificates() -> Certificates {
    let dir = TempDir::new().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let issued = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        // Named as its issuer is, it would pass for self-signed.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let (server, server_key) = issued("localhost");
    for (name, pem) in [("ca", &authority), ("server", &server), ("key", &server_key)] {
        std::fs::write(dir.path().join(name), pem).unwrap();
    }
    Certificates { client: issued("a client"), dir, authority }
}

fn tls_server(dir: &Path, verify_clients: &str) -> Option<(Server, u16)> {
    let port = common::free_port();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let args =
        ["--tls-port", &port.to_string(), "--tls-cert-file", &at("server"), "--tls-key-file", &at("key")];
    let more = ["--tls-ca-cert-file", &at("ca"), "--tls-auth-clients", verify_clients];
    let server = Server::launch(&[args.as_slice(), &more].concat(), TempDir::new().unwrap())?;
    Some((server, port))
}

#[tokio::test]
async fn tls_trusts_the_authority_it_was_told_and_nobody_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = certificates();
    let Some((server, port)) = tls_server(certificates.dir.path(), "yes") else { return };
    server.wait_until_up().await;
    let config = RedisConfig::new(format!("rediss://localhost:{port}"));
    let (certificate, private) = certificates.client;
    let shown = config.clone().with_client_certificate(certificate, private);
    let store = shown.clone().with_root_certificate(certificates.authority.clone()).connect().await.unwrap();
    let lease = acquire(&store, request(1)).await;
    complete(&store, &lease).await;
    assert_eq!(store.get(&key(1)).await.unwrap().unwrap().attempt, 1);

    // Not an authority the system knows; no certificate shown; another name than the certificate's.
    let untrusted = error(shown.clone().connect().await);
    let anonymous = error(config.with_root_certificate(certificates.authority.clone()).connect().await);
    let elsewhere = RedisConfig::new(format!("rediss://127.0.0.1:{port}"));
    let elsewhere = error(elsewhere.with_root_certificate(certificates.authority).connect().await);
    for refused in [untrusted, anonymous, elsewhere] {
        assert_eq!(refused, (K::Unavailable, R::Safe));
    }
    until("the server is still fine", async || is_done(&store, 1).await).await;
}

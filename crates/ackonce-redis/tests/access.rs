//! Users, passwords, databases, TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::path::Path;
use std::time::Duration;

use ackonce::store::{DeduplicatorExt, Inspect, RecordTarget, Repeat as R};
use ackonce::{Deduplicator, ErrorKind as K};
use ackonce_redis::{RedisConfig, RedisStore, Replicas};
use common::{Server, acquire, complete, done, error, is_done, key, request, until};
use tempfile::TempDir;

/// The rights that the README gives its user.
fn rights() -> Vec<String> {
    let readme = include_str!("../README.md").split_once("ACL SETUSER app on >password ").unwrap().1;
    readme.split("```").next().unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Makes the README's user, with other rights too, or without some.
async fn user(server: &Server, changes: &str) {
    server.say::<()>("ACL SETUSER app reset").await.unwrap();
    let rules = format!("ACL SETUSER app on >p@ss:w/rd {} {changes}", rights().join(" "));
    server.say::<()>(rules.trim_end()).await.unwrap();
}

fn url(server: &Server, rest: &str) -> String {
    format!("redis://app:p%40ss%3Aw%2Frd@127.0.0.1:{}{rest}", server.port)
}

#[tokio::test]
async fn a_user_with_the_rights_of_the_readme_can_do_everything() {
    let server = or_return!(Server::start(&[]).await);
    user(&server, "").await;
    let rustdoc = include_str!("../src/config.rs");
    for of in [include_str!("../README.md"), rustdoc] {
        assert!(of.contains("redis://app:password@redis.internal/2"), "the form of URL that is tried here");
    }
    let store = RedisStore::connect(url(&server, "/2")).await.unwrap();
    assert_eq!(store.describe().weaknesses, Vec::<String>::new());
    let keys = common::crowd(130);
    let requests: Vec<_> = keys.iter().map(common::request_for).collect();
    for answer in store.claim(&requests).await.unwrap() {
        complete(&store, &common::acquired(answer)).await;
    }
    let lease = acquire(&store, request("with an outcome")).await;
    let outcome = ackonce::store::Settle::Complete { window: common::HOUR, outcome: Some("paid".into()) };
    store.settle_one(ackonce::store::Settlement::new(&lease, outcome)).await.unwrap();
    assert_eq!(store.look(&lease.key).await.unwrap().unwrap().record.outcome.unwrap(), "paid");
    let stats = store.stats().await.unwrap();
    assert!(stats.done == 131 && stats.bytes.is_some(), "{stats:?}");
    let note = ackonce::store::Note { actor: "test".into(), reason: "rights".into() };
    store.forget(RecordTarget::Key(&lease.key), &note).await.unwrap();
    store.redrive(RecordTarget::Key(&keys[0]), &note).await.unwrap();
    store.sweep().await.unwrap();

    let refused = RedisStore::connect(format!("redis://app:s3cret@127.0.0.1:{}", server.port)).await;
    assert!(!format!("{:?}", refused.as_ref().unwrap_err()).contains("s3cret"));
    assert_eq!(error(refused), (K::Config, R::Never));
}

/// Every right of the README is needed for something, and said to be.
#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    let server = or_return!(Server::start(&[]).await);
    let commands: Vec<_> = rights().into_iter().filter(|right| right.starts_with('+')).collect();
    assert!(commands.len() > 18, "{commands:?}");
    for right in &commands {
        user(&server, &right.replace('+', "-")).await;
        let connected = RedisStore::connect(url(&server, "/2")).await;
        match right.as_str() {
            // Sent to clusters alone.
            "+ping" => drop(connected.unwrap()),
            "+memory|usage" => {
                let store = connected.unwrap();
                acquire(&store, request(1)).await;
                assert_eq!(store.stats().await.unwrap().bytes, None);
            }
            "+info" | "+config|get" => {
                let weaknesses = connected.unwrap().describe().weaknesses;
                let word = if right == "+info" { "INFO" } else { "CONFIG" };
                assert!(weaknesses.len() == 1 && weaknesses[0].contains(word), "{right}: {weaknesses:?}");
            }
            _ => {
                let text = format!("{}", connected.as_ref().unwrap_err());
                assert!(text.contains(right.as_str()), "{right}: {text}");
                assert_eq!(error(connected), (K::Config, R::Never));
            }
        }
    }
    user(&server, "-hdel -hgetall").await;
    let text = RedisStore::connect(url(&server, "")).await.unwrap_err().to_string();
    assert!(text.contains("+hgetall") && text.contains("+hdel"), "{text}");
    user(&server, "resetkeys ~other:*").await;
    let text = RedisStore::connect(url(&server, "")).await.unwrap_err().to_string();
    assert!(text.contains("~ackonce:*"), "{text}");
    RedisConfig::new(url(&server, "")).with_prefix("other").connect().await.unwrap();
    let waits = Replicas { count: 1, timeout: Duration::from_millis(1) };
    user(&server, "").await;
    let text =
        RedisConfig::new(url(&server, "")).with_replicas(waits).connect().await.unwrap_err().to_string();
    assert!(text.contains("+wait"), "{text}");
    user(&server, "+wait").await;
    let store = RedisConfig::new(url(&server, "")).with_replicas(waits).connect().await.unwrap();
    let text = store.claim_one(request(1)).await.unwrap_err().to_string();
    assert!(text.contains("replicas=") && text.contains("with_replicas"), "{text}");
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_named() {
    let server = or_return!(Server::start(&[]).await);
    user(&server, "").await;
    let store = RedisStore::connect(url(&server, "")).await.unwrap();
    let lease = acquire(&store, request(1)).await;
    for (rules, names) in [
        ("ACL SETUSER app -hset -hdel", ["+hset", "+hdel"]),
        ("ACL SETUSER app -evalsha +hset +hdel", ["+evalsha", "ACL SETUSER"]),
        ("ACL SETUSER app resetkeys +evalsha", ["~ackonce:*", "ACL SETUSER"]),
    ] {
        server.say::<()>(rules).await.unwrap();
        let error = store.settle_one(done(&lease)).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (K::Config, R::Unknown));
        let text = error.to_string();
        assert!(names.iter().all(|name| text.contains(name)), "{rules}: {text}");
        assert_eq!(store.claim_one(request(2)).await.unwrap_err().repeat(), R::Unknown);
    }
    user(&server, "").await;
    complete(&store, &lease).await;
}

/// Every form of URL in the README and in `RedisConfig::new`, but for those that have a test of their own (TLS, cluster).
#[tokio::test]
async fn each_form_of_url_connects() {
    let dir = TempDir::new().unwrap();
    let socket = dir.path().join("redis.sock").to_str().unwrap().to_owned();
    let server = or_return!(Server::start(&["--unixsocket", &socket, "--requirepass", "default-pw"]).await);
    let mut beside = redis::Client::open(format!("redis://:default-pw@127.0.0.1:{}", server.port))
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut rules = redis::cmd("ACL");
    rules.arg("SETUSER").arg("app").arg("on").arg(">pw").arg(rights());
    rules.query_async::<()>(&mut beside).await.unwrap();
    let host = format!("127.0.0.1:{}", server.port);
    let urls = [
        format!("redis://:default-pw@{host}"),
        format!("valkey://default:default-pw@{host}/"),
        format!("redis://app:pw@{host}/2"),
        format!("redis+unix://{socket}?pass=default-pw"),
        format!("redis+unix://{socket}?db=2&user=app&pass=pw"),
        format!("valkey+unix://{socket}?db=2&user=app&pass=pw"),
    ];
    for (n, url) in urls.into_iter().enumerate() {
        let store = RedisStore::connect(url.clone()).await.unwrap_or_else(|e| panic!("{url}: {e}"));
        complete(&store, &acquire(&store, request(n)).await).await;
        let name = store.describe().name;
        assert_eq!(name.ends_with("/2"), url.contains("/2") || url.contains("db=2"), "{url} is {name}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_ends_a_connection_attempt() {
    let server = or_return!(Server::start(&[]).await);
    server.pause();
    let config = server.config().with_connect_timeout(Duration::from_millis(100));
    let config = config.with_response_timeout(Duration::from_millis(100));
    assert_eq!(error(config.connect().await), (K::Unavailable, R::Safe));
    server.resume();
}

/// There is no URL for it, and its answer is no riddle.
#[tokio::test]
async fn a_sentinel_is_refused_by_its_name() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("sentinel.conf");
    let port = common::free_port();
    std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {}\n", dir.path().display())).unwrap();
    let mut command = std::process::Command::new("redis-server");
    let started = command.arg(&file).arg("--sentinel").stdout(std::process::Stdio::null()).spawn();
    let Ok(mut sentinel) = started else {
        return ackonce_testkit::servers::not_tested("redis-server is not installed");
    };
    let config = RedisConfig::new(format!("redis://127.0.0.1:{port}"));
    until("it says that it is one", async || {
        let refused = config.clone().connect().await.unwrap_err();
        refused.kind() == K::Config && refused.to_string().contains("sentinel")
    })
    .await;
    sentinel.kill().unwrap();
    sentinel.wait().unwrap();
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
    assert_eq!(store.look(&key(1)).await.unwrap().unwrap().record.attempt, 1);

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

/// A cluster of one node, which has all slots.
async fn have_all_slots(node: &Server) {
    node.say::<()>("CLUSTER ADDSLOTSRANGE 0 16383").await.unwrap();
    until("it has all slots", async || {
        node.say::<String>("CLUSTER INFO").await.unwrap().contains("cluster_state:ok")
    })
    .await;
}

#[tokio::test]
async fn a_user_of_a_cluster_needs_the_rights_of_the_readme() {
    let bus = common::free_port().to_string();
    let node = or_return!(Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await);
    have_all_slots(&node).await;
    let added = "+cluster|slots +asking";
    assert!(include_str!("../README.md").replace('\\', "").contains(added));
    let url = url(&node, "").replace("redis://", "redis+cluster://");
    user(&node, added).await;
    let store = RedisStore::connect(url.clone()).await.unwrap();
    complete(&store, &acquire(&store, request(1)).await).await;
    assert!(is_done(&RedisStore::connect(url.clone()).await.unwrap(), 1).await);
    // A slot that nobody serves is waited for.
    node.say::<()>("CLUSTER DELSLOTSRANGE 0 16383").await.unwrap();
    until("it is noticed", async || {
        store.claim_one(request(2)).await.is_err_and(|e| e.kind() == K::Unavailable && e.repeat() != R::Never)
    })
    .await;
    have_all_slots(&node).await;
    until("it works again", async || store.claim_one(request(3)).await.is_ok()).await;
    for (changes, right) in
        [("", "+cluster|slots"), ("+cluster|slots -ping", "+ping"), ("+cluster|slots -hset", "+hset")]
    {
        user(&node, changes).await;
        let refused = RedisStore::connect(url.clone()).await;
        let text = refused.as_ref().unwrap_err().to_string();
        assert!(text.contains(right), "{right}: {text}");
        assert_eq!(error(refused), (K::Config, R::Never), "{right}");
    }
}

#[tokio::test]
async fn a_cluster_over_tls_connects() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = certificates();
    let at = |name: &str| certificates.dir.path().join(name).to_str().unwrap().to_owned();
    let (port, bus) = (common::free_port().to_string(), common::free_port().to_string());
    let tls = ["--tls-port", &port, "--tls-cert-file", &at("server"), "--tls-key-file", &at("key")];
    let more = ["--tls-ca-cert-file", &at("ca"), "--tls-auth-clients", "no", "--tls-cluster", "yes"];
    let cluster =
        ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-announce-hostname", "localhost"];
    let by_name = ["--cluster-preferred-endpoint-type", "hostname"];
    let node = or_return!(Server::start(&[tls.as_slice(), &more, &cluster, &by_name].concat()).await);
    have_all_slots(&node).await;
    let config = RedisConfig::new(format!("rediss+cluster://localhost:{port}"));
    let store = config.with_root_certificate(certificates.authority.clone()).connect().await.unwrap();
    complete(&store, &acquire(&store, request(1)).await).await;
    assert!(is_done(&store, 1).await);
}

//! Probes of a relay that waits for its store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use ackonce_console::snapshot::Snapshot;
use ackonce_tests::until;

use crate::feeds::{Feed, free_address, relay};
use crate::running::Running;

pub(crate) fn ask(address: &str, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect(address).ok()?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_waits_for_its_store_is_live_and_not_ready() {
    let admin = free_address();
    // Nobody answers there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("redis://{}", silent.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.args([
        "relay",
        "--from",
        "kafka://127.0.0.1:1/t?group=g",
        "--to",
        "exec:true",
        "--store",
        &store,
    ]);
    let mut running = Running::start(command.args(["--admin", &admin]));
    until("the probes are answered", || ask(&admin, "/healthz").is_some()).await;
    let live = ask(&admin, "/healthz").unwrap();
    assert!(live.starts_with("HTTP/1.1 200") && live.contains("waiting for the store"), "{live}");
    let ready = ask(&admin, "/readyz").unwrap();
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert_eq!(running.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_queue_counts_ready_messages_and_those_in_hand() {
    let Some(feed) = Feed::rabbit().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<_> = (0..50).map(|n| format!("m{n}")).collect();
    feed.publish(&ids).await;
    // It takes a request and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (admin, sink) = (free_address(), format!("http://{}/", silent.local_addr().unwrap()));
    let mut command = relay(&format!("{}&prefetch=4", feed.url(0)), &sink, dir.path());
    let _relay = Running::start(command.args(["--admin", &admin]));
    until("the lag is known", || {
        let mut watch = Command::new(env!("CARGO_BIN_EXE_ackonce"));
        let output = watch.args(["watch", "--admin", &admin, "--once", "--json"]).output().unwrap();
        let snapshot: Option<Snapshot> = serde_json::from_slice(&output.stdout).ok();
        snapshot.and_then(|snapshot| snapshot.program?.lag) == Some(50)
    })
    .await;
    let health = ask(&admin, "/healthz").unwrap();
    assert!(health.contains("in flight: 4, ready in the queue: 46"), "{health}");
    // The gauges are set each second.
    let is_told = || {
        let metrics = ask(&admin, "/metrics").unwrap();
        metrics.lines().any(|line| line.starts_with("ackonce_amqp_backlog{") && line.ends_with(" 46"))
    };
    until("the gauge is set", is_told).await;
}

//! `examples/any-language/`: services of other languages behind the relay.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::feeds::{Feed, free_address, relay};
use crate::running::Running;

/// Twenty messages, each published twice, are twenty charges.
async fn charges_once(mut service: Command) {
    let Some(feed) = Feed::kafka().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let port = address.rsplit_once(':').unwrap().1;
    let _service = Running::start(service.env("PORT", port));
    let ids: Vec<_> = (0..40).map(|n| format!("m{}", n / 2)).collect();
    feed.publish(&ids).await;
    let url = format!("http://{address}/charge");
    let mut relay = Running::start(&mut relay(&feed.url(0), &url, dir.path()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !feed.is_through(40).await {
        assert!(tokio::time::Instant::now() < deadline, "not within a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(relay.terminate(), Some(0));
    let answer = reqwest::Client::new().post(&url).body("{}").send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["charge"], 21, "{answer}");
}

fn service(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/any-language").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_service_behind_the_relay_charges_once() {
    let there = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        ackonce_testkit::servers::not_tested("python3 is not installed");
        return;
    }
    let mut command = Command::new("python3");
    command.arg(service("service.py"));
    charges_once(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_service_behind_the_relay_charges_once() {
    let program = tempfile::tempdir().unwrap();
    let built = program.path().join("service");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&built).arg(service("service.go"));
    if !build.status().is_ok_and(|status| status.success()) {
        ackonce_testkit::servers::not_tested("go is not installed, or cannot build");
        return;
    }
    charges_once(Command::new(&built)).await;
}

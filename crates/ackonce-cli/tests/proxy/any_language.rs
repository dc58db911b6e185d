//! `examples/any-language/`: services of other languages behind the proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::started::Proxy;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service in another language, or `None` where that is missing.
async fn start(language: &str, version: &str, mut command: Command) -> Option<(Running, SocketAddr)> {
    let there = Command::new(language).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        ackonce_testkit::servers::not_tested(&format!("{language} is not installed"));
        return None;
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Running(command.env("PORT", address.port().to_string()).spawn().unwrap());
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some((running, address))
}

async fn charges_once(address: SocketAddr) {
    let proxy = Proxy::start(&format!("http://{address}"), &["--principal", "header:x-account"]);
    let url = format!("{}/charge", proxy.url);
    let charge = async |account: &str| {
        let request = reqwest::Client::new().post(&url);
        let answer =
            request.header("idempotency-key", "order-7").header("x-account", account).body("{\"amount\":5}");
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.text().await.unwrap()
    };
    let first = charge("a").await;
    assert_eq!(charge("a").await, first);
    assert_ne!(charge("b").await, first, "another caller's key");
}

fn examples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/any-language"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_service_behind_the_proxy_charges_once() {
    let mut command = Command::new("python3");
    command.arg(examples().join("service.py"));
    if let Some((_running, address)) = start("python3", "--version", command).await {
        charges_once(address).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_service_behind_the_proxy_charges_once() {
    let program = tempfile::tempdir().unwrap();
    let built = program.path().join("service");
    let build =
        || Command::new("go").args(["build", "-o"]).arg(&built).arg(examples().join("service.go")).status();
    // Built first, since `go run` would leave the service behind.
    if !build().is_ok_and(|status| status.success()) {
        ackonce_testkit::servers::not_tested("go is not installed, or cannot build");
        return;
    }
    if let Some((_running, address)) = start("go", "version", Command::new(&built)).await {
        charges_once(address).await;
    }
}

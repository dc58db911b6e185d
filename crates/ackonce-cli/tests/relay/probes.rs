//! Probes of a relay that waits for its store.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use ackonce_tests::until;

use crate::feeds::free_address;
use crate::stops::Running;

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

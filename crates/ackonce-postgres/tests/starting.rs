//! `connect_at_start` waits for a server that is away, and not for one that refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use ackonce::ErrorKind as K;
use ackonce::store::Repeat as R;
use ackonce_postgres::PostgresConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers each connection with this error.
async fn says(code: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut startup = [0; 4];
            stream.read_exact(&mut startup).await.unwrap();
            let mut rest = vec![0; u32::from_be_bytes(startup) as usize - 4];
            stream.read_exact(&mut rest).await.unwrap();
            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mplanned\0\0");
            let len = u32::try_from(fields.len() + 4).unwrap();
            let answer = [b"E", &len.to_be_bytes()[..], fields.as_bytes()].concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_server_that_starts_up_is_waited_for_and_one_that_refuses_is_not() {
    let cases = [
        ("57P03", K::Unavailable, R::Safe), // starting up
        ("57P01", K::Unavailable, R::Safe), // shutting down
        ("53300", K::Unavailable, R::Safe), // too many connections
        ("28P01", K::Config, R::Never),     // wrong password
        ("28000", K::Config, R::Never),     // no such role, or not from here
        ("3D000", K::Config, R::Never),     // no such database
    ];
    for (code, kind, repeat) in cases {
        let url = format!("postgres://app:secret@{}/app?sslmode=disable", says(code).await);
        let error = PostgresConfig::new(&url).unwrap().connect().await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (kind, repeat), "{code}: {error}");
        assert!(!ackonce::chain(&error).to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_waited_for() {
    // Accepts by its backlog alone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://app@{}/app?sslmode=disable", listener.local_addr().unwrap());
    let config = PostgresConfig::new(&url).unwrap().with_request_timeout(Duration::from_millis(500));
    let connected = tokio::time::timeout(Duration::from_secs(60), config.connect()).await;
    let error = connected.expect("a try to connect ends").unwrap_err();
    assert!(matches!(error.kind(), K::Unavailable | K::Timeout) && error.repeat() != R::Never, "{error}");
}
